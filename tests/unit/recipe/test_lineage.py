"""What a recipe says of where models come from."""

from pathlib import Path

from pipelines.merge.advice.config import AdviceConfig
from pipelines.recipe.compile import compile_graph
from pipelines.recipe.lineage import advice_nodes
from pipelines.recipe.load import load
from tests.unit.recipe.project import make

HEAD = """\
burnish: 1
name: toy
base: {path: base}
data:
  chats: {source: {files: chats.jsonl}, split: {dev: 0.1}}
  code: {source: {files: more.jsonl}}
  words: {source: {files: chats.jsonl}, format: sharegpt}
"""
TRAIN = "train:\n"
ONE = "  one: {on: chats, method: {kind: lora, rank: 8}, learning_rate: 1.0e-3}\n"
TWO = "  two: {on: code, method: {kind: lora, rank: 8}, learning_rate: 1.0e-3}\n"


def advised(folder: Path, text: str, with_loss: bool = False) -> dict[str, AdviceConfig]:
    recipe = load(make(folder, HEAD + text))
    nodes = advice_nodes(recipe, compile_graph(recipe).nodes, with_loss)
    return {node.id: node.config for node in nodes if isinstance(node.config, AdviceConfig)}


def test_models_trained_on_the_base_know_their_data_and_method(tmp_path: Path) -> None:
    text = TRAIN + ONE + TWO + "merge:\n  both: {models: [{use: one}, {use: two}], method: {kind: cat}}\n"
    found = advised(tmp_path, text)["advice.both"]
    one, two = found.lineage.parents
    assert (one.name, one.adapter, one.method, one.data, one.foreign) == ("one", True, "lora", ("chats",), "")
    assert two.data == ("code",)
    assert found.lineage.training == "method: {kind: lora, rank: 8}, learning_rate: 1.0e-03"
    assert found.lineage.differ == ()
    assert found.lineage.files == ("chats.jsonl", "more.jsonl")
    assert [str(judged.use) for judged in found.models] == ["train.one", "train.two"]


def test_loss_is_asked_for_on_the_data_of_each_trained_model(tmp_path: Path) -> None:
    text = TRAIN + ONE + "merge:\n  both: {models: [{use: one}, {use: {path: base}}], method: {kind: linear}}\n"
    (found,) = advised(tmp_path, text, with_loss=True).values()
    assert [judged.loss_on for judged in found.models] == ["data.chats", None]


def test_runs_that_differ_in_seed_and_rate_say_so(tmp_path: Path) -> None:
    other = ONE.replace("one:", "again:").replace("rank: 8}", "rank: 8}, seed: 3").replace("1.0e-3", "2.0e-3")
    found = advised(tmp_path, TRAIN + ONE + other)["advice.trained"].lineage
    assert found.differ == ("learning_rate", "seed")
    assert found.same_data


def test_formats_that_differ_cannot_be_one_dataset(tmp_path: Path) -> None:
    found = advised(tmp_path, TRAIN + ONE + TWO.replace("on: code", "on: words"))["advice.trained"].lineage
    assert found.files == ()
    assert found.datasets == ("chats", "words")


def test_model_trained_from_another_is_foreign_to_a_merge_on_the_base(tmp_path: Path) -> None:
    other = TWO.replace("on: code", "base: {path: evals}, on: code").replace("lora, rank: 8", "full")
    text = TRAIN + ONE + other + "merge:\n  both: {models: [{use: one}, {use: two}], method: {kind: linear}}\n"
    one, two = advised(tmp_path, text)["advice.both"].lineage.parents
    assert one.foreign == ""
    assert two.foreign != ""


def test_model_that_is_given_is_of_unknown_descent(tmp_path: Path) -> None:
    text = TRAIN + ONE + "merge:\n  both: {models: [{use: one}, {use: {path: evals}}], method: {kind: linear}}\n"
    _, given = advised(tmp_path, text)["advice.both"].lineage.parents
    assert (given.foreign, given.data, given.method) == ("", (), "")


def test_sources_without_a_name_are_stated_as_the_recipe_has_them(tmp_path: Path) -> None:
    (tmp_path / "my models, new").mkdir()
    given = "{use: {path: evals}}, {use: {path: 'my models, new'}}, {use: {hub: org/name, revision: '12'}}"
    text = f"merge:\n  both: {{models: [{given}, {{use: base}}], method: {{kind: linear}}}}\n"
    parents = advised(tmp_path, text)["advice.both"].lineage.parents
    assert [parent.stated for parent in parents] == [
        "{path: evals}",
        '{path: "my models, new"}',
        '{hub: org/name, revision: "12"}',
        "base",
    ]


def test_model_trained_in_two_steps_has_the_data_of_both(tmp_path: Path) -> None:
    second = TWO.replace("on: code", "base: one, on: code")
    text = TRAIN + ONE + second + "merge:\n  both: {models: [{use: two+}], method: {kind: linear}}\n"
    text = text.replace(
        "base: one, on: code, method: {kind: lora, rank: 8}", "base: one, on: code, method: {kind: full}"
    )
    (parent,) = advised(tmp_path, text.replace("two+", "two"))["advice.both"].lineage.parents
    assert (parent.data, parent.method, parent.foreign) == (("chats", "code"), "full", "")


def test_trained_models_that_others_start_from_are_left_out(tmp_path: Path) -> None:
    three = TWO.replace("two:", "three:").replace("on: code", "base: one, on: code")
    found = advised(tmp_path, TRAIN + ONE + TWO + three + three.replace("three:", "four:"))
    assert {name: [str(one.use) for one in config.models] for name, config in found.items()} == {
        "advice.trained-on-one": ["train.three", "train.four"],
    }


def test_adapters_baked_for_measuring_are_no_merges_to_advise_on(tmp_path: Path) -> None:
    assert advised(tmp_path, TRAIN + ONE + "export:\n  ship: {model: one}\n") == {}


def test_goal_of_the_recipe_is_that_of_its_selection(tmp_path: Path) -> None:
    recipe = load(make(tmp_path))
    (node,) = advice_nodes(recipe, compile_graph(recipe).nodes)
    assert isinstance(node.config, AdviceConfig)
    assert (node.config.lineage.objective, node.config.lineage.suite) == ("maximize: skill/acc", "dev")
