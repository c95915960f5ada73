"""What a search needs besides its config, and what its config refuses."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipelines.search import check as room
from pipelines.search.check import check
from pipelines.search.config import Range
from tests.unit.search.bench import config

OVER = {"method.lambda": {"low": 0, "high": 1}}


def made(by: str):
    return config([Path("a")], {"kind": "task_arithmetic"}, over=OVER, by=by)


def test_missing_library_is_said_with_what_installs_it(monkeypatch):
    monkeypatch.setattr(room, "find_spec", lambda name: None)
    (problem,) = check(made("tpe"))
    assert str(problem) == (
        "search.by: by: tpe needs what is not installed (got optuna). Install it with pip install 'burnish[search]', "
        "or use by: grid"
    )
    assert check(config([Path("a")], {"kind": "task_arithmetic"}, over={"method.lambda": [1]})) == []


def test_installed_libraries_are_no_problem():
    assert check(made("tpe")) == check(made("cmaes")) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"low": 1, "high": 1}, "low must be less than high"),
        ({"low": 0, "high": 1, "log": True}, "low must be more than 0"),
        ({"low": 1, "high": 2, "log": True, "step": 1}, "log and step exclude each other"),
        ({"low": 1, "high": 2, "step": 0}, "greater than 0"),
    ],
)
def test_range_without_a_meaning_is_refused(values, said):
    with pytest.raises(ValidationError, match=said):
        Range.model_validate(values)


def test_range_is_whole_where_its_steps_are():
    assert Range(low=1, high=8, step=1).whole
    assert not Range(low=1, high=8).whole and not Range(low=0.5, high=8, step=1).whole
