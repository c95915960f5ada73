import re
from pathlib import Path

from pipelines.report.ci.annotations import annotations, command
from tests.unit.report.reports import gate, report_of

LINE = re.compile(r"::(error|warning|notice) title=([^:,\r\n]*)::([^\r\n]*)")


def kinds(text: str) -> list[str]:
    return [match[1] for line in text.splitlines() if (match := LINE.fullmatch(line))]


def test_annotations_of_gates_that_passed_and_could_see_are_none(tmp_path: Path) -> None:
    assert annotations(report_of(tmp_path, [gate(), gate(rule="no_regression")], suites={})) == ""


def test_annotations_tell_failed_unclear_and_blind_gates(tmp_path: Path) -> None:
    gates = [gate("INCONCLUSIVE"), gate(), gate("FAIL"), gate(needed=160)]
    text = annotations(report_of(tmp_path, gates, suites={}))
    assert kinds(text) == ["error", "warning", "notice"]
    assert text.splitlines()[0] == (
        "::error title=FAIL tickets/exact_match improve by 5.0 pp (suite test)::It says FAIL."
    )
    assert "Four times out of five only about 160 documents show that; there are 100." in text.splitlines()[2]


def test_annotations_of_a_verdict_that_blocks_because_it_cannot_say_are_errors(tmp_path: Path) -> None:
    verdict = {"verdict": "INCONCLUSIVE", "blocks": True, "candidate": "best"}
    assert kinds(annotations(report_of(tmp_path, [gate("INCONCLUSIVE"), gate()], verdict=verdict, suites={}))) == [
        "error"
    ]


def test_annotations_of_a_type_are_at_most_ten_and_the_rest_is_counted(tmp_path: Path) -> None:
    gates = [gate("FAIL", name=f"task{number}/acc") for number in range(13)]
    lines = annotations(report_of(tmp_path, gates + [gate("INCONCLUSIVE")] * 10, suites={})).splitlines()
    assert [kinds(line)[0] for line in lines] == ["error"] * 10 + ["warning"] * 10
    assert lines[9] == "::error title=4 more gates::They are in the report."
    assert "task8/acc" in lines[8] and all("more gates" not in line for line in lines[10:])


def test_annotations_are_not_recipes_to_hide_a_second_command_in(tmp_path: Path) -> None:
    gates = [gate("FAIL", name="a,b:c/acc", says="50 %\r\n::stop-commands::x\x1b[31m\n::error::forged")]
    (line,) = annotations(report_of(tmp_path, gates, suites={})).splitlines()
    assert LINE.fullmatch(line)
    assert "a%2Cb%3Ac/acc" in line and "50 %25" in line


def test_command_escapes_percent_before_what_it_escapes_with_it() -> None:
    assert command("error", "a%2C:b", "%0A, b: c") == "::error title=a%252C%3Ab::%250A, b: c"
