"""The workflow templates keep their promises: least permissions, pinned actions, no expression in a script."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def workflow(request: pytest.FixtureRequest) -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load(request.param.read_text(encoding="utf-8"))
    return content


def steps(workflow: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


def test_workflow_permissions_are_to_read_and_at_most_to_comment(workflow: dict[Any, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        written = {name for name, access in job.get("permissions", {}).items() if access == "write"}
        assert written <= {"pull-requests"}


def test_workflow_actions_are_githubs_own_and_pinned(workflow: dict[Any, Any]) -> None:
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert used and all(re.fullmatch(r"actions/[a-z/-]+@v\d+", action) for action in used)


def test_workflow_scripts_hold_no_expression_that_a_title_could_inject(workflow: dict[Any, Any]) -> None:
    assert not [step["run"] for step in steps(workflow) if "${{" in step.get("run", "")]


def test_workflow_token_is_in_the_steps_that_fetch_the_report_and_comment_alone(workflow: dict[Any, Any]) -> None:
    assert "github.token" not in str({key: item for key, item in workflow.items() if key != "jobs"})
    for step in steps(workflow):
        needs = "pr_report.sh" in step.get("run", "") or step.get("uses", "").startswith("actions/download-artifact@")
        assert ("github.token" in str(step)) == needs


def test_workflow_that_may_write_runs_nothing_of_the_change(workflow: dict[Any, Any]) -> None:
    for job in workflow["jobs"].values():
        if "write" not in job.get("permissions", {}).values():
            continue
        assert set(workflow[True]) == {"workflow_run"}, "any other event checks out the change"
        run = [step["run"] for step in job["steps"] if "run" in step]
        assert run == ['scripts/pr_report.sh "$RUNNER_TEMP/report/report.md"']
        for step in job["steps"]:
            assert "ref" not in step.get("with", {}) and "repository" not in step.get("with", {})
            if "run" in step:
                assert step["env"]["UNTRUSTED"] == "1"
                numbers = [value for name, value in step["env"].items() if name.startswith(("PR_", "HEAD_"))]
                assert numbers and all("github.event.workflow_run." in value for value in numbers)


def test_workflow_that_runs_the_change_may_only_read() -> None:
    report = yaml.safe_load((ROOT / ".github/workflows/pr-report.yml").read_text(encoding="utf-8"))
    assert set(report[True]) == {"pull_request"} and report[True]["pull_request"]["types"] == ["labeled"]
    assert all("permissions" not in job for job in report["jobs"].values())
    assert all(step.get("with", {}).get("persist-credentials", False) is False for step in steps(report))
    assert "secrets." not in str(report) and not [
        step for step in steps(report) if step.get("uses", "").startswith("actions/cache@")
    ]


def test_workflow_that_comments_waits_for_the_one_that_reports() -> None:
    names = [yaml.safe_load(path.read_text(encoding="utf-8"))["name"] for path in WORKFLOWS]
    comment = yaml.safe_load((ROOT / ".github/workflows/pr-comment.yml").read_text(encoding="utf-8"))
    assert comment[True]["workflow_run"]["workflows"] == ["pr-report"] and "pr-report" in names
    (fetched,) = (step["with"]["name"] for step in steps(comment) if "download-artifact" in step.get("uses", ""))
    report = yaml.safe_load((ROOT / ".github/workflows/pr-report.yml").read_text(encoding="utf-8"))
    (kept,) = (step["with"]["name"] for step in steps(report) if "upload-artifact" in step.get("uses", ""))
    assert fetched == kept


def test_workflow_scripts_exist(workflow: dict[Any, Any]) -> None:
    named = [name for step in steps(workflow) for name in re.findall(r"scripts/\w+\.sh", step.get("run", ""))]
    assert named and all((ROOT / name).stat().st_mode & 0o111 for name in named)


def test_workflow_schedule_avoids_the_full_hour() -> None:
    (schedule,) = yaml.safe_load((ROOT / ".github/workflows/retrain.yml").read_text(encoding="utf-8"))[True]["schedule"]
    assert schedule["cron"].split()[0] not in ("0", "*")
