"""The stage: what it makes, what it tells, and that a search which was killed goes on."""

import json
import shutil
from pathlib import Path

import pytest

from pipelines.engine.progress import PROGRESS_FILE
from pipelines.errors import UserError
from pipelines.evaluate.run import NotFinite
from pipelines.merge.run import run as merge
from pipelines.search import run as room
from pipelines.search.config import SearchConfig
from pipelines.search.run import run
from pipelines.search.space import with_parameters
from tests.unit.merge.models import files
from tests.unit.search.bench import config, evaluation, inputs, scores

ARITHMETIC = {"kind": "task_arithmetic"}
LAMBDAS = {"method.lambda": [0.2, 0.65, 0.8, 1.4]}


@pytest.fixture
def seen(monkeypatch, pico_base, near) -> list[float]:
    """How far each candidate that was measured went from the base to the first model."""
    found: list[float] = []
    monkeypatch.setattr(room, "evaluate", evaluation(pico_base, near[0], found))
    return found


def search(tmp_path: Path, base: Path, made: SearchConfig, models: list[Path]) -> tuple[dict, Path]:
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    found = inputs(tmp_path / "in", base, models) if not (tmp_path / "in").exists() else None
    return run(made, found or again(tmp_path, base, models), out), out


def again(tmp_path: Path, base: Path, models: list[Path]) -> dict:
    shutil.rmtree(tmp_path / "in")
    return inputs(tmp_path / "in", base, models)


def without_seconds(metrics: dict) -> dict:
    trials = [{key: value for key, value in one.items() if key != "seconds"} for one in metrics["trials"]]
    return {key: value for key, value in metrics.items() if key != "seconds"} | {"trials": trials}


def test_search_makes_the_bytes_of_the_merge_with_the_winning_parameters(tmp_path, seen, pico_base, near):
    made = config([near[0]], ARITHMETIC, over=LAMBDAS)
    metrics, out = search(tmp_path, pico_base, made, [near[0]])
    assert metrics["winner"] == {"method.lambda": 0.65}
    (plain := tmp_path / "plain").mkdir()
    merge(with_parameters(made.merge, {"method.lambda": 0.65}), again(tmp_path, pico_base, [near[0]]), plain)
    assert files(out) == files(plain)
    assert seen == pytest.approx([0.2, 0.65, 0.8, 1.4], abs=1e-3)


def test_search_tells_every_trial(tmp_path, seen, pico_base, near):
    metrics, _ = search(tmp_path, pico_base, config([near[0]], ARITHMETIC, over=LAMBDAS), [near[0]])
    trials = metrics["trials"]
    assert [one["params"]["method.lambda"] for one in trials] == [0.2, 0.65, 0.8, 1.4]
    assert [one["admissible"] for one in trials] == [True, True, True, False]
    assert trials[3]["drops"]["general"] == pytest.approx(0.7, abs=1e-3)
    assert trials[1]["scores"]["skill/acc"] == trials[1]["objective"] == pytest.approx(0.9975, abs=1e-3)
    assert (metrics["best"], metrics["by"], metrics["suite"]) == (1, "grid", "dev")
    assert metrics["objective"] == {"maximize": "skill/acc"}
    assert metrics["pareto"][0] in (1, 2) and 3 not in metrics["pareto"] and metrics["pareto"][-1] == 0
    assert metrics["base"]["scores"]["skill/acc"]["value"] == 0.0
    assert metrics["method"] == "task_arithmetic" and metrics["models"][0]["name"] == "train.one"
    assert json.loads(json.dumps(metrics)) == metrics


@pytest.mark.parametrize("by", ["grid", "tpe", "cmaes", "greedy"])
def test_search_that_was_killed_goes_on_after_the_last_trial(tmp_path, seen, pico_base, near, monkeypatch, by):
    models = near
    ranges = {f"models.{at}.weight": {"low": 0.1, "high": 1} for at in (0, 1)}
    over = {"grid": LAMBDAS, "tpe": {"method.lambda": {"low": 0, "high": 1}}, "cmaes": ranges, "greedy": {}}[by]
    method = {"kind": "linear"} if by == "greedy" else ARITHMETIC
    made = config(models, method, over=over, by=by, trials=4)
    (tmp_path / "whole").mkdir()
    whole, out = search(tmp_path / "whole", pico_base, made, models)
    measured = len(seen)
    evaluate = room.evaluate

    def dies(*arguments):
        if len(seen) == measured + 2:
            raise KeyboardInterrupt
        return evaluate(*arguments)

    monkeypatch.setattr(room, "evaluate", dies)
    (tmp_path / "killed").mkdir()
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "killed", pico_base, made, models)
    monkeypatch.setattr(room, "evaluate", evaluate)
    metrics, resumed = search(tmp_path / "killed", pico_base, made, models)
    assert len(seen) == 2 * measured, "no trial was measured twice"
    assert without_seconds(metrics) == without_seconds(whole)
    assert files(resumed) == files(out)


def test_greedy_search_makes_the_soup(tmp_path, seen, pico_base, near):
    models = near
    metrics, _ = search(tmp_path, pico_base, config(models, {"kind": "linear"}, by="greedy"), models)
    assert len(metrics["trials"]) == 3 and set(metrics["winner"]) == {"models.one.weight", "models.two.weight"}


def test_search_without_an_admissible_trial_says_what_each_lost(tmp_path, seen, pico_base, near):
    made = config([near[0]], ARITHMETIC, over=LAMBDAS, subject_to={"general": {"max_drop": 0.01}})
    with pytest.raises(UserError) as error:
        search(tmp_path, pico_base, made, [near[0]])
    said = str(error.value)
    assert said.startswith("search.subject_to: no candidate keeps within the limits")
    assert "method.lambda 0.65: loses 0.325 in general" in said and "Allow more than 0.01 in general" in said


def test_candidate_whose_scores_are_no_numbers_is_not_admissible(tmp_path, seen, pico_base, near, monkeypatch):
    evaluate = room.evaluate

    def broken(*arguments):
        found = evaluate(*arguments)
        if seen[-1] > 1:
            raise NotFinite(room.wrong("skill/acc", "is no finite number").problems[0])
        return found

    monkeypatch.setattr(room, "evaluate", broken)
    metrics, _ = search(tmp_path, pico_base, config([near[0]], ARITHMETIC, over=LAMBDAS), [near[0]])
    assert metrics["trials"][3]["why"] == "skill/acc: is no finite number"
    assert metrics["trials"][3]["objective"] is None


def test_candidate_that_does_not_fit_its_type_is_not_admissible(tmp_path, seen, pico_base, near):
    made = config([near[0]], ARITHMETIC, over={"method.lambda": [0.5, 1e7]})
    narrow = made.model_copy(update={"merge": made.merge.model_copy(update={"dtype": "float16"})})
    metrics, _ = search(tmp_path, pico_base, narrow, [near[0]])
    assert "merged values do not fit F16" in metrics["trials"][1]["why"]
    assert metrics["best"] == 0 and len(seen) == 1


def test_point_without_meaning_is_told_and_not_merged(tmp_path, seen, pico_base, near):
    models = near
    over = {"models.0.weight": [0, 1], "models.1.weight": [0, 1]}
    metrics, _ = search(tmp_path, pico_base, config(models, {"kind": "linear"}, over=over), models)
    assert metrics["trials"][0]["why"] == "the weights sum to 0, so their mean is not defined"
    assert len(seen) == 3 and metrics["best"] != 0


def test_candidates_measured_otherwise_than_the_base_are_refused(tmp_path, seen, pico_base, near, monkeypatch):
    other = scores(0.5, 1.0) | {"contract": {"skill": {"torch": "2"}, "prose": {"torch": "1"}}}
    monkeypatch.setattr(room, "evaluate", lambda *_: other)
    with pytest.raises(UserError, match="skill was not measured on a candidate as on the base"):
        search(tmp_path, pico_base, config([near[0]], ARITHMETIC, over=LAMBDAS), [near[0]])


def test_progress_counts_trials_and_names_the_best(tmp_path, seen, pico_base, near, monkeypatch):
    file = tmp_path / "progress"
    monkeypatch.setenv(PROGRESS_FILE, str(file))
    search(tmp_path, pico_base, config([near[0]], ARITHMETIC, over=LAMBDAS), [near[0]])
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    trials = [line for line in lines if line["unit"] == "trials"]
    assert trials[-1]["done"] == trials[-1]["total"] == 4
    assert trials[-1]["best"] == pytest.approx(0.9975, abs=1e-3)
    assert len({line["unit"] for line in lines[:-1]} - {"trials", "weights"}) == 0
