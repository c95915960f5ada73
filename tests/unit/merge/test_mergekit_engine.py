"""mergekit beside us, in float32 and on deltas without equal magnitudes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipelines.errors import UserError
from tests.unit.merge.models import cast, files, merged, tensors


def assert_close(left: Path, right: Path) -> None:
    one, two = tensors(left), tensors(right)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "method",
    [
        {"kind": "linear"},
        {"kind": "ties", "density": 0.3},
        {"kind": "ties", "density": 0.6, "lambda": 0.7},
        {"kind": "ties", "density": 1.0},
        {"kind": "dare_ties", "density": 1.0},
    ],
    ids=lambda method: f"{method['kind']}-{method.get('density', '')}",
)
def test_engines_agree(pico_base: Path, pico_tuned, tmp_path: Path, method: dict) -> None:
    members = {pico_tuned[0]: 0.6, pico_tuned[1]: 0.3}
    ours, _ = merged(tmp_path / "ours", pico_base, members, method=method)
    theirs, metrics = merged(tmp_path / "theirs", pico_base, members, method=method, engine="mergekit")
    assert_close(ours, theirs)
    assert metrics["engine"] == "mergekit"
    carried = [name for name in files(pico_base) if not name.startswith("model")]
    assert [files(theirs)[name] for name in carried] == [files(pico_base)[name] for name in carried]
    assert not [name for name in files(theirs) if name not in files(pico_base) and not name.startswith("model")]


def test_engines_agree_on_interpolation_of_an_adapter_in_bfloat16(pico_base: Path, lora: Path, tmp_path: Path) -> None:
    base = cast(pico_base, tmp_path / "base", torch.bfloat16)
    method = {"kind": "interpolate", "alpha": 0.4}
    ours, _ = merged(tmp_path / "ours", base, {lora: 1.0}, method=method)
    theirs, _ = merged(tmp_path / "theirs", base, {lora: 1.0}, method=method, engine="mergekit")
    one, two = tensors(ours), tensors(theirs)
    different = sum(int((one[name] != two[name]).sum()) for name in one) / sum(
        tensor.numel() for tensor in one.values()
    )
    assert {tensor.dtype for tensor in two.values()} == {torch.bfloat16}
    assert different < 0.001


def test_dare_of_mergekit_is_seeded(pico_base: Path, pico_tuned, tmp_path: Path) -> None:
    method = {"kind": "dare_ties", "density": 0.5, "seed": 4}
    runs = [
        merged(tmp_path / str(at), pico_base, {pico_tuned[0]: 1.0}, method=method, engine="mergekit")[0]
        for at in (0, 1)
    ]
    assert files(runs[0]) == files(runs[1])


def test_mergekit_that_is_not_installed_is_said(pico_base: Path, pico_tuned, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "pipelines.merge.mergekit.engine", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "mergekit"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mergekit", None)
    with pytest.raises(UserError, match=r'pip install "burnish\[mergekit\]"'):
        merged(tmp_path / "out", pico_base, {pico_tuned[0]: 1.0}, engine="mergekit")


def test_our_engine_imports_no_mergekit() -> None:
    code = "import sys, json, pipelines.merge.run, pipelines.merge.stream; print(json.dumps(sorted(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert not {"mergekit", "transformers", "peft"} & set(json.loads(said.stdout))
