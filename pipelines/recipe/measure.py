"""Which model is measured on which suite, and how."""

from collections.abc import Iterable
from typing import NamedTuple

from pipelines.engine.graph import Node
from pipelines.engine.stage import ModelRef, ScoresRef, ServableRef, refs
from pipelines.evaluate.config import STAGE as EVALUATE
from pipelines.evaluate.config import Backend, EvaluateConfig, Hf, Server, Suite, Vllm, score_groups
from pipelines.quantize.config import GGUF
from pipelines.recipe.formats import part_of
from pipelines.recipe.mistakes import at
from pipelines.recipe.names import Names
from pipelines.recipe.recipe import Recipe
from pipelines.recipe.shape import Path
from pipelines.recipe.suites import check_known, check_not_gated, suite_of
from pipelines.search.config import MergeEntry
from pipelines.select.config import STAGE as SELECT
from pipelines.select.config import Candidate, SelectConfig, SelectEntry

Scores = dict[str, dict[str, ScoresRef]]
"""Suite to the name of a model to its scores; the base comes first."""
_SERVABLE = (("evaluate", "models"), ("evaluate", "candidate"))


class Asked(NamedTuple):
    """A model that is to be measured, and the place in the recipe that asks for it."""

    name: str
    path: Path


def candidate_of(recipe: Recipe) -> Asked | None:
    """The model that is judged: the one named, else the one exported, else selected, else made last."""
    if recipe.evaluate and recipe.evaluate.candidate:
        return Asked(recipe.evaluate.candidate, ("evaluate", "candidate"))
    exported = {str(getattr(config, "model", "")): name for name, config in recipe.configs("export").items()}
    if len(exported) == 1:
        return next(Asked(model, ("export", name, "model")) for model, name in exported.items())
    selected = [entry for entry in recipe.entries.values() if entry.section == "select"]
    if len(selected) == 1:
        return Asked(selected[0].name, selected[0].path)
    last = _last_models(recipe)
    return last[0] if len(last) == 1 else None


def _last_models(recipe: Recipe) -> list[Asked]:
    """The models that nothing else is made from, but for those that only differ from another by their seed."""
    makers = [entry for entry in recipe.entries.values() if entry.section in ("train", "merge", "select")]
    used = {str(ref) for entry in makers if entry.config for ref in refs(entry.config)}
    used |= {one.name for one in seeds_of(recipe)}
    return [Asked(entry.name, entry.path) for entry in makers if entry.name not in used]


def seeds_of(recipe: Recipe) -> list[Asked]:
    """The models that were made like the candidate with other seeds."""
    named = recipe.evaluate.seeds if recipe.evaluate else ()
    return [Asked(str(ref), ("evaluate", "seeds", place)) for place, ref in enumerate(named)]


def to_measure(recipe: Recipe, names: Names) -> dict[str, list[Asked]]:
    """The models of each suite: base, candidate and `models`; for one that is selected on, what it picks from.

    What was picked has its scores already: those of the model that it is. Other seeds are measured where gates judge.
    """
    if recipe.evaluate is None:
        return {}
    base = [Asked("base", ("base",))] if "base" in recipe.entries else []
    judged = candidate_of(recipe)
    shown = [Asked(str(ref), ("evaluate", "models", place)) for place, ref in enumerate(recipe.evaluate.models)]
    wanted = {suite: list(base) for suite in recipe.evaluate.suites}
    picked = _by_suite(recipe)
    gated = {gate.suite for _, gate in recipe.gates}
    for suite, asked in wanted.items():
        asked += picked.get(suite, [*([judged] if judged else []), *shown])
        asked += seeds_of(recipe) if suite in gated else []
    if judged is None and not shown and (recipe.gates or _last_models(recipe)):
        _ask_for_candidate(recipe, names)
    elif wanted and not any(wanted.values()):
        what = "there is nothing to measure: neither a base nor models"
        names.problems.append(at(recipe.origin(("evaluate",)), ("evaluate",), what))
    return {suite: _once(asked) for suite, asked in wanted.items()}


def _once(asked: Iterable[Asked]) -> list[Asked]:
    """Every model once, where it is asked for first."""
    found: dict[str, Asked] = {}
    for one in asked:
        found.setdefault(one.name, one)
    return list(found.values())


def _by_suite(recipe: Recipe) -> dict[str, list[Asked]]:
    """The models that are picked from on each suite; a search measures its candidates itself."""
    found: dict[str, list[Asked]] = {}
    for name, config in recipe.configs("select").items():
        if isinstance(config, SelectEntry):
            asked = [Asked(str(ref), ("select", name, "from", place)) for place, ref in enumerate(config.from_)]
            found.setdefault(config.suite, []).extend(asked)
    for config in recipe.configs("merge").values():
        if isinstance(config, MergeEntry) and config.search:
            found.setdefault(config.search.suite, [])
    return found


def _ask_for_candidate(recipe: Recipe, names: Names) -> None:
    path: Path = ("gates",) if recipe.gates else ("evaluate",)
    made = [one.name for one in _last_models(recipe)]
    got = f"{', '.join(made)} would do" if made else "no model is made"
    fix = f"Add evaluate: {{candidate: {made[0] if made else 'NAME'}}}"
    names.problems.append(at(recipe.origin(path), path, "it is not clear which model is judged", got, fix))


def evaluations(recipe: Recipe, names: Names, asked: dict[str, list[Asked]]) -> tuple[list[Node], Scores]:
    """A node for every model on every suite that it is measured on, and their ids."""
    nodes: list[Node] = []
    scores: Scores = {}
    section = recipe.evaluate
    if section is None:
        return nodes, scores
    _check_served(recipe, names, section.backend, asked)
    for name, models in asked.items():
        suite = names.resolved(section.suites[name], ("evaluate", "suites", name))
        _check_drift(recipe, names, suite, ("evaluate", "suites", name, "drift"))
        for one in models:
            model = _measured(recipe, names, section.backend, one)
            config = evaluation(recipe, names, model, suite, _backend(section.backend, one.name))
            node = Node(f"evaluate.{one.name}@{name}", EVALUATE, config)
            scores.setdefault(name, {})[one.name] = ScoresRef(node.id)
            nodes.append(node)
    return nodes, scores


def evaluation(recipe: Recipe, names: Names, model: ServableRef, suite: Suite, backend: Backend) -> EvaluateConfig:
    """One model on one suite, both by ids, with the settings of the evaluate section."""
    section = recipe.evaluate
    assert section is not None
    return EvaluateConfig(
        model=model,
        base=ModelRef("base" if "base" in recipe.entries else model),
        suite=suite,
        backend=backend,
        batch_size=section.batch_size,
        max_length=section.max_length,
        launch=names.resolved(section.launch, ("evaluate", "launch")),
    )


def _measured(recipe: Recipe, names: Names, backend: Backend, asked: Asked) -> ServableRef:
    """The node of a model that is measured; only `models` and `candidate` may name an export."""
    wanted = ServableRef if asked.path[:2] in _SERVABLE else ModelRef
    model = names.id_of(wanted(asked.name), asked.path)
    if model != asked.name and (why := _unmeasurable(part_of(model), backend)):
        names.problems.append(at(recipe.origin(asked.path), asked.path, *why))
    return ServableRef(model)


def _unmeasurable(part: str, backend: Backend) -> tuple[str, str, str] | None:
    """What is wrong with measuring this part of an export, what was found and what would be right."""
    if part in GGUF:
        return f"{part} is measured by no backend", "", "Name the export itself, or one of its other formats"
    if part and not isinstance(backend, Vllm):
        what = f"{part} is measured by vLLM alone"
        return what, f"backend {backend.kind}", "Use backend: {kind: vllm}, or name the export itself"
    return None


def _check_drift(recipe: Recipe, names: Names, suite: Suite, path: Path) -> None:
    """Drift is measured from the base, on whole distributions, which no server gives."""
    if not suite.drift:
        return
    names.needs_base(path)
    if recipe.evaluate and not isinstance(recipe.evaluate.backend, Hf):
        what = f"drift needs whole distributions, and backend {recipe.evaluate.backend.kind} gives none"
        names.problems.append(at(recipe.origin(path), path, what, "", "Use backend: {kind: hf}, or leave drift out"))


def _check_served(recipe: Recipe, names: Names, backend: Backend, asked: dict[str, list[Asked]]) -> None:
    """Names that a server knows models by must be those of models that are measured."""
    if isinstance(backend, Server):
        known = {one.name for models in asked.values() for one in models}
        for name in backend.models:
            path: Path = ("evaluate", "backend", "models", name)
            check_known(recipe, names, path, name, known, "model that is measured")


def _backend(backend: Backend, model: str) -> Backend:
    """A server with the name that it knows one model by, so that the names of others are no part of its scores."""
    if not isinstance(backend, Server):
        return backend
    return backend.model_copy(update={"models": {model: backend.models.get(model, model)}})


def selections(recipe: Recipe, names: Names, scores: Scores) -> list[Node]:
    """A node for every selection whose suite is there."""
    nodes = []
    for name, entry in recipe.configs("select").items():
        if not isinstance(entry, SelectEntry):
            continue
        path: Path = ("select", name)
        check_not_gated(recipe, names, entry.suite, path, "selecting")
        if _check_rule(recipe, names, entry, path) and names.needs_base(path):
            nodes.append(Node(f"select.{name}", SELECT, _selection(entry, names, scores[entry.suite], path)))
    return nodes


def _selection(entry: SelectEntry, names: Names, scores: dict[str, ScoresRef], path: Path) -> SelectConfig:
    candidates = (
        Candidate(model=ModelRef(names.id_of(ref, (*path, "from", place))), scores=scores[str(ref)])
        for place, ref in enumerate(entry.from_)
    )
    return SelectConfig(
        candidates=tuple(candidates),
        base=scores["base"],
        maximize=entry.maximize,
        minimize=entry.minimize,
        subject_to=entry.subject_to,
    )


def _check_rule(recipe: Recipe, names: Names, entry: SelectEntry, path: Path) -> bool:
    """Whether the suite of a selection is there; its score and groups are checked too."""
    if (entry.maximize is None) == (entry.minimize is None):
        names.problems.append(at(recipe.origin(path), path, "name exactly one of maximize and minimize"))
    suite = suite_of(recipe, names, entry.suite, (*path, "suite"))
    if suite is None:
        return False
    for key, score in (("maximize", entry.maximize), ("minimize", entry.minimize)):
        if score is not None:
            check_known(recipe, names, (*path, key), score, score_groups(suite), f"score of suite '{entry.suite}'")
    for group in entry.subject_to:
        groups = score_groups(suite).values()
        check_known(recipe, names, (*path, "subject_to", group), group, groups, f"group of suite '{entry.suite}'")
    return True
