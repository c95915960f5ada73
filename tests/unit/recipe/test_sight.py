"""What a plan says that gates can see: how many documents, how they spread, and the sentence where they are too few."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.plan import Step, history_path, make_plan
from pipelines.engine.store import Record, Store, write_json
from pipelines.recipe.compile import compile_graph
from pipelines.recipe.load import load
from pipelines.recipe.sight import Sight, sights
from tests.unit.recipe.project import RECIPE, SUITE, make
from tests.unit.stats.scores import scores_artifact

NAMES = ["skill/acc", "prose/bits_per_byte"]
CANNOT = "this suite cannot see the regression you asked about: n = {} needed"


def project(folder: Path, suite: str = SUITE, recipe: str = RECIPE) -> tuple[Path, Store]:
    path = make(folder, recipe)
    (folder / "evals" / "test.yaml").write_text(suite)
    return path, Store(folder / "home")


def steps_of(path: Path, store: Store) -> list[Step]:
    recipe = load(path)
    return make_plan(compile_graph(recipe), store, recipe.name)


def seen(path: Path, store: Store) -> dict[str, Sight]:
    return {one.name: one for one in sights(steps_of(path, store), store)}


def finish(path: Path, store: Store, name: str, metrics: dict[str, Any], content: Path | None = None) -> Step:
    """Put the artifact of a node into the store as if it had been made."""
    step = next(step for step in steps_of(path, store) if step.node.id == name)
    partial = store.begin(step.node.stage.name, step.key, resumable=False)
    for file in sorted(content.rglob("*.jsonl")) if content else []:
        (partial / "samples").mkdir(exist_ok=True)
        (partial / "samples" / file.name).write_bytes(file.read_bytes())
    store.commit(Record(name, step.node.stage.name, step.node.kind, step.key, step.identity, {}, metrics, {}))
    return step


def score(path: Path, store: Store, folder: Path, node: str, **values: list[float]) -> None:
    made = scores_artifact(folder, node, {name.replace("_", "/", 1): numbers for name, numbers in values.items()})
    finish(path, store, node, dict(made.metrics), made.path)


def test_limit_and_a_guess_say_what_is_too_few(tmp_path: Path) -> None:
    suite = SUITE.replace("metric: acc", "metric: acc, limit: 300")
    rules = RECIPE.replace("rule: improve, by: 0.1", "rule: no_regression, margin: 0.02")
    one = seen(*project(tmp_path, suite, rules))["skill/acc"]
    assert (one.n, one.n_from) == (300, "limit, where there are as many")
    assert one.spread == pytest.approx(math.sqrt(0.15)) and one.spread_from == "guess: 15 % of the answers change"
    assert one.mde is not None and one.mde == pytest.approx(2.8016 * math.sqrt(0.15 / 300), rel=0.1)
    assert one.needed == pytest.approx(3000, rel=0.1)
    assert one.says == (
        "gate skill/acc (test) lose at most 2.0 points: 300 documents see changes of "
        f"{100 * one.mde:.1f} points and more (guess: 15 % of the answers change); {CANNOT.format(f'{one.needed:,}')}"
    )


def test_clusters_that_a_guess_does_not_count_are_told(tmp_path: Path) -> None:
    suite = SUITE.replace("metric: acc", "metric: acc, limit: 300, cluster_by: passage")
    one = seen(*project(tmp_path, suite))["skill/acc"]
    assert "clusters are not counted" in one.spread_from and "clusters are not counted" in one.says


def test_handful_of_documents_is_told_to_say_nothing(tmp_path: Path) -> None:
    one = seen(*project(tmp_path, SUITE.replace("metric: acc", "metric: acc, limit: 5")))["skill/acc"]
    assert one.says == "gate skill/acc (test) improve by 10.0 points: 5 documents: fewer than 6 say nothing"


def test_floor_in_bits_asks_for_as_good_as_that(tmp_path: Path) -> None:
    gate = "metric: prose/bits_per_byte, rule: at_least, value: 5"
    recipe = RECIPE.replace("metric: skill/acc, rule: improve, by: 0.1", gate)
    first = sights(steps_of(*(made := project(tmp_path, SUITE, recipe))), made[1])[0]
    assert first.says.startswith("gate prose/bits_per_byte (test) at least as good as 5.0000 bits per byte: ")


def test_enough_documents_say_nothing_of_blindness(tmp_path: Path) -> None:
    suite = SUITE.replace("metric: acc", "metric: acc, limit: 4000")
    rules = RECIPE.replace("rule: improve, by: 0.1", "rule: no_regression, margin: 0.02")
    one = seen(*project(tmp_path, suite, rules))["skill/acc"]
    assert one.needed is None and "cannot see" not in one.says


def test_unknown_number_of_documents_tells_how_many_are_needed(tmp_path: Path) -> None:
    rules = RECIPE.replace("rule: improve, by: 0.1", "rule: no_regression, margin: 0.02")
    one = seen(*project(tmp_path, SUITE, rules))["skill/acc"]
    assert (one.n, one.mde) == (None, None) and one.needed == pytest.approx(3000, rel=0.1)
    assert one.says == (
        "gate skill/acc (test) lose at most 2.0 points: the number of documents is not known before the first run; "
        f"n = {one.needed:,} needed (guess: 15 % of the answers change)"
    )


def test_bits_per_byte_are_not_guessed(tmp_path: Path) -> None:
    path, store = project(tmp_path)
    (tmp_path / "words.txt").write_text("\n\n".join(f"words {number}" for number in range(8)))
    one = seen(path, store)["prose/bits_per_byte"]
    assert (one.n, one.n_from, one.spread, one.mde, one.needed) == (8, "words.txt", None, None, None)
    assert one.says.endswith(" 8 documents, and what they can see is not known before the first run")


@pytest.mark.parametrize(
    ("name", "text", "n"),
    [
        ("d.jsonl", '{"a": 1}\n\n{"a": 2}\n{"a": 3}', 3),
        ("d.csv", 'a,b\n1,"two\nlines"\n2,x\n', 2),
        ("d.json", "[1, 2, 3]", None),
    ],
)
def test_documents_of_a_file_are_counted(name: str, text: str, n: int | None, tmp_path: Path) -> None:
    path, store = project(tmp_path)
    (tmp_path / name).write_text(text)
    suite = SUITE.replace("metric: acc", f"metric: acc, documents: {{file: {name}}}, limit: 1000")
    (tmp_path / "evals" / "test.yaml").write_text(suite)
    one = seen(path, store)["skill/acc"]
    assert one.n == (n or 1000) and (one.n_from == name) == (n is not None)


def test_documents_of_a_dataset_are_those_of_its_card(tmp_path: Path) -> None:
    suite = SUITE.replace("metric: acc", "metric: acc, documents: {dataset: chats, split: test}")
    path, store = project(tmp_path, suite)
    assert seen(path, store)["skill/acc"].n is None
    finish(path, store, "base", {})
    finish(path, store, "data.chats", {"splits": {"test": {"rows": 123}}})
    assert seen(path, store)["skill/acc"][5:7] == (123, "split test of data.chats")


def test_base_that_was_scored_already_gives_number_and_a_better_guess(tmp_path: Path) -> None:
    suite = "tasks:\n  skill: {task: piqa, metric: acc, limit: 300}\n"
    rules = RECIPE.replace("by: 0.1", "by: 0.6").replace("  - {suite: test, group: general, rule", "  # ")
    path, store = project(tmp_path, suite, rules)
    finish(path, store, "base", {})
    score(path, store, tmp_path, "evaluate.base@test", skill_acc=[1.0] * 4 + [0.0] * 196)
    one = seen(path, store)["skill/acc"]
    assert (one.n, one.n_from) == (200, "measured before")
    assert one.spread_from == "guess: 60 % of the answers change"


def test_scores_of_both_sides_give_the_spread_that_they_have(tmp_path: Path) -> None:
    suite = "tasks:\n  skill: {task: piqa, metric: acc, limit: 300}\n"
    text = "burnish: 1\nname: toy\nbase: {path: base}\nevaluate:\n  suites: {test: evals/test.yaml}\n"
    text += "  candidate: {path: evals}\ngates:\n  - {metric: skill/acc, rule: no_regression, margin: 0.02}\n"
    path, store = project(tmp_path, suite, text)
    finish(path, store, "base", {})
    other = next(step.node.id for step in steps_of(path, store) if step.node.id.startswith("base:"))
    finish(path, store, other, {})
    score(path, store, tmp_path, "evaluate.base@test", skill_acc=[1.0] * 50 + [0.0] * 50)
    score(path, store, tmp_path, f"evaluate.{other}@test", skill_acc=[1.0] * 40 + [0.0] * 50 + [1.0] * 10)
    one = seen(path, store)["skill/acc"]
    assert one.spread == pytest.approx(math.sqrt(20.5 / 101)) and one.spread_from == "the scores of base and candidate"
    assert one.needed == pytest.approx(4000, rel=0.1)


def test_last_verdict_of_the_recipe_knows_best(tmp_path: Path) -> None:
    path, store = project(tmp_path, SUITE.replace("files: words.txt", "files: words.txt, limit: 50"))
    row = {"suite": "test", "name": "prose/bits_per_byte", "rule": "no_regression", "alpha": 0.05}
    row |= {"mde": 0.2, "n": 400}
    step = finish(path, store, "gate", {"gates": [row]})
    before = {"gate": {"stage": "gate", "key": step.key, "identity": step.identity}}
    history = history_path(store.home, "toy")
    history.parent.mkdir(parents=True)
    write_json(history, before)
    (tmp_path / "words.txt").write_text("\n\n".join(["some words"] * 100))
    one = seen(path, store)["prose/bits_per_byte"]
    assert (one.n, one.n_from, one.spread_from) == (50, "limit", "the last verdict")
    assert one.mde == pytest.approx(0.2 * math.sqrt(400 / 50))
    assert one.needed == 1600 and CANNOT.format("1,600") in one.says


def test_mean_of_a_group_sees_more_than_its_parts(tmp_path: Path) -> None:
    suite = "tasks:\n" + "".join(
        f"  {name}: {{task: piqa, metric: acc, group: general, limit: 300}}\n" for name in ("a", "b", "c")
    )
    rules = RECIPE.replace(
        "metric: skill/acc, rule: improve, by: 0.1", "group: general, mean: true, rule: no_regression, margin: 0.03"
    )
    found = seen(*project(tmp_path, suite, rules))
    mean, part = found["general (mean of 3)"], found["a/acc"]
    assert mean.n == 900 and mean.spread is None
    assert part.mde is not None and mean.mde == pytest.approx(part.mde / math.sqrt(3))
    assert mean.needed == pytest.approx(1400, rel=0.1) and CANNOT.format(f"{mean.needed:,}") in mean.says


def test_other_rules_say_what_they_can_see(tmp_path: Path) -> None:
    suite = SUITE.replace("metric: acc", "metric: acc, limit: 100").replace("dataset: own", "dataset: own, limit: 40")
    gates = [
        "{metric: skill/acc, rule: improve, by: 0.05}",
        "{metric: skill/acc, rule: improve}",
        "{metric: skill/acc, rule: at_least, value: 0.8}",
        "{metric: skill/acc, rule: drift, max: 0.05}",
        "{metric: said/kl, rule: drift, max: 0.1}",
    ]
    text = RECIPE[: RECIPE.index("gates:")] + "gates:\n" + "".join(f"  - {gate}\n" for gate in gates)
    path, store = project(tmp_path, suite, text.replace("  models: [whole]", "  candidate: whole"))
    improve, any_gain, floor, drift, divergence = (one.says for one in sights(steps_of(path, store), store))
    assert "improve by 5.0 points: 100 documents see changes of" in improve
    assert "; this suite cannot see the gain you asked about: n = " in improve
    assert "cannot see" not in any_gain
    assert "at least 80.0 %: 100 documents tell values 11.2 points away from that (guess: 80 % right" in floor
    assert "; this suite cannot see the drift you asked about: n = " in drift
    assert divergence.endswith(
        "drift at most 0.1000 nats per token: 40 documents, and what they can see is not known before the first run"
    )


def test_recipe_without_gates_has_nothing_to_see(tmp_path: Path) -> None:
    path, store = project(tmp_path, SUITE, RECIPE[: RECIPE.index("gates:")])
    assert sights(steps_of(path, store), store) == []


def test_sight_is_json(tmp_path: Path) -> None:
    path, store = project(tmp_path)
    assert json.loads(json.dumps([one._asdict() for one in sights(steps_of(path, store), store)]))


def test_metric_of_a_task_that_is_named_like_ours_is_read_by_that_name(tmp_path: Path) -> None:
    suite = SUITE.replace("metric: acc", "metric: bits_per_byte")
    rules = RECIPE.replace("skill/acc", "skill/bits_per_byte")
    path, store = project(tmp_path, suite, rules)
    (tmp_path / "evals" / "dev.yaml").write_text(suite)
    for place, node in enumerate(step.node.id for step in steps_of(path, store) if step.node.id.endswith("@test")):
        made = scores_artifact(tmp_path, node, {"skill/bits_per_byte": [1.0, 2.0, 4.0, 3.0]})
        rows = [{"doc_hash": f"h{i}", "weight": 1.0, "scores": {"bits_per_byte": 1.0 + i * place}} for i in range(4)]
        (made.path / "samples" / "skill.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        finish(path, store, node, dict(made.metrics), made.path)
    one = seen(path, store)["skill/bits_per_byte"]
    assert one.spread_from == "the scores of base and candidate" and one.spread is not None and one.spread > 1
