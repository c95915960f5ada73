"""What the models answered: documents that turned from right to wrong or back, and canary prompts side by side."""

from collections.abc import Mapping
from typing import Any

from pipelines.report.data.collect import Report
from pipelines.report.data.measures import BASE
from pipelines.report.markdown.blocks import bullets, folded, section, table
from pipelines.report.numbers import count, percent, plain
from pipelines.report.text import code, name


def answers(report: Report, examples: int) -> str:
    """How many documents turned from right to wrong and back, and at most `examples` of either behind a fold."""
    if not report["flips"]:
        return ""
    heads = ["documents that changed", "suite", "n", "worse", "better", "worse, adjusted", "better, adjusted"]
    rows = [
        [
            name(flip["name"]),
            name(flip["suite"]),
            *(count(flip[key]) for key in ("n", "worse", "better")),
            *(percent(flip[key]) for key in ("worse_adjusted", "better_adjusted")),
        ]
        for flip in report["flips"]
    ]
    adjusted = any(flip["binary"] for flip in report["flips"])
    legend = "Adjusted: share of the documents, less what guessing alone would turn." if adjusted else ""
    shown = [_fold(report, flip, kind, examples) for flip in report["flips"] for kind in ("worst", "best")]
    return section("Answers", table(heads, rows, left=2), legend, *shown)


def canaries(report: Report, documents: int) -> str:
    """Every model's answers to prompts that are always shown, at most `documents` a task, behind a fold each."""
    return section("Canaries", *(_beside(found, documents) for found in report["answers"]))


def _beside(found: Mapping[str, Any], documents: int) -> str:
    shown = found["documents"][:documents]
    title = f"{found['name']}, suite {found['suite']}: {len(shown)} of {count(found['n'])} prompts"
    return folded(title, *map(_document, shown))


def _document(document: Mapping[str, Any]) -> str:
    lines = [f"prompt: {code(document['prompt'])}"]
    if document["target"]:
        lines.append(f"wanted: {code(document['target'], 300)}")
    for model, answer in document["answers"].items():
        lines.append(f"{name(model)} (score {plain(document['scores'][model])}): {code(answer, 300)}")
    return f"{code(document['id'], 60)}\n\n{bullets(lines)}"


def _fold(report: Report, flip: Mapping[str, Any], kind: str, examples: int) -> str:
    found = flip[kind][:examples]
    if not found:
        return ""
    words = {"worst": ("right -> wrong", "worse"), "best": ("wrong -> right", "better")}[kind]
    total = flip["worse" if kind == "worst" else "better"]
    title = f"{flip['name']}, suite {flip['suite']}: {words[0 if flip['binary'] else 1]}, {len(found)} of {total}"
    return folded(title, *(_example(report, flip, example) for example in found))


def _example(report: Report, flip: Mapping[str, Any], example: Mapping[str, Any]) -> str:
    scored = {} if flip["binary"] else {key: f" (score {plain(number)})" for key, number in example["scores"].items()}
    lines = [f"prompt: {code(example['prompt'])}"]
    if example["target"]:
        lines.append(f"wanted: {code(example['target'], 300)}")
    for key, model in ((BASE, BASE), ("candidate", report["candidate"])):
        lines.append(f"{name(model)}{scored.get(key, '')}: {code(example['answers'][key], 300)}")
    return f"{code(example['id'], 60)}\n\n{bullets(lines)}"
