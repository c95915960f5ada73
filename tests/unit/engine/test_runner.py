"""Plans are carried out in processes of their own; what is finished is never made again."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.engine.graph import Node, graph_of
from pipelines.engine.plan import disk_problems, make_plan
from pipelines.engine.runner import Event, Outcome, Settings, execute
from pipelines.engine.stage import AnyRef, InputPath, Launch
from pipelines.engine.store import Store
from pipelines.errors import UserError
from tests.unit.engine.toy import COUNT, TOY, CountConfig, ToyConfig


def chain(second: str = "b", do: str = "", file: Path | None = None) -> list[Node]:
    return [
        Node("toy.a", TOY, ToyConfig(file=InputPath(file) if file else None)),
        Node("toy.b", TOY, ToyConfig(text=second, of=(AnyRef("toy.a"),), do=do)),
        Node("toy.c", TOY, ToyConfig(text="c", of=(AnyRef("toy.b"),))),
    ]


def run(home: Path, nodes: list[Node], processes: int = 1) -> tuple[Outcome, list[Event]]:
    store, events = Store(home), []
    steps = make_plan(graph_of(nodes), store, "toys")
    outcome = execute(steps, store, Settings("toys", home / "runs" / "one", processes), events.append)
    return outcome, [event for event in events if event.state != "progress"]


def states(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.node, event.state) for event in events if event.state != "started"]


def test_run_twice_makes_everything_once(tmp_path: Path) -> None:
    outcome, events = run(tmp_path, chain())
    assert states(events) == [("toy.a", "run"), ("toy.b", "run"), ("toy.c", "run")]
    assert (outcome.artifacts["toy.c"].path / "text").read_text() == "abc"
    assert outcome.artifacts["toy.c"].metrics["length"] == 3
    _, again = run(tmp_path, chain())
    assert states(again) == [("toy.a", "cached"), ("toy.b", "cached"), ("toy.c", "cached")]


def test_run_after_a_change_makes_what_depends_on_it(tmp_path: Path) -> None:
    run(tmp_path, chain())
    outcome, events = run(tmp_path, chain(second="B"))
    assert states(events) == [("toy.a", "cached"), ("toy.b", "run"), ("toy.c", "run")]
    assert (outcome.artifacts["toy.c"].path / "text").read_text() == "aBc"


def test_run_refused_stage_gives_its_problem_and_stops(tmp_path: Path) -> None:
    outcome, events = run(tmp_path, chain(do="refuse"))
    assert states(events) == [("toy.a", "run"), ("toy.b", "failed")]
    assert outcome.failure is not None
    assert [str(problem) for problem in outcome.failure.problems] == ["toy.jsonl:3: is no toy (got a stone). Use a toy"]


@pytest.mark.parametrize(("do", "says"), [("crash", "ZeroDivisionError: one by nought"), ("kill", "signal 9")])
def test_run_defect_names_its_cause(tmp_path: Path, do: str, says: str) -> None:
    outcome, _ = run(tmp_path, chain(do=do))
    assert outcome.failure is not None
    assert says in str(outcome.failure.problems[0])


def test_run_blocking_verdict_holds_back_only_what_waits_for_it(tmp_path: Path) -> None:
    nodes = [
        Node("toy.a", TOY, ToyConfig(do="block")),
        Node("toy.ship", TOY, ToyConfig(text="s"), after="toy.a"),
        Node("toy.report", TOY, ToyConfig(text="r", of=(AnyRef("toy.a"), AnyRef("toy.ship")))),
    ]
    outcome, events = run(tmp_path, nodes)
    assert states(events) == [("toy.a", "run"), ("toy.ship", "held back"), ("toy.report", "run")]
    assert outcome.held == ("toy.ship",)


def test_run_changed_artifact_is_refused(tmp_path: Path) -> None:
    outcome, _ = run(tmp_path, chain())
    (outcome.artifacts["toy.a"].path / "text").write_text("z" * 9)
    with pytest.raises(UserError, match="was changed after it was made"):
        make_plan(graph_of(chain()), Store(tmp_path), "toys")


def test_run_artifact_being_written_elsewhere_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    steps = make_plan(graph_of(chain()), store, "toys")
    with store.locked("toy", steps[0].key), pytest.raises(UserError, match="another run is writing"):
        execute(steps, store, Settings("toys", tmp_path / "runs" / "x"), lambda event: None)


@pytest.mark.slow
def test_run_several_processes_all_work_and_answer_once(tmp_path: Path) -> None:
    node = Node("count.x", COUNT, CountConfig(steps=3, launch=Launch(processes=2)))
    outcome, _ = run(tmp_path, [node])
    assert outcome.failure is None
    artifact = outcome.artifacts["count.x"]
    assert artifact.metrics["world"] == 2
    assert {path.name for path in artifact.path.glob("count-*")} == {"count-0", "count-1"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"second": "B"}, 'text is "B" (was "b")'),
        ({"do": "block"}, 'do is "block" (was the default)'),
    ],
)
def test_plan_changed_field_is_named(tmp_path: Path, change: dict[str, str], reason: str) -> None:
    run(tmp_path, chain())
    steps = make_plan(graph_of(chain(**change)), Store(tmp_path), "toys")
    assert steps[1].reasons == (reason,)
    assert steps[2].reasons == ("toy.b is made anew",)


def test_plan_changed_file_is_named_and_a_moved_one_is_not(tmp_path: Path) -> None:
    file = tmp_path / "data.txt"
    file.write_text("one")
    run(tmp_path / "home", chain(file=file))
    moved = file.rename(tmp_path / "moved.txt")
    steps = make_plan(graph_of(chain(file=moved)), Store(tmp_path / "home"), "toys")
    assert [step.state for step in steps] == ["cached"] * 3
    moved.write_text("two")
    steps = make_plan(graph_of(chain(file=moved)), Store(tmp_path / "home"), "toys")
    assert steps[0].reasons == ("file file changed",)


def test_plan_execution_settings_are_not_identity(tmp_path: Path) -> None:
    run(tmp_path, [Node("toy.a", TOY, ToyConfig(workers=1))])
    steps = make_plan(graph_of([Node("toy.a", TOY, ToyConfig(workers=8))]), Store(tmp_path), "toys")
    assert steps[0].state == "cached"


def test_plan_full_disk_is_a_problem_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    steps = make_plan(graph_of(chain()), store, "toys")
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=1_000_000))
    (problem,) = disk_problems(steps, store)
    assert "not enough disk space" in str(problem)


def test_plan_upgraded_package_that_is_part_of_the_identity_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, chain())
    monkeypatch.setattr("pipelines.engine.identity.package_version", lambda name: "99")
    steps = make_plan(graph_of(chain()), Store(tmp_path), "toys")
    assert steps[0].state == "run"
    assert steps[0].reasons[0].startswith("pytest is now 99 (was ")
