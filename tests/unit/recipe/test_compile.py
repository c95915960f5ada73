from pathlib import Path

import pytest

from pipelines.engine.graph import Graph
from pipelines.engine.stage import DatasetRef
from pipelines.evaluate.config import EvaluateConfig
from pipelines.gate.config import GateConfig
from pipelines.merge.config import MergeConfig, Quantised
from pipelines.prepare.config import PrepareConfig
from pipelines.recipe.compile import compile_graph
from pipelines.recipe.load import Recipe, load
from pipelines.report.config import ReportConfig
from pipelines.select.config import SelectConfig
from pipelines.train.config import TrainConfig
from tests.unit.recipe.project import RECIPE, make, problems

HEAD = "burnish: 1\nbase: {path: base}\n"
DATA = "data:\n  chats: {source: {files: chats.jsonl}}\n"


def compiled(folder: Path, text: str = RECIPE, *overrides: str) -> tuple[Recipe, Graph]:
    recipe = load(make(folder, text), overrides)
    return recipe, compile_graph(recipe)


def test_graph_has_a_node_for_all_that_is_made(tmp_path: Path) -> None:
    _, graph = compiled(tmp_path)
    assert sorted(graph.nodes) == [
        "base",
        "data.chats",
        "evaluate.base@dev",
        "evaluate.base@test",
        "evaluate.best@test",
        "evaluate.kept@dev",
        "evaluate.tuned@dev",
        "evaluate.whole@test",
        "export.ship",
        "gate",
        "merge.kept",
        "merge.tuned+base",
        "replay.own",
        "report",
        "select.best",
        "train.tuned",
        "train.whole",
    ]


def test_graph_is_in_an_order_that_can_run(tmp_path: Path) -> None:
    _, graph = compiled(tmp_path)
    order = list(graph.nodes)
    assert all(order.index(name) < order.index(node.id) for node in graph for name in node.inputs)
    assert order[-1] == "report"


def test_references_become_node_ids(tmp_path: Path) -> None:
    _, graph = compiled(tmp_path)
    tuned = graph.nodes["train.tuned"].config
    assert isinstance(tuned, TrainConfig) and tuned.replay
    assert (tuned.base, tuned.on, tuned.replay.from_) == ("base", "data.chats", "replay.own")


def test_adapter_where_a_model_is_wanted_is_baked_once(tmp_path: Path) -> None:
    _, graph = compiled(tmp_path)
    baked, picked = graph.nodes["merge.tuned+base"].config, graph.nodes["select.best"].config
    assert isinstance(baked, MergeConfig) and isinstance(picked, SelectConfig)
    assert (baked.base, baked.models[0].use, baked.method.kind) == ("base", "train.tuned", "linear")
    assert picked.candidates[0].model == "merge.tuned+base"
    assert graph.nodes["merge.kept"].inputs == ("base", "train.tuned")


def test_adapter_on_an_adapter_is_baked_onto_the_baked_one(tmp_path: Path) -> None:
    text = HEAD + DATA + "train:\n  a: {on: chats, method: {kind: lora}, learning_rate: 1}\n"
    text += "  b: {base: a, on: chats, method: {kind: lora}, learning_rate: 1}\nexport:\n  ship: {model: b}\n"
    _, graph = compiled(tmp_path, text)
    assert graph.nodes["train.b"].inputs == ("merge.a+base", "data.chats")
    assert graph.nodes["merge.b+base"].inputs == ("merge.a+base", "train.b")
    assert graph.nodes["export.ship"].inputs == ("merge.b+base", "base", "train.b", "merge.a+base")


def test_merged_adapter_is_merged_again_and_baked_onto_its_base(tmp_path: Path) -> None:
    lora = "on: chats, method: {kind: lora}, learning_rate: 1"
    text = f"{HEAD}{DATA}train:\n  a: {{{lora}}}\n  b: {{{lora}}}\nmerge:\n"
    text += "  both: {models: [{use: a}, {use: b}], method: {kind: svd}, output: adapter}\n"
    text += "  again: {models: [{use: both}, {use: a}], method: {kind: cat}, output: adapter}\n"
    text += "export:\n  ship: {model: again}\n"
    _, graph = compiled(tmp_path, text)
    assert [graph.nodes[f"merge.{name}"].kind for name in ("both", "again", "again+base")] == [
        "adapter", "adapter", "model",
    ]  # fmt: skip
    assert graph.nodes["merge.again"].inputs == ("base", "merge.both", "train.a")
    assert graph.nodes["merge.again+base"].inputs == ("base", "merge.again")
    assert graph.nodes["export.ship"].inputs == ("merge.again+base", "base", "merge.again")


def test_baking_of_a_qlora_adapter_knows_its_base_and_dataset(tmp_path: Path) -> None:
    text = HEAD + DATA + "train:\n"
    text += "  a: {on: chats, method: {kind: qlora, double_quant: false}, precision: bfloat16, learning_rate: 1}\n"
    text += "  b: {on: chats, method: {kind: lora}, learning_rate: 1}\nmerge:\n"
    text += "  alone: {models: [{use: a}], method: {kind: linear}, dtype: float32}\n"
    text += "  half: {models: [{use: a}], method: {kind: interpolate, alpha: 0.5}}\n"
    text += "  both: {models: [{use: a}, {use: b}], method: {kind: linear}}\n"
    text += "export:\n  one: {model: a}\n  two: {model: b}\n"
    _, graph = compiled(tmp_path, text)
    quantised = {node.id: node.config.quantised for node in graph if isinstance(node.config, MergeConfig)}
    known = Quantised(rows=DatasetRef("data.chats"), double_quant=False, precision="bfloat16")
    assert quantised.pop("merge.a+base") == quantised.pop("merge.alone") == known
    assert quantised == {"merge.half": None, "merge.both": None, "merge.b+base": None}
    assert graph.nodes["merge.a+base"].inputs == ("base", "train.a", "data.chats")


def test_inline_sources_become_nodes_shared_by_content(tmp_path: Path) -> None:
    text = (
        "burnish: 1\nmerge:\n  soup:\n    base: {path: base}\n    models: [{use: {path: base}}, {use: {path: evals}}]\n"
    )
    _, graph = compiled(tmp_path, text + "    method: {kind: linear}\n")
    merge = graph.nodes["merge.soup"].config
    assert isinstance(merge, MergeConfig)
    assert merge.base == merge.models[0].use != merge.models[1].use
    assert sorted(node.stage.name for node in graph) == ["base", "base", "merge", "report"]
    assert all(node.id.startswith("base:") for node in graph if node.stage.name == "base")


@pytest.mark.parametrize("inline", ["{files: chats.jsonl}", "{source: {files: chats.jsonl}, max_length: 64}"])
def test_inline_data_is_a_source_or_a_whole_entry(tmp_path: Path, inline: str) -> None:
    text = HEAD + f"train:\n  a: {{on: {inline}, method: {{kind: full}}, learning_rate: 1}}\n"
    _, graph = compiled(tmp_path, text)
    data = next(node for node in graph if node.stage.name == "prepare")
    assert data.id.startswith("data:") and data.id in graph.nodes["train.a"].inputs
    assert isinstance(data.config, PrepareConfig) and data.config.source.files == str(tmp_path / "chats.jsonl")


def test_mistakes_in_inline_sources_name_their_place(tmp_path: Path) -> None:
    text = HEAD + "train:\n  a: {on: {files: chats.json}, method: {kind: full}, learning_rate: 1}\n"
    assert problems(make(tmp_path, text)) == [
        "recipe.yaml:4: train.a.on.source.files: there is no such file or folder (got 'chats.json'). "
        "Did you mean 'chats.jsonl'?"
    ]


def test_base_is_measured_before_anything_is_trained(tmp_path: Path) -> None:
    order = list(compiled(tmp_path, RECIPE)[1].nodes)
    trained = min(order.index(name) for name in order if name.startswith("train."))
    assert max(order.index(name) for name in order if name.startswith("evaluate.base@")) < trained


def test_seed_of_the_recipe_fills_what_entries_leave_open(tmp_path: Path) -> None:
    _, graph = compiled(tmp_path, RECIPE.replace("kind: full}", "kind: full}, seed: 5"))
    configs = [graph.nodes[name].config for name in ("data.chats", "replay.own", "train.tuned")]
    assert [getattr(config, "seed") for config in configs] == [17, 17, 17]  # noqa: B009
    assert getattr(graph.nodes["train.whole"].config, "seed") == 5  # noqa: B009


def test_seed_of_the_recipe_does_not_move_the_sample_that_is_measured(tmp_path: Path) -> None:
    path = make(tmp_path)
    first, second = (compile_graph(load(path, [f"seed={n}"])).nodes["evaluate.base@test"] for n in (1, 2))
    assert first.config == second.config


def test_seed_fills_variants_too(tmp_path: Path) -> None:
    text = RECIPE.replace("kind: interpolate, alpha: 0.7", "kind: dare_ties")
    _, graph = compiled(tmp_path, text)
    assert graph.nodes["merge.kept"].config.method.seed == 17  # type: ignore[attr-defined]


def test_paths_are_absolute_and_globs_are_expanded_in_order(tmp_path: Path) -> None:
    _, graph = compiled(tmp_path, RECIPE.replace("files: chats.jsonl", "files: [words.txt, '*.jsonl']"))
    data = graph.nodes["data.chats"].config
    assert isinstance(data, PrepareConfig)
    assert data.source.files == tuple(str(tmp_path / name) for name in ("words.txt", "chats.jsonl", "more.jsonl"))


def test_paths_start_at_the_project_root(tmp_path: Path) -> None:
    path = make(tmp_path)
    (tmp_path / "recipes" / "deep").mkdir(parents=True)
    moved = path.rename(tmp_path / "recipes" / "deep" / "recipe.yaml")
    recipe = load(moved)
    assert recipe.root == tmp_path
    assert compile_graph(recipe).nodes["report"].config.command == "burnish run recipes/deep/recipe.yaml"  # type: ignore[attr-defined]


def test_suite_of_a_selection_is_run_on_what_it_picks_from(tmp_path: Path) -> None:
    _, graph = compiled(tmp_path)
    picked = graph.nodes["select.best"].config
    assert isinstance(picked, SelectConfig)
    assert [item.scores for item in picked.candidates] == ["evaluate.tuned@dev", "evaluate.kept@dev"]
    assert (picked.base, picked.maximize) == ("evaluate.base@dev", "skill/acc")


def test_gate_compares_the_candidate_with_the_base(tmp_path: Path) -> None:
    _, graph = compiled(tmp_path)
    gate = graph.nodes["gate"].config
    assert isinstance(gate, GateConfig)
    assert gate.candidate == {"test": "evaluate.best@test"}
    assert gate.base == {"test": "evaluate.base@test"}
    assert graph.nodes["export.ship"].after == "gate"
    assert len(gate.gates) == 2


def test_suite_knows_the_recipes_datasets(tmp_path: Path) -> None:
    _, graph = compiled(tmp_path)
    config = graph.nodes["evaluate.best@test"].config
    assert isinstance(config, EvaluateConfig)
    assert (config.model, config.base) == ("select.best", "base")
    assert config.suite.drift["said"].dataset == "replay.own"
    assert config.suite.texts["prose"].files == str(tmp_path / "words.txt")


def test_report_names_scores_verdict_and_everything_made(tmp_path: Path) -> None:
    recipe, graph = compiled(tmp_path, RECIPE, "train.tuned.epochs=2")
    report = graph.nodes["report"].config
    assert isinstance(report, ReportConfig)
    assert (report.recipe, report.candidate, report.verdict) == ("toy", "best", "gate")
    assert report.command == "burnish run recipe.yaml --set train.tuned.epochs=2"
    assert list(report.scores["test"].items()) == [
        ("base", "evaluate.base@test"),
        ("best", "evaluate.best@test"),
        ("whole", "evaluate.whole@test"),
    ]
    made = [name for name, node in graph.nodes.items() if node.kind not in ("scores", "verdict", "report")]
    assert list(report.artifacts) == made
    assert recipe.seed == 17


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        (HEAD, ["base", "report"]),
        (HEAD + DATA, ["base", "prepare", "report"]),
        (HEAD + "export:\n  ship: {model: {path: evals}}\n", ["base", "base", "export", "report"]),
        (HEAD + "evaluate:\n  suites: {a: {texts: {b: {files: words.txt}}}}\n", ["base", "evaluate", "report"]),
        (
            "burnish: 1\nevaluate:\n  suites: {a: {texts: {b: {files: words.txt}}}}\n  models: [{path: base}]\n",
            ["base", "evaluate", "report"],
        ),
    ],
)
def test_recipe_of_one_section_is_a_recipe(tmp_path: Path, text: str, stages: list[str]) -> None:
    _, graph = compiled(tmp_path, text)
    assert sorted(node.stage.name for node in graph) == stages


@pytest.mark.parametrize(
    ("change", "candidate"),
    [
        (("  models: [whole]", "  candidate: whole"), "whole"),
        (("  ship: {model: best}", "  ship: {model: kept}"), "kept"),
        (("export:\n  ship: {model: best}\n", ""), "best"),
    ],
)
def test_candidate_is_named_or_exported_or_selected(tmp_path: Path, change: tuple[str, str], candidate: str) -> None:
    _, graph = compiled(tmp_path, RECIPE.replace(*change))
    assert graph.nodes["report"].config.candidate == candidate  # type: ignore[attr-defined]
    assert graph.nodes["gate"].config.candidate == {"test": f"evaluate.{candidate}@test"}  # type: ignore[attr-defined]


def test_candidate_is_the_last_model_where_nothing_else_says(tmp_path: Path) -> None:
    text = HEAD + DATA + "train:\n  a: {on: chats, method: {kind: lora}, learning_rate: 1}\n"
    text += "merge:\n  m: {models: [{use: a}], method: {kind: linear}}\n"
    text += "evaluate:\n  suites: {test: {texts: {b: {files: words.txt}}}}\n"
    _, graph = compiled(tmp_path, text)
    assert "evaluate.m@test" in graph.nodes and "evaluate.a@test" not in graph.nodes


def test_compiling_twice_gives_equal_graphs(tmp_path: Path) -> None:
    recipe, graph = compiled(tmp_path)
    assert compile_graph(recipe) == graph


def test_base_may_be_picked_too_and_is_measured_once(tmp_path: Path) -> None:
    _, graph = compiled(tmp_path, RECIPE.replace("from: [tuned, kept]", "from: [tuned, kept, base]"))
    report = graph.nodes["report"].config
    assert isinstance(report, ReportConfig)
    assert list(report.scores["dev"]) == ["base", "tuned", "kept"]
