"""What single sections of report.md say."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.report.markdown.changed import canaries
from pipelines.report.markdown.flow import MOST, lineage
from pipelines.report.markdown.judged import gates, verdict
from pipelines.report.markdown.kept import learned_and_kept
from pipelines.report.markdown.origin import comparability, limits
from pipelines.report.markdown.render import SUMMARY_LIMIT, render, summary
from pipelines.report.markdown.scored import scores
from pipelines.report.markdown.spent import resources
from tests.unit.report.test_estimates import reported


@pytest.fixture
def report(tmp_path: Path) -> dict[str, Any]:
    return reported(tmp_path)


def test_verdict_says_what_was_gained_what_became_of_the_rest_and_how_many_gates_failed(report) -> None:
    line, seen = verdict(report), report["suites"]["test"]["estimates"]
    gain, general = (
        f"{100 * one['delta']:+.1f} pp [{100 * one['low']:+.1f}, {100 * one['high']:+.1f}]"
        for one in (seen["tickets/exact_match"]["best"], seen["facts/acc"]["best"])
    )
    start = (
        f"**\u26a0\ufe0f INCONCLUSIVE** `best` against the base: target {gain}; general {general}, +0.0190 bits per "
    )
    assert line.startswith(start) and "] (lower is better); " in line
    assert line.endswith("; 0 of 4 gates failed, 1 inconclusive.") and "\n" not in line


def test_verdict_of_measurements_that_differ_gives_no_difference(report) -> None:
    for one in report["forgetting"]["models"]:
        one["gain"] = [part | {"delta": None, "low": None, "high": None} for part in one["gain"]]
    assert "target not comparable; general -5.0 pp" in verdict(report)


def test_verdict_without_target_and_general_names_the_gates(report) -> None:
    report["forgetting"]["models"] = []
    line = verdict(report)
    assert "`tickets/exact_match` +35.0 pp [+26.0, +44.0]; `pydoc/bits_per_byte` +0.0130" in line
    assert "`tickets/exact_match` 38.0 % [29.0 %, 48.0 %]; `chats/kl` +0.0210 [+0.0180, +0.0240]; 0 of 4" in line


def test_gates_show_rules_clusters_seeds_and_documents_needed(report) -> None:
    table = gates(report)
    assert "| improve by 5.0 pp |" in table and "| 8.0 pp | 100 (25 clusters) | - | **PASS** |" in table
    assert "| lose at most 0.0200 |" in table and "| 60 | 160 | **INCONCLUSIVE** |" in table
    assert "| reach 20.0 % | 3.0 % | 38.0 % | - | [29.0 %, 48.0 %] | - |" in table
    assert "| drift at most 0.0500 |" in table
    assert "- `tickets/exact_match` over 3 seeds: +34.0 pp [+22.0, +46.0]; between seeds it varies by 2.0 pp" in table


def test_scores_of_all_have_an_interval_and_answers_that_never_ended_are_told(report) -> None:
    page = scores(report)
    assert page.count("\u25cf") == 5 and "| - | - | fewer than 6 documents |" in page
    assert "- `tickets` (`test`), answers of `base`: 7 cut at 64 tokens before they ended." in page
    assert "- `tickets` (`test`), answers of `tuned`: 1 empty." in page
    assert "| `facts/acc` | `tuned` | -30.0 pp |" in page and "| 47.8 % |" in page
    assert "every model against the base" not in scores(report, rest=False)


def test_learned_and_kept_without_retention_has_no_column_for_it(report) -> None:
    assert "| retention |" in learned_and_kept(report) and "| 91.3 % |" in learned_and_kept(report)
    for one in report["forgetting"]["models"]:
        one |= {"retention": None, "retained": 0}
    assert "etention" not in learned_and_kept(report)


def test_canaries_stand_side_by_side_behind_a_fold(report) -> None:
    page = canaries(report, 2)
    assert "<summary>canaries/bleak, suite test: 2 of 3 prompts</summary>" in page
    assert "- `base` (score 0): `base 1`\n- `best` (score 0): `best 1`\n- `tuned` (score 0): `tuned 1`" in page


def test_lineage_of_very_many_scores_leaves_them_out(report) -> None:
    assert 'n0["base"]' in lineage(report) and "evaluate" in lineage(report)
    many = [{"id": f"evaluate.m{at}@test", "kind": "scores", "stage": "evaluate"} for at in range(MOST)]
    report["lineage"]["nodes"] += many
    report["lineage"]["edges"] += [["base", node["id"]] for node in many]
    chart = lineage(report)
    assert "evaluate" not in chart and '[["export.ship"]]' in chart


def test_lineage_counts_in_the_budget_and_gives_way_first(report) -> None:
    full = render(report)
    assert "```mermaid" in full
    page = render(report, len(full) - 1)
    assert len(page) < len(full) and "Shortened to fit: lineage." in page and "evaluate.tuned#64;dev" not in page


def test_summary_is_measured_in_bytes(report) -> None:
    for flip in report["flips"]:
        flip["worst"] = flip["best"] = [{**example, "prompt": "\u6f22" * 400} for example in flip["best"]] * 200
    report["answers"] *= 400
    page = summary(report)
    assert SUMMARY_LIMIT / 4 < len(page.encode()) <= SUMMARY_LIMIT
    assert len(render(report)) <= 65_536 < len(page)


def test_resources_have_a_sum_and_a_price_only_where_one_is_given(report) -> None:
    assert "At 1.20 USD an hour that is 0.73 USD." in resources(report)
    report["resources"]["cost"] = None
    assert "USD" not in resources(report) and "| `train.tuned` |" in resources(report)


def test_comparability_tells_how_answers_were_generated_and_what_may_differ(report) -> None:
    suite = report["suites"]["test"]
    suite["contract"]["told"] = {"facts.tokenizer": {"base": "a", "best": "b", "tuned": "a"}}
    page = comparability(report)
    assert "| may differ | `facts.tokenizer` | `base` a; `best` b; `tuned` a |" in page
    assert "| \u2713 | `tickets.generation` | until \\\\n, max\\_gen\\_toks 64, do\\_sample no, temperature 0 |" in page
    assert "Suite `test`: all conditions agree." in page


def test_limits_name_gates_that_cannot_see_few_clusters_and_abilities_that_were_not_there(report) -> None:
    report["gates"][0]["clusters"] = 7
    report["gates"][0]["over_seeds"] = None
    (row,) = (row for row in report["suites"]["test"]["rows"] if row["name"] == "facts/acc")
    row["retention"] = {"best": None}
    said = limits(report)
    assert "asks about 0.0200, and its documents show no less than 0.0310; about 160 documents are needed." in said
    assert "The gate on `tickets/exact_match` has only 7 clusters of documents to go by." in said
    assert "On `facts/acc` (`test`) the base is too near to chance to say what was kept." in said
    assert "What another training seed would change is not in them." in said
