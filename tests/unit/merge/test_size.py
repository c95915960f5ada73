"""Merges of models that are large, or of very many tensors."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.merge.plan import plan
from tests.unit.merge.models import artifact

METHODS = ["linear", "ties", "dare_ties", "sce"]
CHILD = """
import json, sys, threading
from pathlib import Path
from pipelines.merge import stream
from pipelines.merge.config import MergeConfig
from pipelines.merge.plan import plan
from tests.unit.merge.models import artifact

def private():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])

folder, out, kind = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
stream.fastest(1 << 40)
before = peak = private()
done = threading.Event()

def watch():
    global peak
    while not done.wait(0.005):
        peak = max(peak, private())

watcher = threading.Thread(target=watch)
watcher.start()
config = MergeConfig.model_validate({"models": [{"use": "one"}, {"use": "two"}], "method": {"kind": kind}})
members = [artifact(folder / name) for name in ("one", "two")]
stream.merge(plan(artifact(folder / "base"), members, [0.6, 0.4], "keep"), config.method, out, threads=2)
done.set()
watcher.join()
print(json.dumps({"peak": peak - before}))
"""


def sparse_model(folder: Path, shapes: dict[str, list[int]]) -> Path:
    """A bf16 model of zeros that takes no room on the disk."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    table, at = {}, 0
    for name, shape in shapes.items():
        end = at + 2 * shape[0] * shape[1]
        table[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(table).encode()
    text += b" " * (-len(text) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="private memory is read from /proc")
@pytest.mark.parametrize("kind", METHODS)
def test_private_memory_does_not_grow_with_the_model(tmp_path: Path, kind: str) -> None:
    shapes = {f"model.layers.{at}.mlp.up_proj.weight": [4096, 8192] for at in range(3)}
    for name in ("base", "one", "two"):
        sparse_model(tmp_path / name, shapes)
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-c", CHILD, str(tmp_path), str(tmp_path / "out"), kind]
    told = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert json.loads(told.stdout)["peak"] < 150e6


def test_forty_thousand_tensors_are_planned(tmp_path: Path) -> None:
    shapes = {f"model.layers.{at // 400}.mlp.experts.{at % 400}.up_proj.weight": [2, 2] for at in range(40_000)}
    base, one = (sparse_model(tmp_path / name, shapes) for name in ("base", "one"))
    planned = plan(artifact(base), [artifact(one)], [1.0], "keep")
    assert len(planned.base.tensors) == 40_000 and planned.layers == 100
