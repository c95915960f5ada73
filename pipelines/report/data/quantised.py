"""Exports in fewer bits as data: every level beside the weights that it was made from, and what was picked."""

from collections.abc import Mapping
from typing import Any

from pipelines.engine.stage import Artifact

CHOICE = ("picked", "rule", "table")
"""What a choice adds to the metrics of the export that it picked."""
_FACTS = ("bytes", "bits_per_weight", "kl", "agreement")
_SERVED = ("tokens_per_second", "memory_bytes")
_TOLD = ("scores", "drops", "admissible", "why")
_UNMEASURED: dict[str, Any] = {"scores": {}, "drops": {}, "admissible": None, "why": ""}

Made = Mapping[str, Artifact]


def without_choice(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of the export alone."""
    return {key: value for key, value in facts.items() if key not in CHOICE}


def quantisations(made: Made) -> list[dict[str, Any]]:
    """By export a row for the weights not quantised, then one a level; scores where a choice measured them."""
    exports = {ref: item for ref, item in made.items() if item.kind == "export"}
    roots = dict.fromkeys(_root(ref) for ref in exports if _level(exports[ref]))
    return [_quantisation(root, exports) for root in roots]


def served(made: Made) -> list[dict[str, Any]]:
    """Speed and memory of every export that was served; they differ between two runs of one recipe."""
    return [
        {"id": ref, **{key: item.metrics.get(key) for key in _SERVED}}
        for ref, item in made.items()
        if item.kind == "export" and not _is_choice(item) and any(item.metrics.get(key) for key in _SERVED)
    ]


def _quantisation(root: str, exports: Made) -> dict[str, Any]:
    parts = {ref: item for ref, item in exports.items() if _root(ref) == root}
    choice = next((item.metrics for item in parts.values() if _is_choice(item)), None)
    rows = [_row(ref, item, choice) for ref, item in parts.items() if not _is_choice(item)]
    picked = next((row["id"] for row in rows if choice and row["level"] == choice["picked"]), None)
    return {"id": root, "picked": picked, "rule": choice["rule"] if choice else None, "rows": rows}


def _row(ref: str, item: Artifact, choice: Mapping[str, Any] | None) -> dict[str, Any]:
    level = _level(item)
    table = choice["table"] if choice else ()
    told = next((row for row in table if row["level"] == level), _UNMEASURED)
    facts = {key: item.metrics.get(key) for key in _FACTS}
    return {"id": ref, "level": level, **facts, **{key: told[key] for key in _TOLD}}


def _is_choice(item: Artifact) -> bool:
    return item.metrics.keys() >= set(CHOICE)


def _level(item: Artifact) -> str | None:
    level: str | None = item.metrics.get("level")
    return level


def _root(ref: str) -> str:
    """The export that a part belongs to: export.ship of export.ship.int8."""
    return ".".join(ref.split(".")[:2])
