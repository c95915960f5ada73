"""The nodes that an entry of the export section asks for: the export, and its formats in fewer bits."""

from pipelines.engine.graph import Node
from pipelines.engine.stage import DatasetRef, ExportRef, ModelRef, WeightsRef
from pipelines.errors import Problem
from pipelines.export.config import STAGE as EXPORT
from pipelines.export.config import ExportConfig, ExportEntry
from pipelines.quantize.config import CALIBRATED, LEVELS, QUANTIZE, QuantizeConfig, maker_of
from pipelines.recipe.formats import levels, part_id
from pipelines.recipe.mistakes import at
from pipelines.recipe.names import Names, kind_of, word
from pipelines.recipe.recipe import Entry, Recipe
from pipelines.recipe.shape import Path
from pipelines.serving.environments import pinned

_ADAPTER = "adapter"


def exports(recipe: Recipe, names: Names, entry: Entry, linked: ExportEntry) -> list[Node]:
    """The export and a node for each level. References of `linked`, which is the entry's config, are ids already."""
    _check_formats(recipe, names, entry)
    _check_base(recipe, names, entry)
    config = ExportConfig(
        model=linked.model,
        base=linked.base,
        dtype=linked.dtype,
        max_shard_size=linked.max_shard_size,
        engines=linked.engines,
    )
    whole = Node(entry.id, EXPORT, config.model_copy(update=_adapter(names, entry.config)))
    rows = _calibration(recipe, names, entry, linked)
    return [whole, *(_quantised(entry.id, linked, level, rows) for level in levels(linked))]


def _quantised(identity: str, entry: ExportEntry, level: str, rows: DatasetRef | None) -> Node:
    """One level. What is tried is measured as vLLM serves it, and so must be served."""
    calibrated, asked = level in CALIBRATED, entry.calibration
    looked = {"rows": asked.rows, "max_length": asked.max_length, "seed": asked.seed} if calibrated else {}
    tried = entry.quantize is not None and level in entry.quantize.levels
    config = QuantizeConfig(
        export=ExportRef(identity),
        level=level,
        calibration=rows if calibrated else None,
        maker=pinned(maker_of(level)),
        serve=level in LEVELS and (tried or "vllm" in entry.engines),
        **looked,
    )
    return Node(part_id(identity, level), QUANTIZE, config)


def _adapter(names: Names, entry: ExportEntry) -> dict[str, object]:
    """The adapter that the model was baked from: merged weights are compared with it even where it is not shipped."""
    source = names.entry(entry.model)
    if source is None or source.config is None or kind_of(source) != "adapter":
        return {}
    parent = ModelRef(names.base_of(source))
    return {"adapter": WeightsRef(source.id), "parent": parent, "ship_adapter": _ADAPTER in entry.formats}


def _check_formats(recipe: Recipe, names: Names, entry: Entry) -> None:
    """Every format once, and an adapter only where the model is one."""
    path: Path = (*entry.path, "formats")
    for place, one in enumerate(entry.config.formats):
        where = (*path, place)
        if one in entry.config.formats[:place]:
            names.problems.append(at(recipe.origin(where), where, f"{one} is named twice", "", "Leave one out"))
        elif one == _ADAPTER:
            names.problems += _no_adapter(recipe, names, entry.config, where)


def _check_base(recipe: Recipe, names: Names, entry: Entry) -> None:
    """A base that is named is another model; without one, the recipe's base itself may be shipped."""
    path: Path = (*entry.path, "base")
    if entry.config.base == entry.config.model and recipe.states(path):
        what, fix = "is the model that is exported, which must differ from its base", "Leave base out"
        names.problems.append(at(recipe.origin(path), path, what, repr(str(entry.config.base)), fix))


def _no_adapter(recipe: Recipe, names: Names, entry: ExportEntry, where: Path) -> list[Problem]:
    source = names.entry(entry.model)
    made = kind_of(source) if source else ""
    if made in ("", "adapter"):
        return []
    what = f"'{entry.model}' makes {word(made)}, and no adapter can be shipped of it"
    trained = [name for name in names.fitting(WeightsRef("any")) if _makes_adapter(names, name)]
    fix = f"Leave adapter out, or set model: {trained[0]}" if trained else "Leave adapter out"
    return [at(recipe.origin(where), where, what, "", fix)]


def _makes_adapter(names: Names, name: str) -> bool:
    entry = names.entry(name)
    return entry is not None and kind_of(entry) == "adapter"


def _calibration(recipe: Recipe, names: Names, entry: Entry, linked: ExportEntry) -> DatasetRef | None:
    """The dataset that levels are calibrated on: the one named, else the only one there is."""
    looking = [level for level in levels(linked) if level in CALIBRATED]
    if linked.calibration.on is not None or not looking:
        return linked.calibration.on
    known = [one for one in recipe.entries.values() if one.section == "data" and ":" not in one.name]
    if len(known) == 1:
        return DatasetRef(known[0].id)
    got = f"there are {', '.join(one.name for one in known)}" if known else "the recipe has no data"
    fix = f"Add calibration: {{on: {known[0].name if known else '{files: ROWS.jsonl}'}}}"
    what = f"{', '.join(looking)} {'look' if len(looking) > 1 else 'looks'} at rows: say of which dataset"
    where: Path = (*entry.path, "calibration")
    names.problems.append(at(recipe.origin(where), where, what, got, fix))
    return None
