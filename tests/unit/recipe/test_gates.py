"""Gates in recipes: what they are compiled to, and what is said where they cannot mean anything."""

from pathlib import Path

import pytest

from pipelines.engine.digest import file_digest
from pipelines.engine.graph import Graph
from pipelines.engine.identity import key, payload
from pipelines.evaluate.config import EvaluateConfig
from pipelines.gate.config import GateConfig
from pipelines.recipe.compile import compile_graph
from pipelines.recipe.load import load
from pipelines.report.config import ReportConfig
from pipelines.search.config import SearchConfig
from tests.unit.recipe.project import RECIPE, SUITE, make, problems

GATE = "  - {suite: test, metric: skill/acc, rule: improve, by: 0.1}"
MODELS = "  models: [whole]"
TWIN = "  whole: {on: chats, method: {kind: full}, learning_rate: 1e-4}"
TUNED = "  tuned: {on: chats, replay: {from: own}, method: {kind: lora, rank: 8}, learning_rate: 1e-3}"
AGAIN = TUNED.replace("tuned:", "again:").replace("rank: 8}", "rank: 8}, seed: 18")
SECOND = "  second: {models: [{use: again}], method: {kind: interpolate, alpha: 0.7}}"
SEEDS = (
    RECIPE.replace(TUNED, f"{TUNED}\n{AGAIN}")
    .replace("alpha: 0.7}}", f"alpha: 0.7}}}}\n{SECOND}")
    .replace(MODELS, "  candidate: kept\n  seeds: [second]")
)
SERVER = "  backend: {kind: server, url: 'http://host:8000/v1'}"
NO_DRIFT = SUITE[: SUITE.index("drift:")]


def graph_of(folder: Path, text: str = RECIPE, *overrides: str) -> Graph:
    return compile_graph(load(make(folder, text), overrides))


def keys(graph: Graph) -> dict[str, str]:
    """The key of every node but the report, which tells the command that it was asked for with."""
    found: dict[str, str] = {}
    for node in graph.upstream(name for name in graph.nodes if name != "report"):
        found[node.id] = key(payload(node, found, lambda path: file_digest(path) if path.is_file() else str(path)))
    return found


def gate_of(graph: Graph) -> GateConfig:
    config = graph.nodes["gate"].config
    assert isinstance(config, GateConfig)
    return config


CASES: dict[str, tuple[str, str, list[str]]] = {
    "threshold of another rule": (
        "rule: improve, by: 0.1",
        "rule: improve, margin: 0.1",
        ["recipe.yaml:20: gates.0: margin belongs to no_regression; improve takes by"],
    ),
    "at_least without a value": (
        "rule: improve, by: 0.1",
        "rule: at_least",
        ["recipe.yaml:20: gates.0: at_least needs value"],
    ),
    "drift without max": (
        "rule: improve, by: 0.1",
        "rule: drift",
        ["recipe.yaml:20: gates.0: drift needs max"],
    ),
    "points instead of a share": (
        "rule: improve, by: 0.1",
        "rule: no_regression, margin: 2",
        ["recipe.yaml:20: gates.0.margin: skill/acc lies between 0 and 1 (got 2). Write points as a share: 0.02"],
    ),
    "mean of one score": (
        "metric: skill/acc, rule",
        "metric: skill/acc, mean: true, rule",
        ["recipe.yaml:20: gates.0: mean belongs to group"],
    ),
    "mean of several units": (
        "group: general, rule",
        "group: drift, mean: true, rule",
        [
            "recipe.yaml:21: gates.1.mean: the scores of group 'drift' have no common unit "
            "(got said/kl and said/agreement). Leave mean out, or give one of them another group"
        ],
    ),
    "unknown rule": (
        "rule: improve, by: 0.1",
        "rule: at_lest, value: 0.1",
        [
            "recipe.yaml:20: gates.0.rule: must be one of improve, no_regression, at_least, drift (got 'at_lest'). "
            "Did you mean 'at_least'?"
        ],
    ),
    "unknown seed": (
        MODELS,
        "  seeds: [wole]",
        ["recipe.yaml:18: evaluate.seeds.0: no entry has this name (got 'wole'). Did you mean 'whole'?"],
    ),
    "seed that is the candidate": (
        MODELS,
        "  seeds: [best]",
        [
            "recipe.yaml:18: evaluate.seeds.0: 'best' is the candidate itself. "
            "Name a model that was made like the candidate with another seed"
        ],
    ),
    "seed that is named twice": (
        MODELS,
        "  seeds: [whole, whole]",
        [
            "recipe.yaml:18: evaluate.seeds.1: 'whole' is named twice. "
            "Name a model that was made like the candidate with another seed"
        ],
    ),
    "seed that is the base": (
        MODELS,
        "  seeds: [base]",
        [
            "recipe.yaml:18: evaluate.seeds.0: the base was not made like the candidate. "
            "Name a model that was made like the candidate with another seed"
        ],
    ),
    "seed that is no model": (
        MODELS,
        "  seeds: [chats]",
        ["recipe.yaml:18: evaluate.seeds.0: wants a model, but 'chats' makes a dataset"],
    ),
    "drift by a server": (
        MODELS,
        f"{MODELS}\n{SERVER}",
        [
            f"evals/{suite}.yaml:5: evaluate.suites.{suite}.drift: drift needs whole distributions, and backend server "
            "gives none. Use backend: {kind: hf}, or leave drift out"
            for suite in ("dev", "test")
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_gate_with_one_mistake_is_explained(name: str, tmp_path: Path) -> None:
    old, new, expected = CASES[name]
    assert old in RECIPE
    assert problems(make(tmp_path, RECIPE.replace(old, new, 1))) == expected


def test_drift_by_vllm_is_refused_too(tmp_path: Path) -> None:
    found = problems(make(tmp_path, RECIPE.replace(MODELS, f"{MODELS}\n  backend: {{kind: vllm}}")))
    assert len(found) == 2 and all("backend vllm gives none" in line for line in found)


def test_seed_made_exactly_like_the_candidate_is_refused(tmp_path: Path) -> None:
    text = RECIPE.replace(TWIN, f"{TWIN}\n{TWIN.replace('whole', 'twin')}")
    text = text.replace(MODELS, "  candidate: whole\n  seeds: [twin]")
    assert problems(make(tmp_path, text)) == [
        "recipe.yaml:20: evaluate.seeds.0: 'twin' is made exactly like 'whole'. Give train.twin a seed of its own"
    ]


def test_seeds_without_gates_are_refused(tmp_path: Path) -> None:
    text = RECIPE[: RECIPE.index("gates:")].replace(MODELS, "  seeds: [whole]")
    assert problems(make(tmp_path, text)) == [
        "recipe.yaml:18: evaluate.seeds.0: there are no gates to tell seeds beside"
    ]


def test_name_at_a_server_of_a_model_that_is_not_measured_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path, RECIPE.replace(MODELS, f"{MODELS}\n{SERVER[:-1]}, models: {{bst: mine}}}}"))
    for name in ("dev", "test"):
        (tmp_path / "evals" / f"{name}.yaml").write_text(NO_DRIFT)
    assert problems(path) == [
        "recipe.yaml:19: evaluate.backend.models.bst: is no model that is measured (got 'bst'). Did you mean 'best'?"
    ]


def test_search_on_a_server_is_refused(tmp_path: Path) -> None:
    search = "search: {over: {method.alpha: [0.5, 0.7]}, objective: {maximize: skill/acc}}"
    text = RECIPE.replace("alpha: 0.7}}", f"alpha: 0.7}}, {search}}}").replace(MODELS, f"{MODELS}\n{SERVER}")
    path = make(tmp_path, text)
    for name in ("dev", "test"):
        (tmp_path / "evals" / f"{name}.yaml").write_text(NO_DRIFT)
    assert problems(path) == [
        "recipe.yaml:13: merge.kept.search: a server has none of the models that a search makes. "
        "Use backend: {kind: hf} or {kind: vllm}"
    ]


def test_seeds_are_measured_on_the_gated_suites_and_reach_the_gate(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, SEEDS)
    assert {"evaluate.second@test"} == {name for name in graph.nodes if name.startswith("evaluate.second@")}
    gate = gate_of(graph)
    assert gate.seeds == {"test": ("evaluate.second@test",)}
    assert gate.candidate == {"test": "evaluate.kept@test"}
    assert "evaluate.second@test" in graph.nodes["gate"].inputs
    report = graph.nodes["report"].config
    assert isinstance(report, ReportConfig) and list(report.scores["test"]) == ["base", "kept", "second"]


def test_seeds_do_not_make_the_candidate_unclear(tmp_path: Path) -> None:
    text = SEEDS.replace("  candidate: kept\n", "").replace("export:\n  ship: {model: best}\n", "")
    text = "".join(line for line in text.splitlines(True) if not line.startswith(("select:", "  best:", "  whole:")))
    assert gate_of(graph_of(tmp_path, text)).candidate == {"test": "evaluate.kept@test"}


def test_floor_needs_no_base(tmp_path: Path) -> None:
    text = "burnish: 1\nevaluate:\n  suites: {test: {tasks: {skill: {task: piqa, metric: acc}}}}\n"
    text += "  candidate: {path: base}\ngates:\n  - {metric: skill/acc, rule: at_least, value: 0.6}\n"
    gate = gate_of(graph_of(tmp_path, text))
    assert gate.base == {} and list(gate.candidate) == ["test"]


def test_floor_beside_a_base_shows_the_base(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, RECIPE.replace("rule: improve, by: 0.1", "rule: at_least, value: 0.6"))
    assert gate_of(graph).base == {"test": "evaluate.base@test"}


def test_comparison_without_a_base_is_refused(tmp_path: Path) -> None:
    text = "burnish: 1\nevaluate:\n  suites: {test: {tasks: {skill: {task: piqa, metric: acc}}}}\n"
    text += "  candidate: {path: base}\ngates:\n  - {metric: skill/acc, rule: improve}\n"
    assert problems(make(tmp_path, text)) == [
        "recipe.yaml:5: gates: needs the base, and the recipe has none. Add a base: section, or name a model here"
    ]


@pytest.mark.parametrize("change", ["limit: 50", "shots: 2", "group: general"])
def test_edited_suite_is_another_key_for_base_and_candidate_alike(change: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    before = keys(compile_graph(load(path)))
    (tmp_path / "evals" / "test.yaml").write_text(SUITE.replace("metric: acc", f"metric: acc, {change}"))
    after = keys(compile_graph(load(path)))
    moved = {name for name in before if before[name] != after[name]}
    assert moved == {"evaluate.base@test", "evaluate.best@test", "evaluate.whole@test", "gate"}


def test_edited_documents_are_another_key_too(tmp_path: Path) -> None:
    path = make(tmp_path)
    before = keys(compile_graph(load(path)))
    (tmp_path / "words.txt").write_text("other words\n")
    after = keys(compile_graph(load(path)))
    assert all(before[name] != after[name] for name in ("evaluate.base@test", "evaluate.best@test", "gate"))


def test_processes_and_addresses_change_no_key(tmp_path: Path) -> None:
    search = "search: {over: {method.alpha: [0.5, 0.7]}, objective: {maximize: skill/acc}}"
    path = make(tmp_path, RECIPE.replace("alpha: 0.7}}", f"alpha: 0.7}}, {search}}}"))
    graphs = [compile_graph(load(path, more)) for more in ([], ["evaluate.launch.processes=2"])]
    for graph, processes in zip(graphs, (None, 2), strict=True):
        for name in ("evaluate.base@dev", "evaluate.tuned@dev", "evaluate.best@test"):
            config = graph.nodes[name].config
            assert isinstance(config, EvaluateConfig) and config.launch.processes == processes
    assert isinstance(graphs[0].nodes["merge.kept"].config, SearchConfig)
    assert keys(graphs[0]) == keys(graphs[1])


def test_address_and_concurrency_of_a_server_change_no_key(tmp_path: Path) -> None:
    path = make(tmp_path, RECIPE.replace(MODELS, f"{MODELS}\n{SERVER}"))
    for name in ("dev", "test"):
        (tmp_path / "evals" / f"{name}.yaml").write_text(NO_DRIFT)
    moved = ["evaluate.backend.url=http://other:9/v1", "evaluate.backend.concurrency=2", "evaluate.backend.api_key=K"]
    first, second = (compile_graph(load(path, more)) for more in ([], moved))
    config = first.nodes["evaluate.best@test"].config
    assert isinstance(config, EvaluateConfig) and config.backend.kind == "server"
    assert config.backend.models == {"best": "best"}
    assert keys(first) == keys(second)
    renamed = compile_graph(load(path, ["evaluate.backend.models.best=mine"]))
    changed = {name for name in keys(first) if keys(first)[name] != keys(renamed)[name]}
    assert changed == {"evaluate.best@test", "gate"}
