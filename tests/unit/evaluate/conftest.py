"""Small suites, task YAMLs and datasets for the evaluate room."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.engine.stage import Artifact
from pipelines.evaluate.config import EvaluateConfig
from pipelines.evaluate.run import run
from pipelines.hf.rows import Row, write_rows
from tests import pico

CHOICE = {
    "task": "colours",
    "dataset_path": "json",
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "label",
    "metric_list": [
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
        {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True},
    ],
    "metadata": {"version": 1.0},
}
GENERATE = {
    "task": "answers",
    "dataset_path": "json",
    "test_split": "test",
    "output_type": "generate_until",
    "doc_to_text": "{{prompt}}",
    "doc_to_target": "{{completion}}",
    "generation_kwargs": {"until": [], "max_gen_toks": 8, "do_sample": False},
    "filter_list": [
        {"name": "strip", "filter": [{"function": "remove_whitespace"}, {"function": "take_first"}]},
        {"name": "none", "filter": [{"function": "take_first"}]},
    ],
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    "metadata": {"version": 1.0},
}


def write_yaml(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def questions(count: int = 12) -> list[dict[str, Any]]:
    words = ["red", "green", "dark blue", "the quick brown fox"]
    return [
        {"id": f"q{i}", "question": f"what is {i} of {words[i % 4]}?", "choices": words, "label": (i * 7) % 4}
        for i in range(count)
    ]


def tickets(count: int = 12) -> list[dict[str, Any]]:
    return [
        {"id": f"t{i}", "prompt": "the lazy dog " * (i % 3 + 1) + str(i), "completion": str(i % 10) * 8}
        for i in range(count)
    ]


def choice(folder: Path, **changes: object) -> dict[str, Any]:
    """The suite of one task of choices, colours."""
    task = {"file": f"{folder}/choice.yaml", "documents": {"file": f"{folder}/choice.jsonl"}, "metric": "acc_norm"}
    return {"tasks": {"colours": task | {"chat_template": False} | changes}}


def answers(folder: Path, **changes: object) -> dict[str, Any]:
    """The suite of one task that generates, answers."""
    task = {"file": f"{folder}/answers.yaml", "documents": {"file": f"{folder}/answers.jsonl"}, "metric": "exact_match"}
    return {"tasks": {"answers": task | changes}}


@pytest.fixture
def suite_folder(tmp_path: Path) -> Path:
    """choice.yaml with choice.jsonl, and answers.yaml with answers.jsonl."""
    write_yaml(tmp_path / "choice.yaml", CHOICE)
    write_yaml(tmp_path / "answers.yaml", GENERATE)
    write_jsonl(tmp_path / "choice.jsonl", questions())
    write_jsonl(tmp_path / "answers.jsonl", tickets())
    return tmp_path


@pytest.fixture
def dataset(tmp_path: Path) -> Artifact:
    """A dataset artifact of six chats in test, with rows and documents, and six other documents in train."""
    words, folder = pico.tokenizer(), tmp_path / "dataset"
    documents, others = tickets(6), tickets(12)[6:]
    rows = []
    for document in documents:
        prompt = words.apply_chat_template(
            [{"role": "user", "content": document["prompt"]}], add_generation_prompt=True, tokenize=False
        )
        before = words.encode(prompt, add_special_tokens=False)
        answer = words.encode(document["completion"] + "<|im_end|>", add_special_tokens=False)
        rows.append(Row(document["id"], "chats", None, before + answer, [-100] * len(before) + answer))
    for split, told in (("train", others), ("test", documents)):
        write_jsonl(folder / "rows" / f"{split}.jsonl", told)
        write_rows(folder / "rows" / f"{split}.parquet", rows)
    return Artifact("own", "dataset", folder, "d" * 64)


def evaluate(
    model: Path, suite: dict[str, Any], out_dir: Path, *datasets: Artifact, base: Path | None = None, **settings: Any
) -> dict[str, Any]:
    """Run the stage on a model folder; `base` defaults to the model itself."""
    config = EvaluateConfig.model_validate({"model": "model", "suite": suite, **settings})
    inputs = {artifact.name: artifact for artifact in datasets}
    inputs["model"] = Artifact("model", "model", model, str(model))
    inputs["base"] = Artifact("base", "model", base or model, str(base or model))
    out_dir.mkdir(parents=True)
    return run(config, inputs, out_dir)


def read_samples(out_dir: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out_dir / "samples" / f"{name}.jsonl").read_text().splitlines()]


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
