"""What was made, and from what: datasets, training runs, merges, the export."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.report.data.collect import Report
from pipelines.report.data.measures import flatten
from pipelines.report.html.figures.spec import Curves, Line
from pipelines.report.html.views.sentences import sentence
from pipelines.report.html.views.words import settings
from pipelines.report.markdown import levels
from pipelines.report.markdown.facts import shown
from pipelines.report.markdown.shipped import adapter_in_words, warning_in_words
from pipelines.report.numbers import ABSENT, count, percent, plain, size

_SPLITS = ("train", "dev", "test")
Entry = Mapping[str, Any]


def data(report: Report) -> dict[str, Any] | None:
    return {"cards": [_card(entry) for entry in report["data"]]} if report["data"] else None


def training(report: Report) -> dict[str, Any] | None:
    if not report["training"]:
        return None
    runs = [_run(entry) for entry in report["training"]]
    return {"runs": runs, "curves": [found for entry in report["training"] if (found := _curves(entry))]}


def merges(report: Report) -> dict[str, Any] | None:
    if not report["merges"] and not report["advice"]:
        return None
    return {"rows": [_merge(entry) for entry in report["merges"]], "advice": report["advice"]}


def exports(report: Report) -> dict[str, Any] | None:
    if not report["exports"] and not report["held_back"]:
        return None
    return {
        "entries": [_export(entry) for entry in report["exports"]],
        "held": report["held_back"],
        "quantisations": [_quantisation(report, entry) for entry in report["quantisations"]],
    }


def notes(entry: Entry) -> list[str]:
    return [str(note) for note in entry["facts"].get("notes", ())]


def fact(value: Any) -> Any:
    """Any fact, with a digest shortened, as the Markdown report writes it."""
    return sentence(shown(value))


def _card(entry: Entry) -> dict[str, Any]:
    facts = entry["facts"]
    train = facts.get("splits", {}).get("train", {})
    rows = facts["rows"]
    return {
        "id": entry["id"],
        "numbers": [
            ("rows in", count(rows.get("in"))),
            ("kept", count(rows.get("kept"))),
            *((f"{split} rows", count(found["rows"])) for split, found in _splits(facts)),
            ("tokens", count(train.get("tokens"))),
            ("loss tokens", count(train.get("loss_tokens"))),
            ("p50 / p95 / max tokens", " / ".join(plain_or_count(train.get(key)) for key in ("p50", "p95", "max"))),
            ("truncated", count(facts.get("truncated"))),
            ("mask", fact(facts.get("mask"))),
            ("licence", fact(facts.get("licence"))),
        ],
        "dropped": [(reason, count(number)) for reason, number in rows.get("dropped", {}).items() if number],
        "wanted": count(facts["wanted"]) if facts.get("wanted") else "",
        "files": facts.get("files", ()),
        "settings": settings(entry["settings"]),
        "notes": notes(entry),
    }


def plain_or_count(number: Any) -> str:
    return count(number) if isinstance(number, int) else plain(number)


def _splits(facts: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    found = facts.get("splits", {})
    return ((split, found[split]) for split in _SPLITS if split in found)


def _run(entry: Entry) -> dict[str, Any]:
    facts = entry["facts"]
    share = f" ({percent(facts['trainable'], facts['parameters'])})" if "parameters" in facts else ""
    return {
        "id": entry["id"],
        "cells": [
            *(count(facts.get(key)) for key in ("steps", "rows", "tokens", "loss_tokens")),
            f"{plain(facts.get('loss_first'))} \u2192 {plain(facts.get('loss_last'))}",
            f"{count(facts.get('trainable'))}{share}",
        ],
        "settings": settings(entry["settings"]),
        "notes": notes(entry),
    }


def _curves(entry: Entry) -> Curves | None:
    points = entry["facts"].get("curve", ())
    lines = []
    for label, column in (("learned rows", 1), ("replayed rows", 2)):
        seen = [(point[0], point[column]) for point in points if point[column] is not None]
        if len(seen) > 1:
            steps, values = zip(*seen, strict=True)
            lines.append(Line(label, steps, values))
    return Curves(f"Loss of {entry['id']} by step", tuple(lines)) if lines else None


def _merge(entry: Entry) -> dict[str, Any]:
    facts = entry["facts"]
    return {
        "id": entry["id"],
        "method": fact(facts.get("method")),
        "members": [_member(member) for member in facts.get("models", ())],
        "size": fact(facts.get("delta_norm_ratio")),
        "changed": f"{plain_or_count(facts.get('changed'))} of {plain_or_count(facts.get('tensors'))}",
        "settings": settings(entry["settings"]),
        "notes": notes(entry),
    }


def _member(member: Mapping[str, Any]) -> tuple[str, str, Any]:
    """A merged model: its name, its weight in words, and how far it lies from the base."""
    weight = member.get("weight")
    if isinstance(weight, Mapping):
        told = "by pattern"
    else:
        told = f"{fact(weight)} over the layers" if isinstance(weight, list) else str(fact(weight))
    return member["name"], told, fact(member.get("delta_norm_ratio"))


def _export(entry: Entry) -> dict[str, Any]:
    facts = entry["facts"]
    told = [(key, fact(item)) for key, item in flatten(facts) if key not in ("notes", "checks")]
    return {
        "id": entry["id"],
        "folder": facts.get("folder", ""),
        "size": size(facts.get("bytes")),
        "adapter": adapter_in_words(facts["adapter"]) if facts.get("adapter") else "",
        "warnings": [warning_in_words(warning) for warning in entry["warnings"]],
        "checks": [(check["name"], fact(check["saw"])) for check in entry["checks"]],
        "facts": [(key, item) for key, item in told if item != ABSENT],
        "settings": settings(entry["settings"]),
        "notes": notes(entry),
    }


def _quantisation(report: Report, entry: Entry) -> dict[str, Any]:
    rows = [
        {
            "label": levels.label(row),
            "picked": row["id"] == entry["picked"],
            "cells": levels.cells(report, entry, row),
            "admissible": row["admissible"],
            "why": row["why"],
        }
        for row in entry["rows"]
    ]
    picked = next((row["label"] for row in rows if row["picked"]), "")
    heads = {"heads": levels.HEADS, "scores": levels.scores_of(entry), "groups": levels.groups_of(entry)}
    return {"id": entry["id"], "rule": entry["rule"], "picked": picked, "rows": rows, **heads}
