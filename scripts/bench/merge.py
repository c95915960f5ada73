"""Merges two synthetic checkpoints into their base, with mergekit and with burnish, and prints what each took.

    python scripts/bench/merge.py [--millions 500] [--methods linear ties dare_ties] [--threads N] [--repeat 3]
    python scripts/bench/merge.py --sparse 4000 --engines burnish     # 8 GB models without data: memory
    python scripts/bench/merge.py --tensors 40000                     # planning a model of that many tensors

Each merge runs in a process of its own, the engines take turns, and the fastest of the repeats counts. Imports are
left out: what is timed begins with everything loaded and ends with the weights written. `copy` reads the three models
and writes one, without merging: what no merge can be faster than. Private memory is the peak of RssAnon; mapped files
are not in it, since the system takes their pages back when it needs them.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

ENGINES = {
    "copy": "copying the bytes",
    "burnish": "burnish",
    "mergekit": "mergekit, its default",
    "mergekit-float32": "mergekit, dtype: float32",
}
DENSITY = 0.2
WEIGHTS = (0.6, 0.4)
HIDDEN, INTERMEDIATE, VOCABULARY = 1024, 2816, 32000


def shapes(millions: int) -> dict[str, tuple[int, ...]]:
    """Tensors of a Llama with tied embeddings and about that many parameters."""
    layer = {f"self_attn.{name}_proj": (HIDDEN, HIDDEN) for name in "qkvo"}
    layer |= {"mlp.gate_proj": (INTERMEDIATE, HIDDEN), "mlp.up_proj": (INTERMEDIATE, HIDDEN)}
    layer |= {
        "mlp.down_proj": (HIDDEN, INTERMEDIATE),
        "input_layernorm": (HIDDEN,),
        "post_attention_layernorm": (HIDDEN,),
    }
    count = max(
        1, round((millions * 1e6 - VOCABULARY * HIDDEN) / sum(torch.Size(shape).numel() for shape in layer.values()))
    )
    every = {f"model.layers.{at}.{name}.weight": shape for at in range(count) for name, shape in layer.items()}
    return every | {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "model.norm.weight": (HIDDEN,)}


def make_sparse_models(folder: Path, millions: int) -> int:
    """The same files without data: all zeros, and no room taken on the disk."""
    every = shapes(millions)
    table, at = {}, 0
    for name, shape in every.items():
        end = at + 2 * torch.Size(shape).numel()
        table[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(table).encode()
    text += b" " * (-len(text) % 8)
    for name in ("base", "one", "two"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text('{"model_type": "llama"}')
        with (folder / name / "model.safetensors").open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + at)
    return at // 2


def make_models(folder: Path, millions: int) -> int:
    """A base and two models with heavy-tailed deltas, in bfloat16; returns the number of parameters."""
    every = shapes(millions)
    torch.manual_seed(0)
    base = {name: (0.02 * torch.randn(shape)).bfloat16() for name, shape in every.items()}
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "vocab_size": VOCABULARY,
        "intermediate_size": INTERMEDIATE, "num_attention_heads": 16, "num_key_value_heads": 16, "dtype": "bfloat16",
        "num_hidden_layers": sum(name.endswith("q_proj.weight") for name in every), "tie_word_embeddings": True,
    }  # fmt: skip
    for name in ("base", "one", "two"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(config))
        tuned = base if name == "base" else {key: tensor + delta(tensor) for key, tensor in base.items()}
        save_file(tuned, folder / name / "model.safetensors", {"format": "pt"})
    return sum(tensor.numel() for tensor in base.values())


def delta(tensor: torch.Tensor) -> torch.Tensor:
    return (1e-3 * torch.randn(tensor.shape) * torch.rand(tensor.shape).square()).bfloat16()


def members(method: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """The models and their weights: a soup is of the base too, so that every merge reads three models."""
    return (("base", "one", "two"), (1.0, 0.6, 0.4)) if method == "linear" else (("one", "two"), WEIGHTS)


def burnish_merge(method: str, folder: Path, out: Path, threads: int) -> Any:
    """Everything loaded; the returned function merges."""
    from pipelines.engine.stage import Artifact
    from pipelines.merge import stream
    from pipelines.merge.config import MergeConfig
    from pipelines.merge.plan import plan

    settings = {"kind": method} | ({} if method == "linear" else {"density": DENSITY})
    names, weights = members(method)
    config = MergeConfig.model_validate({"models": [{"use": name} for name in names], "method": settings})
    models = {name: Artifact(name, "model", folder / name, name) for name in ("base", *names)}
    merged = [models[name] for name in names]
    return lambda: stream.merge(plan(models["base"], merged, weights, "keep"), config.method, out, threads)


def mergekit_merge(method: str, folder: Path, out: Path, threads: int, dtype: str) -> Any:
    """Everything loaded; the returned function merges."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    torch.set_num_threads(threads)
    parts = [
        {"model": str(folder / name), "parameters": {"weight": weight}}
        for name, weight in zip(*members(method), strict=True)
    ]
    recipe: dict[str, Any] = {"models": parts, "merge_method": method, "dtype": dtype, "out_dtype": "bfloat16"}
    if method != "linear":
        recipe |= {"base_model": str(folder / "base"), "parameters": {"density": DENSITY}}
    config = MergeConfiguration.model_validate(recipe)
    options = MergeOptions(write_model_card=False, copy_tokenizer=False, quiet=True)
    return lambda: run_merge(config, str(out), options)


def copy_bytes(folder: Path, out: Path) -> None:
    """Read the three models, write one."""
    with (out / "model.safetensors").open("wb", buffering=0) as target:
        for name in ("one", "two", "base"):
            with (folder / name / "model.safetensors").open("rb", buffering=0) as source:
                while block := source.read(1 << 22):
                    if name == "base":
                        target.write(block)


def child(engine: str, method: str, folder: Path, out: Path, threads: int) -> None:
    """One merge in this process; prints its wall and CPU seconds as JSON."""
    if engine == "copy":
        work: Any = lambda: copy_bytes(folder, out)  # noqa: E731
    elif engine == "burnish":
        work = burnish_merge(method, folder, out, threads)
    else:
        work = mergekit_merge(method, folder, out, threads, "float32" if engine.endswith("float32") else "bfloat16")
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}))


def measure(engine: str, method: str, folder: Path, threads: int) -> dict[str, float]:
    """One merge in its own process, with its peak of private memory in bytes."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        command = [sys.executable, __file__, "--child", engine, method, str(folder), out, "--threads", str(threads)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        peak = 0
        while process.poll() is None:
            peak = max(peak, private_bytes(process.pid))
            time.sleep(0.02)
        if process.returncode or process.stdout is None:
            raise SystemExit(f"{engine} {method} failed: run with --child to see why")
        return json.loads(process.stdout.read().splitlines()[-1]) | {"memory": peak}


def private_bytes(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")), 0)


def plan_seconds(count: int) -> float:
    """CPU seconds to plan the merge of a model of that many tensors into its base."""
    from pipelines.engine.stage import Artifact
    from pipelines.merge.plan import plan

    with tempfile.TemporaryDirectory() as temporary:
        names = {
            f"model.layers.{at // 400}.mlp.experts.{at % 400}.up_proj.weight": torch.zeros(2) for at in range(count)
        }
        for name in ("base", "one"):
            folder = Path(temporary) / name
            folder.mkdir()
            (folder / "config.json").write_text('{"model_type": "llama"}')
            save_file(names, folder / "model.safetensors")
        base, one = (Artifact(name, "model", Path(temporary) / name, name) for name in ("base", "one"))
        began = time.process_time()
        plan(base, [one], [1.0], "keep")
        return time.process_time() - began


def table(folder: Path, methods: list[str], engines: list[str], threads: int, repeat: int) -> None:
    print("| method | engine | wall s | CPU s | private MB | wall against burnish | CPU against burnish |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for method in methods:
        runs: dict[str, list[dict[str, float]]] = {engine: [] for engine in engines}
        for _ in range(repeat):
            for engine in engines:
                runs[engine].append(measure(engine, method, folder, threads))
        best = {engine: {key: min(run[key] for run in taken) for key in taken[0]} for engine, taken in runs.items()}
        ours = best["burnish"]
        for engine, took in best.items():
            ratios = f"{took['wall'] / ours['wall']:.2f}x | {took['cpu'] / ours['cpu']:.2f}x"
            cells = f"{took['wall']:.2f} | {took['cpu']:.2f} | {took['memory'] / 1e6:.0f}"
            print(f"| {method} | {ENGINES[engine]} | {cells} | {ratios} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=int, default=500, help="parameters of each checkpoint")
    parser.add_argument("--sparse", type=int, metavar="MILLIONS", help="models without data, of that many parameters")
    parser.add_argument("--tensors", type=int, help="plan a model of that many tensors, and nothing else")
    parser.add_argument("--methods", nargs="+", default=["linear", "ties", "dare_ties"])
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--child", nargs=4, metavar=("ENGINE", "METHOD", "FOLDER", "OUT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        engine, method, models, out = given.child
        child(engine, method, Path(models), Path(out), given.threads)
        return
    if given.tensors:
        print(f"{given.tensors} tensors planned in {plan_seconds(given.tensors):.2f} CPU-seconds")
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        parameters = make_sparse_models(folder, given.sparse) if given.sparse else make_models(folder, given.millions)
        print(f"base + 2 models of {parameters / 1e6:.0f}M parameters in bfloat16, {given.threads} threads, ", end="")
        print(f"torch {torch.__version__}, mergekit {version('mergekit')}, best of {given.repeat}\n")
        table(folder, given.methods, given.engines, given.threads, given.repeat)


if __name__ == "__main__":
    main()
