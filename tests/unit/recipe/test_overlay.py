from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.recipe.overlay import read_recipe
from pipelines.recipe.yaml_file import origin_of, plain

PARENT = """\
burnish: 1
base: {hub: a/b, revision: main, dtype: float32}
train:
  one: {on: x, epochs: 1}
  two: {on: y}
merge:
  m: {method: {kind: interpolate, alpha: 0.5}}
gates: [{by: 1}, {by: 2}]
"""


@pytest.fixture
def child(tmp_path: Path) -> Path:
    (tmp_path / "parent.yaml").write_text(PARENT)
    return tmp_path / "child.yaml"


def _effective(path: Path, text: str, *overrides: str) -> dict[str, object]:
    path.write_text("extends: parent.yaml\n" + text)
    found = plain(read_recipe(path, overrides))
    found.pop("extends")
    return found


def test_extends_merges_entry_by_entry(child: Path) -> None:
    found = _effective(child, "train:\n  one: {epochs: 3}\n  new: {on: z}\n")
    assert found["train"] == {"one": {"on": "x", "epochs": 3}, "two": {"on": "y"}, "new": {"on": "z"}}


def test_extends_keeps_the_origin_of_every_value(child: Path) -> None:
    _effective(child, "train:\n  one: {epochs: 3}\n")
    item = read_recipe(child)
    assert str(origin_of(item, ("train", "one", "epochs"))).endswith("child.yaml:3")
    assert str(origin_of(item, ("train", "one", "on"))).endswith("parent.yaml:4")


def test_extends_replaces_lists_as_a_whole(child: Path) -> None:
    assert _effective(child, "gates: [{by: 3}]\n")["gates"] == [{"by": 3}]


def test_extends_another_kind_starts_afresh(child: Path) -> None:
    found = _effective(child, "merge:\n  m: {method: {kind: ties}}\n")
    assert found["merge"] == {"m": {"method": {"kind": "ties"}}}


def test_extends_same_kind_keeps_the_rest(child: Path) -> None:
    found = _effective(child, "merge:\n  m: {method: {kind: interpolate}}\n")
    assert found["merge"] == {"m": {"method": {"kind": "interpolate", "alpha": 0.5}}}


def test_extends_another_source_starts_afresh(child: Path) -> None:
    assert _effective(child, "base: {path: folder}\n")["base"] == {"path": "folder"}


def test_extends_null_takes_an_entry_and_a_section_away(child: Path) -> None:
    found = _effective(child, "train:\n  two: null\ngates:\n")
    assert found["train"] == {"one": {"on": "x", "epochs": 1}}
    assert "gates" not in found


def test_extends_null_takes_a_part_of_an_entry_away(child: Path) -> None:
    assert _effective(child, "merge:\n  m: {method: null}\n")["merge"] == {"m": {}}


def test_empty_entry_that_overlays_nothing_is_kept_for_the_checks(child: Path) -> None:
    assert _effective(child, "train:\n  three:\n")["train"]["three"] is None  # type: ignore[index]


def test_extends_is_relative_to_the_file_and_chains(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "low.yaml").write_text("seed: 1\nname: low\n")
    (tmp_path / "a" / "mid.yaml").write_text("extends: low.yaml\nseed: 2\n")
    (tmp_path / "top.yaml").write_text("extends: a/mid.yaml\nburnish: 1\n")
    found = plain(read_recipe(tmp_path / "top.yaml"))
    assert (found["name"], found["seed"], found["burnish"]) == ("low", 2, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: child.yaml\n", "extends: recipes extend each other in a circle"),
        ("extends: none.yaml\n", "extends: there is no such recipe (got none.yaml)"),
        ("extends: [a, b]\n", "extends: must be the path of one recipe (got a list)"),
        ("- a\n", "a recipe is a mapping of sections (got a list)"),
    ],
)
def test_extends_broken_is_explained(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "child.yaml").write_text(text)
    with pytest.raises(UserError, match=r"child\.yaml:1") as error:
        read_recipe(tmp_path / "child.yaml")
    assert said in str(error.value)


def test_set_reads_yaml_and_names_itself_as_origin(child: Path) -> None:
    found = _effective(child, "", "train.one.learning_rate=1e-4", "train.one.tags=[a, b]", "seed=7")
    assert found["train"]["one"] == {"on": "x", "epochs": 1, "learning_rate": 1e-4, "tags": ["a", "b"]}  # type: ignore[index]
    assert found["seed"] == 7
    item = read_recipe(child, ["train.one.epochs=9"])
    assert str(origin_of(item, ("train", "one", "epochs"))) == "--set train.one.epochs"
    assert str(origin_of(item, ("train", "one", "on"))).endswith("parent.yaml:4")


def test_set_reaches_into_lists_makes_sections_and_removes_entries(child: Path) -> None:
    found = _effective(child, "", "gates.1.by=5", "export.ship.model=one", "train.two=")
    assert found["gates"] == [{"by": 1}, {"by": 5}]
    assert found["export"] == {"ship": {"model": "one"}}
    assert "two" not in found["train"]  # type: ignore[operator]


def test_set_another_source_starts_afresh(child: Path) -> None:
    assert _effective(child, "", "base.path=folder")["base"] == {"path": "folder"}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed", "--set seed: a setting is written path=value"),
        ("=1", "--set =1: a setting is written path=value"),
        ("gates.7.by=1", "has no item 7 (got 2 items)"),
        ("gates.x.by=1", "has no item x (got 2 items)"),
        ("seed=[1", "--set seed: is not YAML"),
    ],
)
def test_set_broken_is_explained(child: Path, override: str, said: str) -> None:
    child.write_text("extends: parent.yaml\n")
    with pytest.raises(UserError) as error:
        read_recipe(child, [override])
    assert said in str(error.value)
