"""Reading tensors in place and writing them at their offsets."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.errors import UserError
from pipelines.hf.shard_writer import ShardWriter
from pipelines.hf.shards import open_file, open_folder, same_bytes

TENSORS = {
    "flags": torch.tensor([True, False, True]),
    "half": torch.arange(6, dtype=torch.float16).view(2, 3),
    "weight": torch.arange(10, dtype=torch.float32) / 3,
    "none": torch.zeros(0, 4),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    save_file(TENSORS, tmp_path / "model" / "model.safetensors", {"format": "pt", "note": "kept"})
    return tmp_path / "model"


def rewrite(source: Path, target: Path, dtypes: dict[str, str], dtype: torch.dtype) -> Path:
    target.mkdir()
    weights = open_folder(source).map()
    with ShardWriter(target, weights, dtypes) as writer:
        for name in reversed(weights.tensors):
            values = weights.tensor(name)
            values = values.to(dtype) if name in dtypes else values
            for start in reversed(range(0, values.numel(), 2)):
                writer.write(name, values[start : start + 2], start)
    return target / "model.safetensors"


def test_tensors_are_read_as_stored(folder: Path) -> None:
    weights = open_folder(folder).map()
    for name, tensor in TENSORS.items():
        assert weights.info(name).shape == tuple(tensor.shape)
        assert weights.tensor(name).equal(tensor.flatten())


def test_written_in_any_order_gives_the_same_file(folder: Path, tmp_path: Path) -> None:
    written = rewrite(folder, tmp_path / "out", {}, torch.float32)
    assert written.read_bytes() == (folder / "model.safetensors").read_bytes()
    assert written.stat().st_mode & 0o777 == 0o644


def test_other_types_get_a_new_header_with_the_old_metadata(folder: Path, tmp_path: Path) -> None:
    written = rewrite(folder, tmp_path / "out", {"weight": "BF16", "half": "BF16"}, torch.bfloat16)
    expected = TENSORS | {name: TENSORS[name].bfloat16() for name in ("weight", "half")}
    assert all(tensor.equal(expected[name]) for name, tensor in load_file(written).items())
    data = written.read_bytes()
    assert json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["note"] == "kept"


def test_tensor_at_an_odd_offset_is_read(tmp_path: Path) -> None:
    header = {
        "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [1, 9]},
    }
    text = json.dumps(header).encode()
    data = torch.tensor([1.5, -2.0]).numpy().tobytes()
    (tmp_path / "odd").write_bytes(len(text).to_bytes(8, "little") + text + b"\x07" + data)
    assert open_file(tmp_path / "odd").map().tensor("b").tolist() == [1.5, -2.0]


def test_full_disk_is_said_before_a_file_is_made(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.hf.shards.shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(UserError, match="not enough disk space"):
        rewrite(folder, tmp_path / "out", {}, torch.float32)
    assert not list((tmp_path / "out").iterdir())


def resharded(source: Path, target: Path, shard_bytes: int) -> Path:
    target.mkdir()
    weights = open_folder(source).map()
    with ShardWriter(target, weights, {}, shard_bytes) as writer:
        for name in weights.tensors:
            writer.write(name, weights.tensor(name))
    return target


def test_writer_spreads_tensors_over_shards_of_the_chosen_size(folder: Path, tmp_path: Path) -> None:
    split = resharded(folder, tmp_path / "split", 41)
    sizes = [path.stat().st_size for path in sorted(split.glob("*.safetensors"))]
    index = json.loads((split / "model.safetensors.index.json").read_text())
    assert len(sizes) == 2 and set(index["weight_map"]) == set(TENSORS)
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in TENSORS.values())
    assert all(open_folder(split).map().tensor(name).equal(tensor.view(-1)) for name, tensor in TENSORS.items())
    joined = resharded(split, tmp_path / "joined", 1 << 20)
    assert [path.name for path in joined.iterdir()] == ["model.safetensors"]
    assert all(tensor.equal(load_file(joined / "model.safetensors")[name]) for name, tensor in TENSORS.items())


def test_writer_keeps_what_an_earlier_attempt_wrote(folder: Path, tmp_path: Path) -> None:
    weights = open_folder(folder).map()
    target = tmp_path / "target"
    target.mkdir()
    with ShardWriter(target, weights, {}) as writer:
        writer.write("weight", weights.tensor("weight"))
        writer.sync()
    with ShardWriter(target, weights, {}) as writer:
        writer.write("half", weights.tensor("half"))
    written = load_file(target / "model.safetensors")
    assert written["weight"].equal(TENSORS["weight"]) and written["half"].equal(TENSORS["half"])


def test_writer_lays_out_anew_what_is_laid_out_otherwise(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "model.safetensors").write_bytes(b"something else")
    weights = open_folder(folder).map()
    with ShardWriter(target, weights, {}):
        pass
    assert not load_file(target / "model.safetensors")["weight"].any()


def test_bytes_are_compared_without_a_copy_of_them() -> None:
    one = np.zeros(1 << 26, np.uint8)
    other = one.copy()
    tracemalloc.start()
    assert same_bytes(one, other)
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()
    other[-1] = 1
    assert not same_bytes(one, other)
    assert not same_bytes(one, one[:-1]) and not same_bytes(one[:0], one) and same_bytes(one[:0], other[:0])
