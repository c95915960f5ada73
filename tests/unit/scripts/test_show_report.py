"""scripts/show_report.sh: what of a report GitHub Actions is shown."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "show_report.sh"


def show(folder: Path, summary: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"]} | ({"GITHUB_STEP_SUMMARY": str(summary)} if summary else {})
    return subprocess.run([str(SCRIPT), str(folder)], env=environment, capture_output=True, text=True, timeout=60)


def test_show_report_adds_the_summary_and_prints_the_annotations(tmp_path: Path) -> None:
    (tmp_path / "summary.md").write_text("summary\n")
    (tmp_path / "report.md").write_text("report\n")
    (tmp_path / "annotations.txt").write_text("::error title=a%3Ab::It fell.\n::notice title=b::Blind.\n")
    page = tmp_path / "page"
    page.write_text("before\n")
    done = show(tmp_path, page)
    assert done.returncode == 0, done.stderr
    assert page.read_text() == "before\nsummary\n"
    assert done.stdout == "::error title=a%3Ab::It fell.\n::notice title=b::Blind.\n"


def test_show_report_with_a_summary_that_github_would_drop_shows_the_short_page(tmp_path: Path) -> None:
    (tmp_path / "summary.md").write_text("x" * ((1 << 20) + 1))
    (tmp_path / "report.md").write_text("short\n")
    assert show(tmp_path, tmp_path / "page").returncode == 0
    assert (tmp_path / "page").read_text() == "short\n"


def test_show_report_outside_of_actions_prints_the_page(tmp_path: Path) -> None:
    (tmp_path / "report.md").write_text("report\n")
    assert show(tmp_path).stdout == "report\n"


@pytest.mark.parametrize(
    "line",
    ["::stop-commands::x", "::add-mask::a", "::set-output name=verdict::PASS", "::error::x", "echo", "::error title=a"],
)
def test_show_report_prints_nothing_that_is_no_annotation(tmp_path: Path, line: str) -> None:
    (tmp_path / "annotations.txt").write_text(f"{line}\n")
    done = show(tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
