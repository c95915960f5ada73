"""The choose stage: the smallest of several levels whose scores lose no more than is accepted, and its folder."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.engine.stage import Artifact, Inputs
from pipelines.hf.folder import write_json
from pipelines.hf.links import link
from pipelines.quantize.config import ChooseConfig
from pipelines.stats.drops import drop
from pipelines.stats.scores import Scores, differences, read_scores

_VERIFICATION = "verification.json"
_OF_THE_MACHINE = ("memory_bytes", "tokens_per_second")
"""What differs between two runs of one recipe is in the metrics only."""
_NOISE = 1e-9
"""A loss of exactly what is accepted is accepted: 0.50 - 0.48 is more than 0.02 to a computer."""


class Row(NamedTuple):
    """One level, None for the weights not quantised. `drops` is empty where `why` says that it cannot be compared."""

    level: str | None
    bytes: int
    memory_bytes: int | None
    tokens_per_second: float | None
    scores: dict[str, float]
    drops: dict[str, float]
    admissible: bool
    why: str


def run(config: ChooseConfig, inputs: Inputs, out_dir: Path) -> dict[str, Any]:
    """Fill `out_dir` with the picked folder, as hard links, its verification.json, and choice.json.

    Where no level is inside the limits, the weights not quantised are what is shipped.
    """
    exports = [inputs[trial.export] for trial in (config.unquantised, *config.trials)]
    scores = [read_scores(inputs[trial.scores].path) for trial in (config.unquantised, *config.trials)]
    rows = table(exports, scores, config.max_drop)
    best = pick(rows)
    chosen, choice = exports[best], {"picked": rows[best].level, "rule": rule(config.max_drop)}
    folder = str(chosen.metrics["folder"])
    link(chosen.path / folder, out_dir / folder)
    shutil.copyfile(chosen.path / _VERIFICATION, out_dir / _VERIFICATION)
    told = [row._asdict() for row in rows]
    steady = [{key: value for key, value in row.items() if key not in _OF_THE_MACHINE} for row in told]
    write_json(out_dir / "choice.json", {**choice, "table": steady})
    return {**chosen.metrics, **choice, "table": told, "notes": _notes(rows, best)}


def table(exports: Sequence[Artifact], scores: Sequence[Scores], limits: Mapping[str, float]) -> list[Row]:
    """A row for every export, the weights not quantised first: all others are compared with them."""
    return [_row(export, found, scores[0], limits) for export, found in zip(exports, scores, strict=True)]


def pick(rows: Sequence[Row]) -> int:
    """The place of the smallest admissible row; of equally small ones the first."""
    return min((place for place, row in enumerate(rows) if row.admissible), key=lambda place: rows[place].bytes)


def rule(limits: Mapping[str, float]) -> str:
    """The rule in words."""
    return f"the smallest that loses at most {', '.join(f'{limit:g} in {group}' for group, limit in limits.items())}"


def _row(export: Artifact, scores: Scores, whole: Scores, limits: Mapping[str, float]) -> Row:
    unlike = _unlike(whole, scores)
    # Added to zero, a loss of -0.0 is 0.0.
    drops = {} if unlike else {group: 0.0 + drop(scores.scores, whole.scores, group) for group in limits}
    over = [
        f"loses {lost:.4g} in {group}, more than {limits[group]:g}"
        for group, lost in drops.items()
        if not lost <= limits[group] + _NOISE
    ]
    facts = export.metrics
    return Row(
        level=facts.get("level"),
        bytes=facts["bytes"],
        memory_bytes=facts.get("memory_bytes"),
        tokens_per_second=facts.get("tokens_per_second"),
        scores={name: score["value"] for name, score in scores.scores.items()},
        drops=drops,
        admissible=not unlike and not over,
        why=unlike or "; ".join(over),
    )


def _unlike(whole: Scores, scores: Scores) -> str:
    """What keeps the two measurements from being compared; nothing where they were made alike."""
    for name, contract in whole.contract.items():
        if found := differences(contract, scores.contract[name]):
            return f"{name} was not measured alike: {found}"
    return ""


def _notes(rows: Sequence[Row], best: int) -> list[str]:
    """What is said where nothing was gained by quantising."""
    if rows[best].level is not None:
        return []
    lost = not any(row.admissible for row in rows[1:])
    why = "no level is inside the limits" if lost else "no level inside the limits is smaller"
    return [f"The weights are shipped as they are, not quantised: {why}."]
