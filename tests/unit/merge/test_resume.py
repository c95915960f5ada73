"""A merge that was killed goes on from what its journal says is on the disk."""

from pathlib import Path

import pytest

from pipelines.merge import journal, stream
from pipelines.merge.journal import JOURNAL, Journal, prepare
from pipelines.merge.kinds import Linear
from pipelines.merge.plan import plan
from tests.unit.merge.models import artifact, files


def some_plan(base: Path, tuned: Path):
    return plan(artifact(base), [artifact(tuned)], [1.0], "keep")


def test_killed_merge_goes_on_and_ends_in_the_same_bytes(
    tmp_path: Path, pico_base: Path, pico_tuned: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, method = some_plan(pico_base, pico_tuned[0]), Linear(kind="linear")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    stream.merge(planned, method, whole)

    monkeypatch.setattr(Journal.__init__, "__defaults__", (1,))
    merged: list[str] = []
    ordinary = stream._Merge.tensor

    def counted(self, name):
        merged.append(name)
        if len(merged) == 5:
            raise KeyboardInterrupt
        return ordinary(self, name)

    monkeypatch.setattr(stream._Merge, "tensor", counted)
    with pytest.raises(KeyboardInterrupt):
        stream.merge(planned, method, killed, threads=1)
    noted = journal.read(killed / JOURNAL)
    assert noted and set(noted) <= set(merged)
    again: list[str] = []

    def recorded(self, name):
        again.append(name)
        return ordinary(self, name)

    monkeypatch.setattr(stream._Merge, "tensor", recorded)
    prepare(killed)
    stream.merge(planned, method, killed, threads=1)
    assert not set(again) & set(noted) and set(again) | set(noted) == set(planned.base.tensors)
    assert files(killed) == files(whole)


@pytest.mark.parametrize("left", [None, b"rubbish"], ids=["removed", "damaged"])
def test_journal_of_weights_that_are_not_there_is_not_believed(
    tmp_path: Path, pico_base: Path, pico_tuned: tuple[Path, ...], left: bytes | None
) -> None:
    planned, method = some_plan(pico_base, pico_tuned[0]), Linear(kind="linear")
    whole, stale = tmp_path / "whole", tmp_path / "stale"
    whole.mkdir()
    stale.mkdir()
    stream.merge(planned, method, whole)
    journal.append(stale / JOURNAL, planned.base.tensors)
    if left:
        (stale / "model.safetensors").write_bytes(left)
    prepare(stale)
    stream.merge(planned, method, stale)
    assert files(stale) == files(whole)


def test_journal_line_that_was_cut_short_does_not_count(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text("one\ntwo\nthr")
    assert Journal(tmp_path, lambda: None).finished == {"one", "two"}


def test_journal_that_is_no_text_names_nothing(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_bytes(b"\xff\xfe\x00\n\x80")
    assert not {"one", "two"} & Journal(tmp_path, lambda: None).finished


def fill_with_rubbish(folder: Path) -> None:
    outside = folder.with_name("outside")
    outside.mkdir()
    (outside / "file").write_text("x")
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").write_text("x")
    (folder / "link").symlink_to(outside)
    (folder / "config.json").write_text("x")
    (folder / "model.safetensors").write_text("x")


def test_folder_without_a_journal_is_emptied(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    fill_with_rubbish(folder)
    prepare(folder)
    assert not list(folder.iterdir())
    assert (tmp_path / "outside" / "file").is_file()


def test_folder_with_a_journal_keeps_its_weights_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    fill_with_rubbish(folder)
    (folder / JOURNAL).write_text("one\n")
    prepare(folder)
    assert sorted(files(folder)) == [JOURNAL, "model.safetensors"]
    assert (tmp_path / "outside" / "file").is_file()
