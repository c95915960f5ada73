"""What was learned from, and how: a card a dataset and a line a training run."""

from collections.abc import Mapping
from typing import Any

from pipelines.report.data.collect import Report
from pipelines.report.markdown.blocks import bullets, folded, section, table
from pipelines.report.markdown.charts import sparkline
from pipelines.report.markdown.facts import settings, shown
from pipelines.report.numbers import ABSENT, count, percent, plain
from pipelines.report.text import code, name, prose

_SPLITS = ("train", "dev", "test")


def data(report: Report) -> str:
    """A card a dataset: rows in and out, splits, tokens, licence; the files and settings behind a fold."""
    if not report["data"]:
        return ""
    heads = [
        "dataset",
        "rows in",
        "kept",
        "train / dev / test",
        "tokens",
        "loss tokens",
        "p50 / p95 / max",
        "mask",
        "licence",
    ]
    cards = table(heads, [_card(entry) for entry in report["data"]])
    dropped = [_dropped(entry) for entry in report["data"]]
    files = [
        f"{name(entry['id'])}: {_file(file)}" for entry in report["data"] for file in entry["facts"].get("files", ())
    ]
    legend = "Tokens and their percentiles are those of the training split."
    return section(
        "Data",
        cards,
        legend,
        bullets(line for line in dropped if line),
        folded("Files", bullets(files)),
        settings(report["data"]),
    )


def training(report: Report) -> str:
    """Steps, tokens and losses of every training run, with the course of the loss."""
    if not report["training"]:
        return ""
    heads = [
        "training",
        "steps",
        "rows",
        "tokens",
        "loss tokens",
        "loss first -&gt; last",
        "course",
        "trainable weights",
    ]
    rows = table(heads, [_run(entry) for entry in report["training"]])
    replayed = [_replay_course(entry) for entry in report["training"]]
    legend = "Losses are nats per token that carries loss; the course is drawn from its lowest to its highest."
    return section("Training", rows, legend, bullets(line for line in replayed if line), settings(report["training"]))


def _card(entry: Mapping[str, Any]) -> list[str]:
    facts = entry["facts"]
    splits = facts.get("splits", {})
    train = splits.get("train", {})
    return [
        name(entry["id"]),
        count(facts["rows"].get("in")),
        count(facts["rows"].get("kept")),
        " / ".join(count(splits.get(split, {}).get("rows", 0)) for split in _SPLITS),
        count(train.get("tokens")),
        count(train.get("loss_tokens")),
        " / ".join(shown(train.get(key)) for key in ("p50", "p95", "max")),
        shown(facts.get("mask")),
        shown(facts.get("licence")),
    ]


def _dropped(entry: Mapping[str, Any]) -> str:
    facts = entry["facts"]
    reasons = [
        f"{count(number)} {prose(reason)}" for reason, number in facts["rows"].get("dropped", {}).items() if number
    ]
    truncated = [f"{count(facts['truncated'])} truncated"] if facts.get("truncated") else []
    said = [f"dropped: {', '.join(reasons)}"] if reasons else []
    wanted = [f"{count(facts['wanted'])} rows wanted"] if facts.get("wanted") else []
    told = "; ".join([*wanted, *said, *truncated])
    return f"{name(entry['id'])}: {told}" if told else ""


def _file(file: Mapping[str, Any]) -> str:
    return f"{code(file['name'], 120)}, {count(file['rows'])} rows, sha256 {code(str(file['sha256'])[:12])}"


def _run(entry: Mapping[str, Any]) -> list[str]:
    facts = entry["facts"]
    share = f" ({percent(facts['trainable'], facts['parameters'])})" if "parameters" in facts else ""
    return [
        name(entry["id"]),
        *(count(facts.get(key)) for key in ("steps", "rows", "tokens", "loss_tokens")),
        f"{plain(facts.get('loss_first'))} -&gt; {plain(facts.get('loss_last'))}",
        _course(facts, 1),
        f"{count(facts.get('trainable'))}{share}",
    ]


def _course(facts: Mapping[str, Any], column: int) -> str:
    losses = [point[column] for point in facts.get("curve", ()) if point[column] is not None]
    return f"`{sparkline(losses)}`" if losses else ABSENT


def _replay_course(entry: Mapping[str, Any]) -> str:
    losses = [point[2] for point in entry["facts"].get("curve", ()) if point[2] is not None]
    if not losses:
        return ""
    course = f"{plain(losses[0])} -&gt; {plain(losses[-1])} {_course(entry['facts'], 2)}"
    return f"{name(entry['id'])} on replayed rows: {course}"
