"""A search without models to load: what is measured is how far a candidate went along the task vector."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from pipelines.engine.stage import Artifact
from pipelines.search.config import SearchConfig
from pipelines.search.trial import Rule, Trial

SUITE = {
    "tasks": {"skill": {"task": "piqa", "metric": "acc"}},
    "texts": {"prose": {"python_topics": True}},
}
CONTRACT = {"skill": {"torch": "1"}, "prose": {"torch": "1"}}
RULE = Rule("skill/acc", True, {"general": 0.5})


def scores(skill: float, loss: float) -> dict[str, Any]:
    """Scores of a model: a skill, and a loss of the general group."""
    one = {"n": 50, "kind": "mean", "stderr": 0.01}
    return {
        "scores": {
            "skill/acc": one | {"value": skill, "group": "target", "lower_is_better": False},
            "prose/bits_per_byte": one | {"value": loss, "group": "general", "lower_is_better": True},
        },
        "contract": CONTRACT,
        "notes": [],
    }


def config(models: list[Path], method: dict[str, Any], **rules: Any) -> SearchConfig:
    merge = {"models": [{"use": folder.name} for folder in models], "method": method}
    defaults = {"objective": {"maximize": "skill/acc"}, "subject_to": {"general": {"max_drop": 0.5}}}
    evaluate = {"model": "base", "suite": SUITE}
    content = {"merge": merge, "evaluate": evaluate, "scores": "evaluate.base@dev"} | defaults | rules
    return SearchConfig.model_validate(content)


def inputs(folder: Path, base: Path, models: list[Path]) -> dict[str, Artifact]:
    """The artifacts of a search, the base's scores among them."""
    measured = folder / "base@dev"
    measured.mkdir(parents=True)
    (measured / "scores.json").write_text(json.dumps(scores(0.0, 1.0)))
    found = {"base": Artifact("base", "model", base, "base")}
    for path in models:
        kind = "adapter" if (path / "adapter_config.json").exists() else "model"
        found[path.name] = Artifact(f"train.{path.name}", kind, path, path.name)
    return found | {"evaluate.base@dev": Artifact("evaluate.base@dev", "scores", measured, "scores")}


def distance(base: Path, model: Path, whole: Path) -> float:
    """How far a model went from the base, in lengths of the way to a whole model."""
    tensors = [load_file(folder / "model.safetensors") for folder in (base, model, whole)]
    ours, one, full = (torch.cat([part[name].float().view(-1) for name in sorted(tensors[0])]) for part in tensors)
    return float(torch.dot(one - ours, full - ours) / torch.dot(full - ours, full - ours))


def evaluation(base: Path, whole: Path, seen: list[float]) -> Callable[..., dict[str, Any]]:
    """A stand-in for the evaluate stage: the skill is best at 0.7 of the way, and general ability is lost on it."""

    def measure(config: Any, inputs: Any, out_dir: Path) -> dict[str, Any]:
        gone = distance(base, inputs[config.model].path, whole)
        seen.append(gone)
        return scores(1 - (gone - 0.7) ** 2, 1 + max(0.0, gone) / 2)

    return measure


def landscape(skill: Callable[[dict[str, Any]], float], loss: Callable[[dict[str, Any]], float], asked: list) -> Any:
    """A `measure` that knows the scores of parameters without any model."""

    def measure(params: dict[str, Any]) -> Trial:
        asked.append(params)
        drop = loss(params)
        return Trial(params, {"skill/acc": skill(params)}, skill(params), {"general": drop}, drop <= 0.5)

    return measure
