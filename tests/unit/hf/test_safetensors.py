"""Headers and shards read as bytes, against the safetensors library; broken files are named as such."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from pipelines.errors import UserError
from pipelines.hf.safetensors import INDEX, read_header, tensor_map, weight_files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    tensors = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(4, dtype=torch.bfloat16), "s": torch.tensor(7)}
    save_file(tensors | {"empty": torch.zeros(0, 5)}, path)
    return path


@pytest.fixture
def sharded(pico_base: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(pico_base, tmp_path / "sharded"))
    (folder / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(pico_base).save_pretrained(folder, max_shard_size="60KB")
    return folder


def test_header_gives_types_shapes_and_bytes(file: Path):
    header, content = read_header(file), file.read_bytes()
    assert {name: (info.dtype, info.shape) for name, info in header.items()} == {
        "a": ("BF16", (4,)),
        "b": ("F32", (2, 3)),
        "s": ("I64", ()),
        "empty": ("F32", (0, 5)),
    }
    values = torch.frombuffer(bytearray(content[header["b"].start : header["b"].end]), dtype=torch.float32)
    assert values.tolist() == [0, 1, 2, 3, 4, 5]
    assert max(info.end for info in header.values()) == len(content)


def test_header_truncated_data_is_refused(file: Path):
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"model.safetensors: is truncated \(got \d+ bytes where its header says \d+\)"):
        read_header(file)


def test_header_longer_file_is_refused(file: Path):
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(UserError, match="is longer than its header says"):
        read_header(file)


@pytest.mark.parametrize("size", [0, 5, 8, 100])
def test_header_truncated_header_is_refused(file: Path, size: int):
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(UserError, match="is truncated or no safetensors file"):
        read_header(file)


@pytest.mark.parametrize(
    "header",
    [
        b"not json",
        b"[]",
        b'{"a": 1}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}}',
        b'{"a": {"dtype": "F32", "shape": [-2, -1], "data_offsets": [0, 8]}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0.0, 8.0]}}',
        b'{"a": {"dtype": "F32", "shape": [1e999], "data_offsets": [0, 8]}}',
        b"[" * 100_000,
        b'{"a": {"dtype": "F31", "shape": [1], "data_offsets": [0, 4]}}',
    ],
)
def test_header_that_does_not_add_up_is_refused(tmp_path: Path, header: bytes):
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(UserError, match="has a broken safetensors header"):
        read_header(path)


def test_header_overlapping_tensors_are_refused(tmp_path: Path):
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    header = json.dumps({"a": entry, "b": entry}).encode()
    (tmp_path / "x").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(UserError, match="does not start where the one before it ends"):
        read_header(tmp_path / "x")


def test_tensor_map_sharded_finds_every_tensor(sharded: Path, pico_base: Path):
    single, many = tensor_map(pico_base), tensor_map(sharded)
    assert {name: place.info.shape for name, place in single.items()} == {n: p.info.shape for n, p in many.items()}
    assert len({place.file for place in many.values()}) == len(weight_files(sharded)) > 2


def test_weights_missing_shard_is_refused(sharded: Path):
    lost = weight_files(sharded)[1]
    lost.unlink()
    with pytest.raises(UserError, match=rf"its index names weights that are missing \(got {lost.name}\)"):
        weight_files(sharded)


def test_weights_stale_second_set_is_refused(sharded: Path, pico_base: Path):
    shutil.copyfile(pico_base / "model.safetensors", sharded / "model.safetensors")
    with pytest.raises(UserError, match=r"holds a second set of weights \(got model.safetensors\)"):
        weight_files(sharded)


def test_weights_shards_without_index_are_refused(sharded: Path):
    (sharded / INDEX).unlink()
    with pytest.raises(UserError, match=r"holds \d+ weight files but no model.safetensors.index.json"):
        weight_files(sharded)


def test_weights_pickled_only_are_refused(tmp_path: Path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(UserError, match="Pickled weights are not read"):
        weight_files(tmp_path)


def test_index_that_names_a_tensor_twice_is_refused(sharded: Path):
    index = json.loads((sharded / INDEX).read_text())
    names = weight_files(sharded)
    first = next(iter(index["weight_map"]))
    index["weight_map"][first] = next(n.name for n in names if n.name != index["weight_map"][first])
    (sharded / INDEX).write_text(json.dumps(index))
    with pytest.raises(UserError, match=f"disagree on 1 tensors .got {first}"):
        tensor_map(sharded)


def test_index_that_leaves_the_folder_is_refused(sharded: Path):
    (sharded / INDEX).write_text(json.dumps({"weight_map": {"a": "../other.safetensors"}}))
    with pytest.raises(UserError, match="is no index of safetensors shards"):
        weight_files(sharded)
