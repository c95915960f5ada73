"""Suites that are measured on exports as vLLM serves them: for gates that judge what is shipped, and to choose a level.

A suite through an export is one of its own, named `test.ship`: its scores are compared with each other alone.
"""

from collections.abc import Iterable

from pipelines.engine.graph import Node
from pipelines.engine.stage import ExportRef, Ref, ScoresRef, ServableRef
from pipelines.evaluate.config import STAGE as EVALUATE
from pipelines.evaluate.config import Backend, Suite, Vllm, score_groups
from pipelines.export.config import ExportEntry, Quantize
from pipelines.gate.config import Gate
from pipelines.quantize.config import CHOOSE, GGUF, ChooseConfig, Trial
from pipelines.recipe.formats import CHOSEN, part_id, part_of
from pipelines.recipe.measure import Asked, Scores, candidate_of, evaluation
from pipelines.recipe.mistakes import at
from pipelines.recipe.names import Names
from pipelines.recipe.recipe import Recipe
from pipelines.recipe.sections import EvaluateSection
from pipelines.recipe.shape import Path
from pipelines.recipe.suites import check_known, check_not_gated, suite_of

DEFAULT_DROP = 0.01
_DEFAULT_GROUPS = ("target", "general")


def suite_through(suite: str, export: str) -> str:
    """The name of a suite that is measured through an export; no suite of a recipe has a dot in its name."""
    return f"{suite}.{export}"


def judged_suite(gate: Gate) -> str:
    """The suite whose scores a gate judges."""
    return suite_through(gate.suite, gate.through) if gate.through else gate.suite


def through_gates(recipe: Recipe, names: Names) -> tuple[list[Node], Scores]:
    """The candidate's export and the base, measured alike, on the suite of each gate that goes through an export."""
    nodes: dict[str, Node] = {}
    scores: Scores = {}
    judged = candidate_of(recipe)
    for place, gate in recipe.gates:
        path: Path = ("gates", place)
        before = len(names.problems)
        suite = _suite(recipe, names, gate, path)
        export = names.id_of(gate.through, (*path, "through")) if gate.through else None
        if export is not None and judged and suite:
            _check_through(recipe, names, gate, judged, (*path, "through"))
        if recipe.evaluate is None or suite is None or export is None or not judged or len(names.problems) > before:
            continue
        title, part = judged_suite(gate), part_of(export)
        backend = _backend(recipe.evaluate, names, str(gate.through), part != "")
        models: dict[str, Ref] = {"base": ServableRef("base")} if "base" in recipe.entries else {}
        for name, ref in (models | {judged.name: export}).items():
            config = evaluation(recipe, names, ServableRef(ref), suite, backend)
            node = Node(f"evaluate.{name}@{title}", EVALUATE, config)
            nodes[node.id] = node
            scores.setdefault(title, {})[name] = ScoresRef(node.id)
    return list(nodes.values()), scores


def choices(recipe: Recipe, names: Names) -> list[Node]:
    """For every export that a level is chosen for, the measurements of its levels and the choice."""
    nodes: list[Node] = []
    for name, entry in recipe.configs("export").items():
        if not isinstance(entry, ExportEntry) or entry.quantize is None:
            continue
        path: Path = ("export", name, "quantize")
        check_not_gated(recipe, names, entry.quantize.suite, path, "choosing a level")
        whole = suite_of(recipe, names, entry.quantize.suite, (*path, "suite"))
        limits = _limits(recipe, names, entry.quantize, whole, path) if whole else {}
        suite = _without_drift(whole, names, entry.quantize.suite) if whole else None
        if recipe.evaluate and suite and limits:
            nodes += _choice(recipe, recipe.evaluate, names, name, entry.quantize, suite, limits)
    return nodes


def _choice(
    recipe: Recipe,
    section: EvaluateSection,
    names: Names,
    name: str,
    asked: Quantize,
    suite: Suite,
    limits: dict[str, float],
) -> Iterable[Node]:
    identity, title = f"export.{name}", suite_through(asked.suite, name)
    backend = _backend(section, names, name, True)
    trials = []
    for level in ("", *asked.levels):
        export = ExportRef(part_id(identity, level) if level else identity)
        config = evaluation(recipe, names, ServableRef(export), suite, backend)
        node = Node(f"evaluate.{export.removeprefix('export.')}@{title}", EVALUATE, config)
        trials.append(Trial(export=export, scores=ScoresRef(node.id)))
        yield node
    config_ = ChooseConfig(unquantised=trials[0], trials=tuple(trials[1:]), max_drop=limits)
    yield Node(part_id(identity, CHOSEN), CHOOSE, config_)


def _limits(recipe: Recipe, names: Names, asked: Quantize, suite: Suite, path: Path) -> dict[str, float]:
    """The largest loss of each group; where none is stated, the default of the groups that the suite has."""
    measured = set(score_groups(suite)) - set(_of_drift(suite))
    groups = [group for score, group in score_groups(suite).items() if score in measured]
    for group in asked.max_drop or ():
        where = (*path, "max_drop", group)
        check_known(recipe, names, where, group, groups, f"group of suite '{asked.suite}' that vLLM can measure")
    limits = asked.max_drop or {group: DEFAULT_DROP for group in _DEFAULT_GROUPS if group in groups}
    if not limits:
        what = f"suite '{asked.suite}' has neither target nor general scores, whose loss is limited by default"
        fix = (
            f"Name groups: max_drop: {{{groups[0]}: {DEFAULT_DROP}}}" if groups else "Name a suite with tasks or texts"
        )
        names.problems.append(at(recipe.origin(path), path, what, "", fix))
    return limits


def _suite(recipe: Recipe, names: Names, gate: Gate, path: Path) -> Suite | None:
    """The suite of a gate as an export can be measured on it; that the gate itself needs drift is noted."""
    suites = recipe.evaluate.suites if recipe.evaluate else {}
    suite = suites.get(gate.suite)
    if suite is None or gate.through is None:
        return None
    drifts = _of_drift(suite)
    asked = [name for name in drifts if name == gate.metric or drifts[name] == gate.group]
    if asked:
        what = f"{asked[0]} needs whole distributions, and what is served gives none"
        fix = "Leave through out, or judge a score of tasks or texts"
        names.problems.append(at(recipe.origin(path), path, what, "", fix))
        return None
    return _without_drift(suite, names, gate.suite)


def _of_drift(suite: Suite) -> dict[str, str]:
    """The scores of drift, and their groups."""
    return {name: group for name, group in score_groups(suite).items() if name.partition("/")[0] in suite.drift}


def _without_drift(suite: Suite, names: Names, name: str) -> Suite | None:
    """What can be measured of a suite through a server, with ids in place of names."""
    if not suite.tasks and not suite.texts:
        return None
    return names.resolved(suite.model_copy(update={"drift": {}}), ("evaluate", "suites", name))


def _check_through(recipe: Recipe, names: Names, gate: Gate, judged: Asked, path: Path) -> None:
    """The export must be of the model that is judged, and one that vLLM serves."""
    name = str(gate.through)
    entry, candidate = names.entry(name), names.entry(judged.name)
    if entry is None or entry.section != "export" or entry.config is None:
        return
    if part_of(f"export.{name}") in GGUF:
        what = f"'{name}' is a GGUF file, which vLLM does not serve here"
        names.problems.append(at(recipe.origin(path), path, what, "", f"Name {entry.name}"))
    of_export = candidate and candidate.section == "export" and candidate.config
    model = candidate.config.model if candidate and of_export else judged.name
    if entry.config.model != model:
        what = f"'{entry.name}' is an export of '{entry.config.model}', but '{model}' is judged"
        fix = f"Name an export of '{model}', or set evaluate.candidate: {entry.config.model}"
        names.problems.append(at(recipe.origin(path), path, what, "", fix))


def _backend(section: EvaluateSection, names: Names, export: str, in_fewer_bits: bool) -> Backend:
    """vLLM, as the recipe sets it or as it is.

    Whatever is compared is served in one type: that of the export, or where levels are compared the half precision
    that these compute in.
    """
    backend = section.backend if isinstance(section.backend, Vllm) else Vllm(kind="vllm")
    entry = names.entry(export)
    stated = entry.config.dtype if entry and entry.config else "keep"
    dtype = "half" if in_fewer_bits and stated in ("keep", "float32") else stated
    return backend if backend.dtype != "auto" or dtype == "keep" else backend.model_copy(update={"dtype": dtype})
