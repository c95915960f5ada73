"""What the gates judge, and whether the scores and models that they name exist and fit their rules."""

from pipelines.engine.graph import Node
from pipelines.engine.stage import ScoresRef
from pipelines.evaluate.config import Suite, score_groups
from pipelines.gate.config import STAGE as GATE
from pipelines.gate.config import THRESHOLDS, Gate, GateConfig
from pipelines.gate.units import alike, reaches
from pipelines.recipe.measure import Asked, Scores, candidate_of, seeds_of
from pipelines.recipe.mistakes import at
from pipelines.recipe.names import Names
from pipelines.recipe.recipe import Recipe
from pipelines.recipe.served import judged_suite
from pipelines.recipe.shape import Path
from pipelines.recipe.suites import check_known, suite_of


def verdict(recipe: Recipe, names: Names, scores: Scores) -> Node | None:
    """The node that judges the candidate; none without gates."""
    judged = candidate_of(recipe)
    checked = [_check_gate(recipe, names, place) for place, _ in enumerate(recipe.gates)]
    _check_seeds(recipe, names, judged)
    paired = any(gate.rule != "at_least" for _, gate in recipe.gates)
    if not (recipe.gates and all(checked) and judged) or (paired and not names.needs_base(("gates",))):
        return None
    if judged.name == "base" and paired:
        names.problems.append(at(recipe.origin(judged.path), judged.path, "the base is not judged against itself"))
        return None
    suites = list(dict.fromkeys(judged_suite(gate) for _, gate in recipe.gates))
    if any(judged.name not in scores.get(suite, {}) for suite in suites):
        return None
    seeds = [one.name for one in seeds_of(recipe)]
    config = GateConfig(
        candidate={suite: scores[suite][judged.name] for suite in suites},
        base={suite: scores[suite]["base"] for suite in suites if "base" in scores[suite]},
        seeds={suite: found for suite in suites if (found := _of(seeds, scores[suite]))},
        gates=tuple(_linked(names, place, gate) for place, gate in recipe.gates),
    )
    return Node("gate", GATE, config)


def _linked(names: Names, place: int, gate: Gate) -> Gate:
    """The gate with the suite that it judges, and the id of the export that it goes through."""
    if gate.through is None:
        return gate
    export = names.id_of(gate.through, ("gates", place, "through"))
    return gate.model_copy(update={"suite": judged_suite(gate), "through": export})


def _of(models: list[str], scores: dict[str, ScoresRef]) -> tuple[ScoresRef, ...]:
    return tuple(scores[model] for model in models if model in scores)


def _check_gate(recipe: Recipe, names: Names, number: int) -> bool:
    place, gate = recipe.gates[number]
    path: Path = ("gates", place)
    suite = suite_of(recipe, names, gate.suite, (*path, "suite"))
    if suite is None:
        return False
    groups = score_groups(suite)
    if gate.metric is not None:
        check_known(recipe, names, (*path, "metric"), gate.metric, groups, f"score of suite '{gate.suite}'")
    if gate.group is not None:
        check_known(recipe, names, (*path, "group"), gate.group, groups.values(), f"group of suite '{gate.suite}'")
    _check_mean(recipe, names, gate, suite, (*path, "mean"))
    _check_reach(recipe, names, gate, suite, (*path, THRESHOLDS[gate.rule]))
    return True


def _check_reach(recipe: Recipe, names: Names, gate: Gate, suite: Suite, path: Path) -> None:
    """A margin of 2 on shares lets everything pass; whoever writes it means 2 points."""
    judged = [name for name, group in score_groups(suite).items() if gate.metric == name or gate.group == group]
    for name in judged:
        if not reaches(name.partition("/")[2], gate.threshold):
            what, fix = f"{name} lies between 0 and 1", f"Write points as a share: {gate.threshold / 100:g}"
            names.problems.append(at(recipe.origin(path), path, what, f"{gate.threshold:g}", fix))
            return


def _check_mean(recipe: Recipe, names: Names, gate: Gate, suite: Suite, path: Path) -> None:
    """A mean of percent and bits per byte is a number of nothing."""
    found = [name for name, group in score_groups(suite).items() if gate.mean and group == gate.group]
    for other in found[1:]:
        if not alike(found[0].partition("/")[2], other.partition("/")[2]):
            what = f"the scores of group '{gate.group}' have no common unit"
            fix = "Leave mean out, or give one of them another group"
            names.problems.append(at(recipe.origin(path), path, what, f"{found[0]} and {other}", fix))
            return


def _check_seeds(recipe: Recipe, names: Names, judged: Asked | None) -> None:
    """Every seed must be a model of its own, made in another way than the candidate and the other seeds."""
    known = [judged.name] if judged else []
    for one in seeds_of(recipe):
        if not recipe.gates:
            names.problems.append(at(recipe.origin(one.path), one.path, "there are no gates to tell seeds beside"))
            return
        if why := _no_seed(names, one.name, known, judged):
            names.problems.append(at(recipe.origin(one.path), one.path, *why))
        known.append(one.name)


def _no_seed(names: Names, name: str, known: list[str], judged: Asked | None) -> tuple[str, str, str] | None:
    """What is wrong with a model that is named as another seed, what was found and what would be right."""
    fix = "Name a model that was made like the candidate with another seed"
    if name == "base":
        return "the base was not made like the candidate", "", fix
    if name in known:
        same = "the candidate itself" if judged and name == judged.name else "named twice"
        return f"'{name}' is {same}", "", fix
    entry = names.entry(name)
    for other in known if entry and entry.config else []:
        twin = names.entry(other)
        if twin and entry and twin.section == entry.section and twin.config == entry.config:
            return f"'{name}' is made exactly like '{other}'", "", f"Give {entry.id} a seed of its own"
    return None
