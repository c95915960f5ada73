"""What to do next, as lines of a recipe."""

from typing import NamedTuple

from pipelines.merge.advice.config import Lineage

LAMBDAS = "over: {method.lambda: [0.3, 0.5, 0.8, 1.0]}"
_RATIO = 0.05


class Step(NamedTuple):
    """Something to try, and the lines that do it; no lines where no recipe can."""

    says: str
    lines: tuple[str, ...] = ()


def interpolate(lineage: Lineage) -> Step:
    """WiSE-FT; alpha 1 is the model itself."""
    says = f"search alpha on a development suite{_goal(lineage)}"
    alphas = _search(lineage, "over: {method.alpha: [0.3, 0.5, 0.7, 0.85, 1.0]}")
    return Step(
        says,
        _merge(
            lineage, f"{lineage.parents[0].name.rpartition(':')[2]}-kept", "{kind: interpolate, alpha: 0.7}", alphas
        ),
    )


def soup(lineage: Lineage) -> Step:
    """A greedy soup: models are added from the best down, those that hurt are left out."""
    trials = 2 * len(lineage.parents) - 1
    says = f"a greedy soup on a development suite{_goal(lineage)}; without search it is the mean of all"
    return Step(says, _merge(lineage, "soup", "{kind: linear}", _search(lineage, f"by: greedy, trials: {trials}")))


def experts(lineage: Lineage) -> tuple[Step, ...]:
    """Task arithmetic, then TIES."""
    says = f"task arithmetic, lambda searched on a development suite{_goal(lineage)}"
    method = "{kind: task_arithmetic, lambda: 0.8}"
    return Step(says, _merge(lineage, "summed", method, _search(lineage, LAMBDAS))), ties(
        lineage, "then TIES, if that is not enough"
    )


def ties(lineage: Lineage, says: str) -> Step:
    method = "{kind: ties, density: 0.2, lambda: 1.0}"
    return Step(says, _merge(lineage, "elected", method, _search(lineage, LAMBDAS)))


def concatenate(lineage: Lineage) -> tuple[Step, ...]:
    """The exact sum of adapters, then one that is cut or aligned."""
    return (
        Step("the exact sum of the adapters", _merge(lineage, "joined", "{kind: cat}", "output: adapter")),
        Step("cut to one adapter's rank", _merge(lineage, "cut", "{kind: svd}", "output: adapter")),
        Step("aligned before signs are elected", _merge(lineage, "aligned", "{kind: knots}")),
    )


def joint(lineage: Lineage) -> Step:
    """One training run on all the data, with old knowledge replayed where there is room for it."""
    names, training = lineage.datasets, lineage.training or "method: {kind: lora}, learning_rate: 2.0e-4"
    base = _base(lineage)
    if lineage.files:
        files = ", ".join(lineage.files)
        source = [f"  joint-rows: {{source: {{files: [{files}]}}}}  # format, columns and split as {names[0]} has them"]
    elif len(names) == 2:
        says = f"train on {names[0]} with half of the loss on {names[1]}"
        mix = f"on: {names[0]}, replay: {{from: {names[1]}, ratio: 0.5}}"
        return Step(says, ("train:", f"  joint: {{{base}{mix}, {training}}}"))
    else:
        source = [
            f"  # joint.jsonl: the files rows/*.jsonl of {', '.join(names)}; burnish show RECIPE NAME says where",
            "  joint-rows: {source: {files: data/joint.jsonl}, format: messages}",
        ]
    buffer = lineage.replay or "own"
    filled = () if lineage.replay else ("replay:", "  own: {from: base, policy: {kind: self}}")
    mix = f"on: joint-rows, replay: {{from: {buffer}, ratio: {_RATIO}}}"
    lines = ("data:", *source, *filled, "train:", f"  joint: {{{base}{mix}, {training}}}")
    return Step(f"train on {', '.join(names)} at once, with old knowledge replayed", lines)


def distil(lineage: Lineage) -> Step:
    """What one model writes, as data for another: the way between models whose weights have nothing in common."""
    teacher = next((parent for parent in lineage.parents if parent.foreign), lineage.parents[-1])
    training = lineage.training or "method: {kind: lora}, learning_rate: 2.0e-4"
    says = f"distil: let {teacher.name} write rows (Hinton et al. 2015, arXiv 1503.02531) and train on them"
    lines = (
        "replay:",
        f"  taught: {{{_base(lineage)}from: {teacher.stated}, policy: {{kind: self}}}}",
        "train:",
        f"  distilled: {{{_base(lineage)}on: taught, {training}}}",
    )
    return Step(says, lines)


def apart(lineage: Lineage) -> Step:
    names = [parent.name for parent in lineage.parents]
    if len(names) == 1:
        return Step(f"use {names[0]} as it is")
    return Step(f"serve {', '.join(names)} side by side and route requests", ())


def _merge(lineage: Lineage, name: str, method: str, *more: str) -> tuple[str, ...]:
    models = ", ".join(f"{{use: {parent.stated}}}" for parent in lineage.parents)
    base = [] if lineage.base == "base" else [f"base: {lineage.base}"]
    fields = [*base, f"models: [{models}]", f"method: {method}", *more]
    return ("merge:", f"  {name}:", *(f"    {field}" for field in fields))


def _search(lineage: Lineage, rule: str) -> str:
    objective = lineage.objective or "maximize: SCORE"
    return f"search: {{{rule}, objective: {{{objective}}}, suite: {lineage.suite}}}"


def _goal(lineage: Lineage) -> str:
    return "" if lineage.objective else ", by the name of one of its scores in place of SCORE"


def _base(lineage: Lineage) -> str:
    return "" if lineage.base == "base" else f"base: {lineage.base}, "
