"""The suites that come with the project: every file is there, every task runs, dev and test share nothing."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.engine.stage import Artifact, DatasetRef, refs
from pipelines.evaluate.backends.hf import open_hf
from pipelines.evaluate.config import EvaluateConfig, Suite, score_groups
from pipelines.evaluate.harness import measure
from pipelines.evaluate.subject import Generated
from pipelines.evaluate.tasks import Ready, load_task
from tests.unit.evaluate.conftest import evaluate, read_samples, write_jsonl

ROOT = Path(__file__).parents[3]
EVALS = ROOT / "evals"


def suite(name: str, limit: int) -> dict[str, Any]:
    """A suite of the project with absolute paths and few documents; skips where its data is not there."""
    content = yaml.safe_load((EVALS / "suites" / f"{name}.yaml").read_text())
    for task in content["tasks"].values():
        task["limit"] = limit
        task["needs"] = [str(ROOT / need) for need in task.get("needs", [])]
        for place in (task, task["documents"]):
            if "file" in place:
                place["file"] = str(ROOT / place["file"])
                if not Path(place["file"]).is_file() and "shared" in place["file"]:
                    pytest.skip(f"{Path(place['file']).name} is not on this machine")
    for measurement in [*content.get("texts", {}).values(), *content.get("drift", {}).values()]:
        measurement["limit"] = limit
    return content


def renamed(dataset: Artifact, name: str) -> Artifact:
    for kind in ("jsonl", "parquet"):
        dev = dataset.path / "rows" / f"dev.{kind}"
        dev.write_bytes((dataset.path / "rows" / f"test.{kind}").read_bytes())
    return Artifact(name, "dataset", dataset.path, "d" * 64)


@pytest.mark.parametrize("name", sorted(path.stem for path in (EVALS / "suites").glob("*.yaml")))
def test_suite_gives_every_score_that_it_announces(name, pico_base, dataset, tmp_path):
    content = suite(name, 3)
    config = EvaluateConfig.model_validate({"model": "model", "suite": content})
    datasets = [renamed(dataset, str(ref)) for ref in refs(config) if isinstance(ref, DatasetRef)]
    scores = evaluate(pico_base, content, tmp_path / "out", *datasets)["scores"]
    assert {score: entry["group"] for score, entry in scores.items()} == score_groups(Suite.model_validate(content))


def test_dev_and_test_of_the_quickstart_share_no_document(pico_base, dataset, tmp_path):
    hashes = {}
    for split in ("dev", "test"):
        content = suite(f"quickstart-{split}", 100)
        evaluate(pico_base, {"texts": content["texts"]}, tmp_path / split)
        questions = (EVALS / "tasks" / f"plain_questions_{split}.jsonl").read_text().splitlines()
        hashes[split] = {sample["doc_hash"] for sample in read_samples(tmp_path / split, "pydoc")} | {
            question.partition('"prompt"')[2] for question in questions
        }
    assert len(hashes["dev"]) > 40 and not hashes["dev"] & hashes["test"]


def test_format_probe_tells_prose_from_json(pico_base, tmp_path, monkeypatch):
    """Answers as a model might give them, in place of those of the model."""
    answers = {
        "prose": "Paris is the capital.",
        "braces later": "It is {France}.",
        "empty": "",
        "object": ' {"intent": "question"}',
        "list": '[{"a": 1}]',
        "fenced": '```json\n{"answer": 1}\n```',
        "cut short": '{"inte',
    }
    (tmp_path / "scratch").mkdir()
    documents = write_jsonl(tmp_path / "q.jsonl", [{"id": key, "prompt": key} for key in answers])
    ready = Ready(
        "plain", "x", EVALS / "tasks/plain_questions.yaml", True, (), {"test": documents}, "exact_match", "none", None
    )
    config = EvaluateConfig.model_validate({"model": "base", "suite": {"texts": {"x": {"python_topics": True}}}})
    with open_hf(config, Artifact("base", "model", pico_base, "b" * 64)) as subject:
        monkeypatch.setattr(subject.lm, "generate_until", lambda requests: [answers[r.doc["id"]] for r in requests])
        subject = subject._replace(generated=lambda: [Generated(False)] * len(answers))
        task = load_task(ready, tmp_path / "scratch")
        measured = measure(subject, task, ready, "format", True, None, lambda *_: None)
    prose = {sample.id for sample in measured.samples if sample.scores["exact_match"] == 1.0}
    assert prose == {"prose", "braces later", "empty"}
