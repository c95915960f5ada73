"""What an export takes: writing it, checking the headers of an 80 GB folder, and proving it in transformers and vLLM.

    python scripts/bench/export.py write [--millions 500] [--repeat 3]     # beside copying the same bytes
    python scripts/bench/export.py lint [--layers 44]                      # sparse files: headers without data
    python scripts/bench/export.py verify FOLDER [--cold]                  # burnish verify, without vLLM and with it

Each repeat runs in a process of its own, the sides take turns, and the fastest counts. `write` leaves imports out: what
is timed begins with everything loaded and ends with the bytes on the disk. Private memory is the peak of RssAnon less
what it was before the work; mapped files are not in it. `lint` and `verify` time the whole command. --cold empties the
system's caches before each, which takes root.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from merge import make_models
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

CACHES = Path("/proc/sys/vm/drop_caches")
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LARGE = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8192, "intermediate_size": 28672,
    "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256, "bos_token_id": 0,
    "eos_token_id": 2, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
    "rope_theta": 500000.0, "rope_scaling": None, "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
    "dtype": "bfloat16", "torch_dtype": "bfloat16",
}  # fmt: skip
"""A Llama of the width of 70 billion parameters."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    write = parts.add_parser("write")
    write.add_argument("--millions", type=int, default=500)
    lint = parts.add_parser("lint")
    lint.add_argument("--layers", type=int, default=44)
    verify = parts.add_parser("verify")
    verify.add_argument("folder", type=Path)
    verify.add_argument("--cold", action="store_true")
    for part in (write, lint, verify):
        part.add_argument("--repeat", type=int, default=3)
    child = parts.add_parser("child")
    child.add_argument("side", choices=("copy", "export"))
    child.add_argument("folder", type=Path)
    args = parser.parse_args()
    {"write": time_writing, "lint": time_lint, "verify": time_verify, "child": write_once}[args.part](args)


def time_writing(args: argparse.Namespace) -> None:
    """The export's folder beside a copy of the model's."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        count = make_models(folder, args.millions)
        words(folder / "base", 32000)
        found: dict[str, list[dict[str, float]]] = {"copy": [], "export": []}
        for _ in range(args.repeat):
            for side, runs in found.items():
                command = [sys.executable, __file__, "child", side, str(folder / "base")]
                runs.append(json.loads(subprocess.check_output(command, text=True).splitlines()[-1]))
        print(f"{count / 1e6:.0f} million parameters in bfloat16")
        copied = min(run["wall"] for run in found["copy"])
        for side, runs in found.items():
            best = min(runs, key=lambda run: run["wall"])
            memory = f"{best['private'] / 1e9:.2f} GB private"
            print(
                f"{side:8} {best['wall']:6.2f} s {best['cpu']:6.2f} CPU-s {memory}  {best['wall'] / copied:.2f} x copy"
            )


def write_once(args: argparse.Namespace) -> None:
    """One side in this process: prints seconds, CPU-seconds and bytes of private memory."""
    from pipelines.export.write import write_folder

    with tempfile.TemporaryDirectory(dir=args.folder.parent) as scratch:
        out = Path(scratch)
        work: Callable[[], Any] = {
            "copy": lambda: [shutil.copyfile(file, out / file.name) for file in args.folder.iterdir()],
            "export": lambda: write_folder(args.folder, args.folder, out, "bfloat16", True, 5_000_000_000),
        }[args.side]
        before, peak, done = private_bytes(), [0], threading.Event()
        watcher = threading.Thread(target=watch, args=(peak, done))
        watcher.start()
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        os.sync()
        took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        done.set()
        watcher.join()
        print(json.dumps(took | {"private": max(0, peak[0] - before)}))


def watch(peak: list[int], done: threading.Event) -> None:
    while not done.wait(0.005):
        peak[0] = max(peak[0], private_bytes())


def private_bytes() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in status if line.startswith("RssAnon"))


def time_lint(args: argparse.Namespace) -> None:
    """`burnish verify --static` of a folder of headers and holes."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        size = make_sparse(folder, args.layers)
        print(f"{size / 1e9:.1f} GB in {len(list(folder.glob('*.safetensors')))} files")
        runs = [timed(["verify", str(folder), "--static"]) for _ in range(args.repeat)]
        best = min(runs, key=lambda run: run["wall"])
        print(f"lint {best['wall']:.2f} s {best['cpu']:.2f} CPU-s {best['peak'] / 1e9:.2f} GB resident")


def make_sparse(folder: Path, layers: int) -> int:
    """A wide Llama with all of its files, but no data in its shards; returns the bytes of its weights."""
    config = LARGE | {"num_hidden_layers": layers}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 0, "eos_token_id": 2}))
    words(folder, 128256)
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    room = 5_000_000_000
    for name, shape in large_shapes(layers).items():
        size = 2 * torch.Size(shape).numel()
        if size > room:
            shards.append({})
            room = 5_000_000_000
        shards[-1][name] = shape
        room -= size
    places = {name: f"model-{at + 1:05}-of-{len(shards):05}.safetensors" for at, s in enumerate(shards) for name in s}
    total = sum(
        sparse_file(folder / f"model-{at + 1:05}-of-{len(shards):05}.safetensors", shard)
        for at, shard in enumerate(shards)
    )
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for file in folder.iterdir():
        file.chmod(0o644)
    return total


def large_shapes(layers: int) -> dict[str, tuple[int, ...]]:
    wide, inner = LARGE["hidden_size"], LARGE["intermediate_size"]
    few = LARGE["num_key_value_heads"] * LARGE["head_dim"]
    layer = {
        "self_attn.q_proj": (wide, wide), "self_attn.k_proj": (few, wide), "self_attn.v_proj": (few, wide),
        "self_attn.o_proj": (wide, wide), "mlp.gate_proj": (inner, wide), "mlp.up_proj": (inner, wide),
        "mlp.down_proj": (wide, inner), "input_layernorm": (wide,), "post_attention_layernorm": (wide,),
    }  # fmt: skip
    every = {f"model.layers.{at}.{name}.weight": shape for at in range(layers) for name, shape in layer.items()}
    ends = {"model.embed_tokens.weight": (128256, wide), "model.norm.weight": (wide,), "lm_head.weight": (128256, wide)}
    return every | ends


def sparse_file(path: Path, shapes: dict[str, tuple[int, ...]]) -> int:
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in shapes.items():
        end = at + 2 * torch.Size(shape).numel()
        table[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(table).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    return at


def words(folder: Path, size: int) -> None:
    """A tokenizer of so many words, with a chat template."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {word: at for at, word in enumerate([*special, *(f"word{at}" for at in range(size - len(special)))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=special[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=special[0], eos_token=special[2], pad_token=special[2],
        additional_special_tokens=special, model_max_length=4096, chat_template=CHATML,
    )  # fmt: skip
    fast.save_pretrained(folder)


def time_verify(args: argparse.Namespace) -> None:
    """The whole command, first without other engines and then with vLLM."""
    for engine in ("none", "vllm"):
        runs = []
        for _ in range(args.repeat):
            if args.cold:
                os.sync()
                CACHES.write_text("3")
            runs.append(timed(["verify", str(args.folder), "--engine", engine]))
        best = min(runs, key=lambda run: run["wall"])
        print(f"verify, engine {engine}: {best['wall']:.1f} s {best['cpu']:.1f} CPU-s")


def timed(words: list[str]) -> dict[str, float]:
    """A burnish command: wall and CPU-seconds with its children, and the largest resident memory of all of them."""
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "pipelines", *words], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": time.perf_counter() - wall, "cpu": cpu, "peak": 1024 * after.ru_maxrss}


if __name__ == "__main__":
    main()
