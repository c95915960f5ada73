"""The prepare stage: rows of a source become tokenised rows with a loss mask, in splits."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from pipelines.engine.progress import progress
from pipelines.engine.stage import Inputs
from pipelines.errors import Problem, UserError, wrong
from pipelines.hf.dataset import DatasetWriter
from pipelines.hf.masks import choose_mask
from pipelines.hf.models import load_tokenizer
from pipelines.hf.rows import Row
from pipelines.prepare.card import card_of, meaning_of
from pipelines.prepare.check import at_most
from pipelines.prepare.config import PrepareConfig
from pipelines.prepare.sift import Placed, placed, sampled
from pipelines.prepare.sources import Origin, origins
from pipelines.prepare.tokens import Fate, fates

BATCH = 256


def run(config: PrepareConfig, inputs: Inputs, out_dir: Path) -> dict[str, Any]:
    """Fill a dataset folder. Raises UserError for broken rows, the first of them at once, and when no row is left."""
    tokenizer = load_tokenizer(inputs[config.base].path)
    card = card_of(config)
    meaning = meaning_of(config, card)
    mask = None if meaning.format == "text" else choose_mask(tokenizer)
    sources = origins(config)
    counts = [sum(1 for _ in origin.rows()) for origin in sources]
    sample = None
    if config.limit is not None:
        sample = sampled(placed(sources, meaning, config, _unheard, []), config.limit, config.seed)
    problems: list[Problem] = []
    truncated = 0
    with DatasetWriter(out_dir) as writer:
        rows = _in_sample(placed(sources, meaning, config, writer.drop, problems), sample, writer)
        for batch in _batches(rows):
            for fate in fates(tokenizer, batch, mask, config.max_length, config.on_too_long == "truncate", problems):
                truncated += fate.truncated
                _write(writer, fate)
            progress(writer.seen, sum(counts), "rows")
        if problems:
            raise UserError(*at_most(problems))
        if not writer.kept:
            reasons = (
                ", ".join(f"{reason} {n}" for reason, n in sorted(writer.dropped.items())) or "the source is empty"
            )
            raise wrong("", "no row is left to train on", reasons, "Raise max_length, or mend the data")
        files = [_file(origin, count) for origin, count in zip(sources, counts, strict=True)]
        return writer.finish(
            mask="all" if mask is None else mask.kind,
            truncated=truncated,
            files=files,
            licence=None if card is None else card.licence,
            card=None if card is None else card.name,
        )


def _in_sample(rows: Iterable[Placed], sample: frozenset[str] | None, writer: DatasetWriter) -> Iterator[Placed]:
    """Rows but for the training rows outside the sample, which are dropped."""
    for row in rows:
        if sample is None or row.split != "train" or row.id in sample:
            yield row
        else:
            writer.drop(row.origin, row.line, "limit", f"not in the sample of {len(sample)} rows")


def _batches(rows: Iterable[Placed]) -> Iterator[list[Placed]]:
    rest = iter(rows)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _write(writer: DatasetWriter, fate: Fate) -> None:
    row = fate.row
    if fate.encoded is None:
        writer.drop(row.origin, row.line, fate.reason, fate.detail)
    else:
        writer.add(row.split, Row(row.id, row.domain, row.messages, *fate.encoded), row.columns, row.text)


def _file(origin: Origin, rows: int) -> dict[str, Any]:
    return {"name": origin.name, "sha256": origin.sha256, "rows": rows}


def _unheard(source: str, line: int, reason: str, detail: str) -> None:
    """Rows dropped while the sample is drawn are told of when the rows are written."""
