"""Artifacts are complete or absent, and what was changed behind the store's back is noticed."""

import os
from pathlib import Path

import pytest

from pipelines.engine.digest import Digests
from pipelines.engine.graph import Cycle, Node, graph_of
from pipelines.engine.stage import AnyRef
from pipelines.engine.store import Record, Store
from pipelines.errors import UserError
from tests.unit.engine.toy import TOY, ToyConfig

KEY = "0123456789abcdef" * 4


def finished(store: Store) -> Path:
    partial = store.begin("toy", KEY, resumable=False)
    (partial / "text").write_text("hello")
    store.commit(Record("toy.a", "toy", "scores", KEY, {}, {}, {"n": 1}, {}))
    return store.folder("toy", KEY)


def test_store_artifact_is_found_once_complete(tmp_path: Path) -> None:
    store = Store(tmp_path)
    partial = store.begin("toy", KEY, resumable=False)
    (partial / "text").write_text("half")
    assert store.find("toy", KEY) is None
    folder = finished(store)
    found = store.find("toy", KEY)
    assert found is not None
    assert found.metrics == {"n": 1}
    assert (folder / "text").read_text() == "hello"
    assert not store.partial("toy", KEY).exists()


def test_store_begin_keeps_an_attempt_only_for_resumable_stages(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (store.begin("toy", KEY, resumable=False) / "half").write_text("x")
    assert (store.begin("toy", KEY, resumable=True) / "half").exists()
    assert not (store.begin("toy", KEY, resumable=False) / "half").exists()


@pytest.mark.parametrize("harm", ["remove", "shorten"])
def test_store_harmed_file_is_refused(tmp_path: Path, harm: str) -> None:
    store = Store(tmp_path)
    file = finished(store) / "text"
    file.unlink() if harm == "remove" else file.write_text("h")
    with pytest.raises(UserError, match="Remove"):
        store.find("toy", KEY)


def test_store_same_size_change_with_old_time_is_seen_on_verify_only(tmp_path: Path) -> None:
    store = Store(tmp_path)
    file = finished(store) / "text"
    stat = file.stat()
    file.write_text("jello")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert store.find("toy", KEY) is not None
    with pytest.raises(UserError, match="was changed"):
        store.find("toy", KEY, verify=True)


def test_store_touched_but_unchanged_file_is_accepted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (finished(store) / "text").touch()
    assert store.find("toy", KEY) is not None


def test_digest_of_a_folder_changes_with_names_and_contents(tmp_path: Path) -> None:
    digests, folder = Digests(tmp_path / "cache.json"), tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("1")
    first = digests.of(folder)
    (folder / "a").rename(folder / "b")
    second = digests.of(folder)
    (folder / "b").write_text("22")
    assert len({first, second, digests.of(folder)}) == 3


def test_graph_cycle_is_told_as_a_path() -> None:
    nodes = [
        Node("a", TOY, ToyConfig(of=(AnyRef("b"),))),
        Node("b", TOY, ToyConfig(of=(AnyRef("a"),))),
    ]
    with pytest.raises(Cycle) as caught:
        graph_of(nodes)
    assert caught.value.path[0] == caught.value.path[-1]
    assert set(caught.value.path) == {"a", "b"}


def test_store_record_copied_from_another_artifact_is_not_a_file_of_this_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (store.begin("toy", KEY, resumable=False) / "artifact.json").write_text("{}")
    finished_again = store.commit(Record("toy.a", "toy", "scores", KEY, {}, {}, {}, {}))
    assert finished_again.files == {}
    assert store.find("toy", KEY) is not None


def test_graph_upstream_has_the_verdict_that_a_node_waits_for() -> None:
    nodes = [Node(name, TOY, ToyConfig(text=name)) for name in ("a", "gate", "other")]
    graph = graph_of([*nodes, Node("ship", TOY, ToyConfig(of=(AnyRef("a"),)), after="gate")])
    assert list(graph.upstream(["ship"]).nodes) == ["a", "gate", "ship"]
