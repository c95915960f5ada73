"""What was seen of a folder, as it is written down and refused."""

from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.serving.findings import Check, Finding, below, require_none, verification

WARNING = Finding("no-card", "W", "ship", "has no README.md", "", "Write it")
ERROR = Finding("tied", "E", "ship/config.json", "is tied, and is not", "x", "Untie it")


def test_finding_below_a_folder_names_no_place_of_this_machine(tmp_path: Path) -> None:
    finding = Finding("x", "W", f"{tmp_path}/int8/config.json", "what", "", f"chmod {tmp_path}/int8/a")
    assert below(finding, tmp_path) == Finding("x", "W", "int8/config.json", "what", "", "chmod int8/a")


def test_verification_holds_what_held_and_what_was_told() -> None:
    assert verification([Check("parity", 0.5)], [WARNING]) == {
        "checks": [{"name": "parity", "saw": 0.5}],
        "warnings": [
            {"rule": "no-card", "where": "ship", "what": "has no README.md", "got": "", "fix": "Write it"},
        ],
    }


def test_require_none_refuses_errors_alone() -> None:
    require_none([WARNING])
    with pytest.raises(UserError) as refused:
        require_none([WARNING, ERROR])
    assert [problem.what for problem in refused.value.problems] == ["is tied, and is not"]
