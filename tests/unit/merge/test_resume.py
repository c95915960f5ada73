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


def test_journal_line_that_was_cut_short_does_not_count(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text("one\ntwo\nthr")
    assert Journal(tmp_path, lambda: None).finished == {"one", "two"}


def test_folder_without_a_journal_is_emptied(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_text("x")
    (tmp_path / "model.safetensors").write_text("x")
    prepare(tmp_path)
    assert not list(tmp_path.iterdir())
