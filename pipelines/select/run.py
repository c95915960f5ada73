"""The select stage: a rule on development scores, and the folder of the model that it picks."""

import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipelines.engine.stage import Inputs
from pipelines.errors import UserError, wrong
from pipelines.hf.links import link
from pipelines.select.config import SelectConfig
from pipelines.select.pick import Row, best, table


def run(config: SelectConfig, inputs: Inputs, out_dir: Path) -> dict[str, Any]:
    """Fill `out_dir` with the picked model's files, as hard links where the file system has them."""
    base = _read(inputs[config.base].path)
    models = {inputs[candidate.model].name: inputs[candidate.model] for candidate in config.candidates}
    read = {inputs[candidate.model].name: _read(inputs[candidate.scores].path) for candidate in config.candidates}
    metric = config.maximize or config.minimize or ""
    for scores in read.values():
        _check(config, metric, base, scores)
    limits = {group: limit.max_drop for group, limit in config.subject_to.items()}
    rows = table({name: scores["scores"] for name, scores in read.items()}, base["scores"], metric, limits)
    picked = best(rows, config.maximize is not None)
    if picked is None:
        raise _none(rows, limits)
    link(models[picked.name].path, out_dir)
    return {"picked": picked.name, "rule": rule(config), "table": [row._asdict() for row in rows]}


def rule(config: SelectConfig) -> str:
    """The rule in words, such as `maximize tickets/exact_match, general: max_drop 0.02`."""
    goal = f"maximize {config.maximize}" if config.maximize else f"minimize {config.minimize}"
    return ", ".join([goal, *(f"{group}: max_drop {limit.max_drop:g}" for group, limit in config.subject_to.items())])


def _read(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return content


def _check(config: SelectConfig, metric: str, base: dict[str, Any], scores: dict[str, Any]) -> None:
    """The rule must be about scores that there are, and these must have been measured as the base's were."""
    if metric not in scores["scores"]:
        where = "maximize" if config.maximize else "minimize"
        raise wrong(where, "no such score", metric, _instead(metric, scores["scores"]))
    groups = {score["group"] for score in scores["scores"].values()}
    for group in config.subject_to:
        if group not in groups:
            raise wrong(f"subject_to.{group}", "no score is in this group", group, _instead(group, groups))
    for name, contract in base["contract"].items():
        if other := [key for key in contract if contract[key] != scores["contract"].get(name, {}).get(key)]:
            fix = "Measure the candidates and the base alike"
            raise wrong("select", f"{name} was not measured on a candidate as on the base", ", ".join(other), fix)


def _instead(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]}?" if close else f"Known: {', '.join(sorted(known))}"


def _none(rows: list[Row], limits: dict[str, float]) -> UserError:
    losses = "; ".join(
        f"{row.name} loses " + ", ".join(f"{row.drops[group]:.4g} in {group}" for group in limits) for row in rows
    )
    allowed = ", ".join(f"{limit:g} in {group}" for group, limit in limits.items())
    fix = f"Allow more than {allowed}, or add a candidate that keeps more, such as one merged closer to the base"
    return wrong("subject_to", "no candidate keeps within the limits", losses, fix)
