"""Weights written again: the same values, rounded once, in shards of the size asked for."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.errors import UserError
from pipelines.hf import rewrite as module
from pipelines.hf.rewrite import rewrite
from pipelines.hf.safetensors import INDEX, read_header, tensor_map


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    torch.manual_seed(0)
    tensors = {
        "half": torch.randn(7).to(torch.bfloat16),
        "ids": torch.arange(5),
        "large": torch.randn(50, 100),
        "none": torch.zeros(0, 3),
        "scalar": torch.tensor(1 / 3),
        "small": torch.randn(10, 10),
    }
    save_file(tensors, folder / "model.safetensors")
    return folder


def loaded(files: list[Path]) -> dict[str, torch.Tensor]:
    return {name: value for file in files for name, value in load_file(file).items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    same = all(torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one)
    return one.keys() == other.keys() and same


def test_rewrite_keep_gives_the_same_tensors(source: Path, tmp_path: Path):
    files = rewrite(source, tmp_path)
    assert [file.name for file in files] == ["model.safetensors"]
    assert equal(loaded(files), load_file(source / "model.safetensors"))
    assert not (tmp_path / INDEX).exists()


@pytest.mark.parametrize(("name", "dtype"), [("bfloat16", torch.bfloat16), ("float16", torch.float16)])
def test_rewrite_dtype_rounds_floats_and_leaves_integers(source: Path, tmp_path: Path, name: str, dtype: torch.dtype):
    expected = {
        key: value.to(dtype) if value.is_floating_point() else value
        for key, value in load_file(source / "model.safetensors").items()
    }
    assert equal(loaded(rewrite(source, tmp_path, name)), expected)


def test_rewrite_in_small_pieces_changes_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = rewrite(source, tmp_path, "bfloat16")[0].read_bytes()
    monkeypatch.setattr(module, "_CHUNK", 13)
    assert rewrite(source, tmp_path, "bfloat16")[0].read_bytes() == whole


def test_rewrite_shards_respect_the_size_and_the_index_agrees(source: Path, tmp_path: Path):
    files = rewrite(source, tmp_path, max_shard_size=500)
    assert [file.name for file in files] == [
        f"model-{at:05}-of-{len(files):05}.safetensors" for at in range(1, len(files) + 1)
    ]
    for file in files:
        infos = read_header(file).values()
        assert sum(info.end - info.start for info in infos) <= 500 or len(infos) == 1
    located = tensor_map(tmp_path)
    total = sum(place.info.end - place.info.start for place in located.values())
    assert json.loads((tmp_path / INDEX).read_text())["metadata"]["total_size"] == total
    assert equal(loaded(files), load_file(source / "model.safetensors"))


def test_rewrite_aligns_every_tensor_to_its_type(source: Path, tmp_path: Path):
    width = {"F32": 4, "BF16": 2, "I64": 8}
    header = read_header(rewrite(source, tmp_path)[0])
    assert all(info.start % width[info.dtype] == 0 for info in header.values())
    assert min(info.start for info in header.values()) % 64 == 0


def test_rewrite_leaves_out_what_it_is_told(source: Path, tmp_path: Path):
    assert "large" not in loaded(rewrite(source, tmp_path, leave_out=["large"]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_rewrite_broken_value_is_refused(source: Path, tmp_path: Path, value: float):
    tensors = load_file(source / "model.safetensors")
    tensors["small"][3, 3] = value
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(UserError, match="small: holds NaN or infinite values"):
        rewrite(source, tmp_path)


def test_rewrite_value_too_large_for_float16_is_refused(source: Path, tmp_path: Path):
    save_file({"x": torch.tensor([70000.0])}, source / "model.safetensors")
    with pytest.raises(UserError, match="x: holds values too large for F16"):
        rewrite(source, tmp_path, "float16")


def test_rewrite_copied_piece_by_piece_changes_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = rewrite(source, tmp_path)[0].read_bytes()
    send = os.sendfile
    monkeypatch.setattr(os, "sendfile", lambda out, into, at, count: send(out, into, at, min(count, 13)))
    assert rewrite(source, tmp_path)[0].read_bytes() == whole


def test_rewrite_source_cut_meanwhile_is_refused(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sendfile", lambda *_: 0)
    with pytest.raises(UserError, match="became shorter"):
        rewrite(source, tmp_path)
