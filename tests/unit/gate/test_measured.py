"""Gates over scores that were measured: a model against itself and against another, and a suite edited in between."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.stage import Artifact
from pipelines.evaluate.config import EvaluateConfig
from pipelines.evaluate.run import run
from pipelines.hf.rows import Row, write_rows
from tests import pico
from tests.unit.gate.judging import judge

RULES = [
    {"rule": "improve"},
    {"rule": "no_regression", "margin": 0.05},
    {"rule": "drift", "max": 0.05},
]
WORDS = [f"the lazy dog number {i} jumps over {i % 7} quick brown foxes" for i in range(24)]


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A dataset of twelve answers to be compared on."""
    folder, words = tmp_path_factory.mktemp("chats"), pico.tokenizer()
    (folder / "rows").mkdir()
    rows = []
    for i, text in enumerate(WORDS[:12]):
        ids = words.encode(text)
        rows.append(Row(f"c{i}", "chats", None, ids, [-100] * 4 + ids[4:]))
    write_rows(folder / "rows" / "test.parquet", rows)
    return Artifact("own", "dataset", folder, "d" * 64)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("texts") / "words.txt"
    file.write_text("\n\n".join(WORDS))
    return {"texts": {"prose": {"files": str(file)}}, "drift": {"said": {"dataset": "own"}}}


def scored(folder: Path, name: str, model: Path, base: Path, suite: dict[str, Any], chats: Artifact) -> Artifact:
    """Scores of a model folder, as the evaluate stage makes them."""
    inputs = {
        "own": chats,
        "base": Artifact("base", "model", base, str(base)),
        "model": Artifact("model", "model", model, str(model)),
    }
    out = folder / name
    out.mkdir(parents=True)
    metrics = run(EvaluateConfig.model_validate({"model": "model", "suite": suite}), inputs, out)
    return Artifact(name, "scores", out, name * 8, metrics)


def gates(*groups: str) -> list[dict[str, Any]]:
    return [{"group": group} | rule for group in groups for rule in RULES]


def test_model_against_itself_is_exactly_zero_everywhere(pico_base, suite, chats, tmp_path):
    first, again = (scored(tmp_path, name, pico_base, pico_base, suite, chats) for name in ("base", "again"))
    found = judge(tmp_path, first, again, *gates("general", "drift"))["gates"]
    assert sorted({gate["name"] for gate in found}) == ["prose/bits_per_byte", "said/agreement", "said/kl"]
    for gate in found:
        assert gate["delta"] == 0.0 == gate["high"], gate
        if gate["name"] == "said/agreement":  # on few documents no certainty: the next one may differ
            assert gate["low"] < 0 and gate["verdict"] == ("FAIL" if gate["rule"] == "improve" else "INCONCLUSIVE")
            continue
        assert gate["low"] == 0.0
        assert gate["verdict"] == ("PASS" if gate["rule"] != "improve" else "FAIL")
        assert gate["needed"] is None and gate["p"] in (None, 1.0)


def test_other_model_is_seen_to_have_moved(pico_base, pico_tuned, suite, chats, tmp_path):
    base = scored(tmp_path, "base", pico_base, pico_base, suite, chats)
    tuned = scored(tmp_path, "tuned", pico_tuned[0], pico_base, suite, chats)
    judged = judge(tmp_path, base, tuned, *gates("general", "drift"))["gates"]
    found = {(gate["name"], gate["rule"]): gate for gate in judged}
    divergence = found["said/kl", "drift"]
    assert divergence["base"] == 0.0 < divergence["low"] < divergence["delta"] == divergence["candidate"]
    assert found["prose/bits_per_byte", "drift"]["delta"] != 0.0


def test_suite_that_was_edited_in_between_fails_closed(pico_base, suite, chats, tmp_path):
    edited = {"texts": {"prose": suite["texts"]["prose"] | {"limit": 20}}}
    base = scored(tmp_path, "base", pico_base, pico_base, {"texts": suite["texts"]}, chats)
    best = scored(tmp_path, "best", pico_base, pico_base, edited, chats)
    verdict = judge(tmp_path, base, best, {"group": "general", "rule": "no_regression", "margin": 9.0})
    assert (verdict["verdict"], verdict["blocks"]) == ("FAIL", True)
    says = verdict["gates"][0]["says"]
    assert "limit differs (None and 20)" in says and "documents differs (" in says
