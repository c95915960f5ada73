import json
from pathlib import Path

import pytest

from pipelines.engine.graph import Graph
from pipelines.errors import UserError
from pipelines.recipe import hub
from pipelines.recipe.compile import compile_graph
from pipelines.recipe.load import Recipe, load
from pipelines.recipe.lock import (
    HubName,
    check_lock,
    check_offline,
    hub_names,
    lock_path,
    make_lock,
    with_lock,
    write_lock,
)
from tests.unit.recipe.project import RECIPE, make

COMMIT = "a" * 40
HUB = RECIPE.replace("base: {path: base}", "base: {hub: org/model}").replace(
    "{files: chats.jsonl}", f"{{hub: org/data, revision: {COMMIT}}}"
)


def opened(path: Path) -> tuple[Recipe, Graph]:
    recipe = load(path)
    return recipe, compile_graph(recipe)


def locked(path: Path) -> tuple[Recipe, Graph]:
    recipe, graph = opened(path)
    write_lock(lock_path(recipe), make_lock(recipe, graph, {HubName("model", "org/model", "main"): COMMIT}))
    return recipe, graph


def said(recipe: Recipe, graph: Graph) -> list[str]:
    return [str(problem).replace(f"{recipe.root}/", "") for problem in check_lock(recipe, graph)]


def test_lock_fresh_has_nothing_to_say(tmp_path: Path) -> None:
    assert said(*locked(make(tmp_path))) == []


def test_lock_is_the_same_bytes_twice(tmp_path: Path) -> None:
    recipe, _ = locked(make(tmp_path))
    before = lock_path(recipe).read_bytes()
    locked(recipe.path)
    assert lock_path(recipe).read_bytes() == before
    assert set(json.loads(before)["files"]) == {"base", "chats.jsonl", "words.txt"}


def test_lock_missing_is_refused(tmp_path: Path) -> None:
    assert said(*opened(make(tmp_path))) == [
        "recipe.yaml: there is no lock of this recipe. Run: burnish lock recipe.yaml"
    ]


def test_lock_changed_file_is_named(tmp_path: Path) -> None:
    recipe, graph = locked(make(tmp_path))
    (tmp_path / "chats.jsonl").write_text("{}\n")
    (line,) = said(recipe, graph)
    assert line.startswith("recipe.lock.json: chats.jsonl was changed since it was locked (got sha256 ca3d163bab05…")


def test_lock_changed_file_in_a_folder_is_noticed(tmp_path: Path) -> None:
    recipe, graph = locked(make(tmp_path))
    (tmp_path / "base" / "extra.json").write_text("{}")
    assert "base was changed" in said(recipe, graph)[0]


def test_lock_new_file_is_named(tmp_path: Path) -> None:
    recipe, _ = locked(make(tmp_path))
    recipe.path.write_text(RECIPE.replace("files: chats.jsonl", "files: '*.jsonl'"))
    assert said(*opened(recipe.path)) == [
        "recipe.lock.json: more.jsonl is not in the lock. Run: burnish lock recipe.yaml"
    ]


def test_lock_of_another_recipe_is_refused(tmp_path: Path) -> None:
    recipe, _ = locked(make(tmp_path))
    recipe.path.write_text(RECIPE.replace("name: toy", "name: other"))
    assert "is the lock of another recipe (got toy)" in said(*opened(recipe.path))[0]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"burnish_lock": 1}', '{"burnish_lock": 1, "x": 2}'])
def test_lock_broken_is_refused(tmp_path: Path, text: str) -> None:
    recipe, graph = opened(make(tmp_path))
    lock_path(recipe).write_text(text)
    assert said(recipe, graph) == ["recipe.lock.json: is not a lock. Run: burnish lock recipe.yaml"]


def test_lock_open_revision_is_pinned_in_the_graph(tmp_path: Path) -> None:
    recipe, graph = locked(make(tmp_path, HUB))
    assert [str(name) for name in hub_names(graph)] == ["model org/model@main", f"dataset org/data@{COMMIT}"]
    assert said(recipe, graph) == []
    pinned = with_lock(recipe, graph)
    assert getattr(pinned.nodes["base"].config, "revision") == COMMIT  # noqa: B009
    assert pinned.nodes["train.tuned"] == graph.nodes["train.tuned"]
    assert list(pinned.nodes) == list(graph.nodes)


def test_lock_without_the_revision_is_refused(tmp_path: Path) -> None:
    recipe, _ = locked(make(tmp_path))
    recipe.path.write_text(HUB)
    found = said(*opened(recipe.path))
    assert found == ["recipe.lock.json: model org/model@main is not pinned. Run: burnish lock recipe.yaml"]


def test_resolve_pinned_name_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_ask", lambda name: pytest.fail("asked the hub"))
    name = HubName("model", "a/b", COMMIT)
    assert hub.resolve([name]) == {name: COMMIT}


def test_resolve_without_network_names_every_open_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: HubName) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr(hub, "_ask", refuse)
    with pytest.raises(UserError) as error:
        hub.resolve([HubName("model", "a/b", "main"), HubName("dataset", "c/d", "v1")])
    lines = str(error.value).splitlines()
    assert [line.split(" cannot")[0] for line in lines] == ["hub: model a/b@main", "hub: dataset c/d@v1"]


def test_offline_names_what_is_not_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    _, graph = opened(make(tmp_path, HUB))
    assert [problem.what.split(" is ")[0] for problem in check_offline(graph)] == [
        "model org/model@main",
        f"dataset org/data@{COMMIT}",
    ]
    (tmp_path / "cache" / "models--org--model" / "refs").mkdir(parents=True)
    (tmp_path / "cache" / "models--org--model" / "refs" / "main").write_text("b" * 40)
    (tmp_path / "cache" / "models--org--model" / "snapshots" / ("b" * 40)).mkdir(parents=True)
    assert len(check_offline(graph)) == 1


def test_offline_takes_a_wheel_that_was_fetched(tmp_path: Path) -> None:
    text = RECIPE.replace("{path: base}", "{wheel: some-model==1.0, gguf: '*.gguf'}")
    _, graph = opened(make(tmp_path, text))
    (problem,) = check_offline(graph, tmp_path / "home")
    assert problem.what.startswith("some-model==1.0 was never fetched")
    (tmp_path / "home" / "downloads").mkdir(parents=True)
    (tmp_path / "home" / "downloads" / "some_model-1.0-py3-none-any.whl").write_text("")
    assert check_offline(graph, tmp_path / "home") == []
