"""Skill gained against ability kept, by model: never one number."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.report.data.measures import BASE

TARGET, GENERAL, DRIFT = "target", "general", "drift"


def forgetting(suites: Mapping[str, Any], training: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By suite and model the gain on the target and what became of general ability; and the replay that was to keep it.

    `gain` and `general` have an entry a unit and direction, because points and bits have no common mean. `retention` is
    the mean over the `retained` general scores of which it can be said. `kl` and `agreement` are the model's own,
    `bits_per_byte` a difference; each is a mean over the measurements of that name.
    """
    models = [
        _model(title, suite, model)
        for title, suite in suites.items()
        for model in suite["models"]
        if BASE in suite["models"] and model != BASE
    ]
    replays = [(entry["id"], entry["facts"].get("replay")) for entry in training]
    return {"models": models, "replay": [{"id": ref, **replay} for ref, replay in replays if replay]}


def _model(title: str, suite: Mapping[str, Any], model: str) -> dict[str, Any]:
    general = [row for row in suite["rows"] if row["group"] == GENERAL]
    kept = [kept for row in general if (kept := row["retention"].get(model)) is not None]
    return {
        "suite": title,
        "model": model,
        "gain": list(_parts(suite, TARGET, model)),
        "general": list(_parts(suite, GENERAL, model)),
        "retention": _mean(kept),
        "retained": len(kept),
        "kl": _mean(_values(suite, "kl", model)),
        "agreement": _mean(_values(suite, "agreement", model)),
        "bits_per_byte": _mean(_differences(suite, "bits_per_byte", model)),
    }


def _parts(suite: Mapping[str, Any], group: str, model: str) -> Iterator[dict[str, Any]]:
    """The difference of a group's mean with its interval, or why there is none."""
    for part in suite["groups"]:
        if part["group"] == group:
            seen = part["estimates"][model]
            yield {
                "unit": part["unit"],
                "lower_is_better": part["lower_is_better"],
                "scores": len(part["names"]),
                **{key: seen.get(key) for key in ("delta", "low", "high", "differs")},
            }


def _values(suite: Mapping[str, Any], metric: str, model: str) -> list[float]:
    rows = [row for row in suite["rows"] if row["name"].rpartition("/")[2] == metric]
    return [row["values"][model] for row in rows if row["values"].get(model) is not None]


def _differences(suite: Mapping[str, Any], metric: str, model: str) -> list[float]:
    rows = [row["values"] for row in suite["rows"] if row["name"].rpartition("/")[2] == metric]
    return [row[model] - row[BASE] for row in rows if row.get(model) is not None and row.get(BASE) is not None]


def _mean(numbers: Sequence[float]) -> float | None:
    return sum(numbers) / len(numbers) if numbers else None
