"""Rows as the trainer sees them: every token that loss is taken on is marked."""

import argparse
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from pipelines.cli.arguments import add_recipe, answer, positive
from pipelines.cli.made import chosen_one, steps_of
from pipelines.engine.imports import load_attribute
from pipelines.errors import wrong

TRAINED = "bold green"
OPEN, CLOSE = "[[", "]]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser)
    parser.add_argument("name", help="a dataset or a replay buffer")
    parser.add_argument("--split", default="train", help="train, dev or test; default: train")
    parser.add_argument("--rows", type=positive, default=3, metavar="N", help="rows to show; default: 3")


def main(args: argparse.Namespace) -> int:
    rows = list(_rows(args))
    if args.json:
        answer(rows)
        return 0
    console = Console(soft_wrap=True, highlight=False)
    marked = console.color_system is None
    console.print(f"Loss is taken on {f'{OPEN}marked{CLOSE}' if marked else 'green'} text.", style="dim", markup=False)
    for row in rows:
        console.print(
            f"\n{row['id']}  {row['source']}  {row['tokens']} tokens, {row['loss_tokens']} trained", style="dim"
        )
        console.print(_painted(row["spans"], marked))
    return 0


def _rows(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The first rows of a split. The heavy parts are reached by name, so that other verbs stay light."""
    store, steps = steps_of(args)
    step = steps[chosen_one(args.name, list(steps))]
    if step.node.kind != "dataset":
        raise wrong(step.node.id, "makes no rows", step.node.kind, "Name an entry of data: or replay:")
    base = steps[str(getattr(step.node.config, "base"))]  # noqa: B009
    if step.record is None or base.record is None:
        fix = f"Run: burnish run {args.recipe} --only {step.node.id}"
        raise wrong(step.node.id, "is not made yet", "; ".join(step.reasons), fix)
    path = store.folder(step.record.stage, step.record.key) / "rows" / f"{args.split}.parquet"
    if not path.is_file():
        splits = ", ".join(sorted(item.stem for item in path.parent.glob("*.parquet")))
        raise wrong(step.node.id, f"has no split '{args.split}'", "", f"It has {splits}")
    yield from _read(path, store.folder(base.record.stage, base.record.key), args.rows)


def _read(path: Path, model: Path, count: int) -> Iterator[dict[str, Any]]:
    read_rows = load_attribute("pipelines.hf.rows:read_rows")
    spans = load_attribute("pipelines.prepare.inspect:spans")
    tokenizer = load_attribute("pipelines.hf.models:load_tokenizer")(model)
    for row in islice(read_rows(path), count):
        told = [{"text": text, "trained": trained} for text, trained in spans(row, tokenizer)]
        numbers = {"tokens": len(row.input_ids), "loss_tokens": row.loss_tokens}
        yield {"id": row.id, "source": row.source, **numbers, "spans": told}


def _painted(spans: Iterable[dict[str, Any]], marked: bool) -> Text:
    text = Text()
    for span in spans:
        plain = _harmless(span["text"])
        shown = f"{OPEN}{plain}{CLOSE}" if marked and span["trained"] else plain
        text.append(shown, style=TRAINED if span["trained"] else "")
    return text


def _harmless(text: str) -> str:
    """Data must not steer the terminal: control characters are shown as what they are."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else repr(sign)[1:-1] for sign in text)
