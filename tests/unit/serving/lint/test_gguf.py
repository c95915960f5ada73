"""A GGUF file is whole, readable, and has what a server needs."""

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.serving.findings import Finding
from pipelines.serving.lint.folder import lint
from tests.unit.serving.lint.changes import named


def write(folder: Path, template: bool = True, eos: bool = True) -> Path:
    """A file with one tensor of each of three types."""
    path = folder / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_token_list(["a", "b"])
    writer.add_token_types([1, 1])
    if eos:
        writer.add_eos_token_id(1)
    if template:
        writer.add_chat_template("{{ messages }}")
    for kind in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.Q8_0):
        data = gguf.quants.quantize(np.ones((3, 64), dtype=np.float32), kind)
        writer.add_tensor(f"blk.{kind}.weight", data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    path.chmod(0o644)
    return path


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """A folder that all may enter: pytest's own is for its owner alone."""
    (tmp_path / "m").mkdir()
    return tmp_path / "m"


def rules(folder: Path) -> dict[str, str]:
    return dict(named(lint(folder, beside=False)))


def test_gguf_whole_file_has_no_findings(tmp_path: Path):
    path = write(tmp_path)
    assert rules(tmp_path) == {}
    assert rules(path) == {}


def test_gguf_one_byte_short_is_refused(tmp_path: Path):
    path = write(tmp_path)
    path.write_bytes(path.read_bytes().rstrip(b"\0")[:-1])
    assert rules(tmp_path) == {"gguf-broken": "E"}


@pytest.mark.parametrize(
    "content", [b"", b"GGUF", b"version https://git-lfs.github.com/spec/v1\n", b"GGUF" + b"\xff" * 40]
)
def test_gguf_other_bytes_are_refused(content: bytes, tmp_path: Path):
    (tmp_path / "model.gguf").write_bytes(content)
    assert rules(tmp_path) == {"gguf-broken": "E"}


@pytest.mark.parametrize("length", [100, 2**62, 2**64 - 1])
def test_gguf_list_that_ends_behind_the_file_is_refused(length: int, tmp_path: Path):
    key = struct.pack("<Q", 1) + b"k" + struct.pack("<IIQ", 9, 5, length)
    (tmp_path / "model.gguf").write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + key + bytes(8))
    assert rules(tmp_path) == {"gguf-broken": "E"}


def test_gguf_without_end_of_text_is_refused(tmp_path: Path):
    write(tmp_path, eos=False)
    assert rules(tmp_path) == {"gguf-keys": "E"}


def test_gguf_without_template_is_told(tmp_path: Path):
    write(tmp_path, template=False)
    assert rules(tmp_path) == {"gguf-template": "W"}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_gguf_damaged_file_is_never_a_traceback(data: st.DataObject, tmp_path: Path):
    path = write(tmp_path)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    assert all(isinstance(finding, Finding) for finding in lint(tmp_path))
