"""What the models wrote: documents that turned from right to wrong or back, and canaries side by side."""

from collections.abc import Mapping
from typing import Any

from pipelines.report.data.collect import Report
from pipelines.report.data.measures import BASE
from pipelines.report.html.views.effects import in_order
from pipelines.report.html.views.words import lines
from pipelines.report.numbers import count, percent, plain


def flips(report: Report) -> dict[str, Any] | None:
    if not report["flips"]:
        return None
    return {"rows": [_flip(report, flip) for flip in report["flips"]]}


def canaries(report: Report) -> dict[str, Any] | None:
    if not report["answers"]:
        return None
    places = {suite: place for place, suite in enumerate(in_order(report))}
    return {"tables": [_table(found) for found in sorted(report["answers"], key=lambda found: places[found["suite"]])]}


def _flip(report: Report, flip: Mapping[str, Any]) -> dict[str, Any]:
    words = ("right to wrong", "wrong to right") if flip["binary"] else ("worse", "better")
    folds = [
        {
            "title": word,
            "total": flip[total],
            "examples": [_example(report, flip["binary"], examples, example) for example in flip[examples]],
        }
        for word, total, examples in zip(words, ("worse", "better"), ("worst", "best"), strict=True)
    ]
    return {
        "name": flip["name"],
        "suite": flip["suite"],
        "n": count(flip["n"]),
        "worse": count(flip["worse"]),
        "better": count(flip["better"]),
        "worse_adjusted": percent(flip["worse_adjusted"]),
        "better_adjusted": percent(flip["better_adjusted"]),
        "folds": [fold for fold in folds if fold["examples"]],
    }


def _example(report: Report, binary: bool, kind: str, example: Mapping[str, Any]) -> dict[str, Any]:
    """Of yes-or-no scores the base is right in the worst and wrong in the best, whichever way the score goes."""
    answers = [
        {
            "model": model,
            "text": lines(example["answers"][key]),
            "right": (key == BASE) == (kind == "worst") if binary else None,
            "score": plain(example["scores"][key]),
        }
        for key, model in ((BASE, BASE), ("candidate", report["candidate"]))
    ]
    return {
        "id": example["id"],
        "prompt": lines(example["prompt"]),
        "target": lines(example["target"]),
        "answers": answers,
    }


def _table(found: Mapping[str, Any]) -> dict[str, Any]:
    documents = [
        {
            "id": document["id"],
            "prompt": lines(document["prompt"]),
            "target": lines(document["target"]),
            "answers": [
                {"model": model, "text": lines(text), "right": None, "score": _score(document["scores"].get(model))}
                for model, text in document["answers"].items()
            ],
        }
        for document in found["documents"]
    ]
    return {"suite": found["suite"], "name": found["name"], "n": count(found["n"]), "documents": documents}


def _score(score: float | None) -> str:
    return "" if score is None else plain(score)
