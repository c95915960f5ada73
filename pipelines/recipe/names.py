"""From the names that a recipe uses to the ids of nodes: kinds checked, adapters baked where a model is wanted."""

from typing import Any, TypeVar

from pipelines.engine.graph import Node
from pipelines.engine.stage import Config, DatasetRef, ModelRef, Ref, WeightsRef
from pipelines.errors import Problem
from pipelines.merge.config import STAGE as MERGE
from pipelines.merge.config import Member, MergeConfig, Quantised
from pipelines.merge.kinds import Linear
from pipelines.recipe.formats import part_id, parts
from pipelines.recipe.mistakes import at, closest
from pipelines.recipe.places import rewritten
from pipelines.recipe.recipe import Entry, Recipe
from pipelines.recipe.sections import ENTRIES
from pipelines.recipe.shape import Path, written
from pipelines.recipe.yaml_file import below

C = TypeVar("C", bound=Config)
_KINDS = {"data": "dataset", "replay": "dataset", "select": "model"}
_WORDS = {"adapter": "an adapter", "export": "an export"}
_BAKED = "+base"


class Names:
    """The names of a recipe, the problems met in looking them up, and the adapters that were wanted as models."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.problems: list[Problem] = []
        self.baked: dict[str, Entry] = {}
        self._told_of_base = False
        self._entries: dict[str, Entry] = {}
        for entry in recipe.entries.values():
            self._entries.setdefault(entry.name, entry)

    def resolved(self, config: C, path: Path) -> C:
        """The config, which stands at `path` of the recipe, with node ids in place of names."""

        def change(value: Any, place: Path) -> Any:
            return self.id_of(value, (*path, *place)) if isinstance(value, Ref) else value

        found: C = rewritten(config, change)
        return found

    def id_of(self, ref: Ref, path: Path) -> Ref:
        """The node that a reference at `path` means. A problem is noted where it means none."""
        entry = self._entries.get(str(ref))
        if entry is None:
            return self._part(ref, path)
        kind = kind_of(entry)
        if kind == "adapter" and "adapter" not in ref.wants and "model" in ref.wants:
            self.baked[entry.name] = entry
            return type(ref)(f"merge.{entry.name}{_BAKED}")
        if kind and kind not in ref.wants:
            self._misfit(ref, path, kind)
            return ref
        return type(ref)(entry.id)

    def _part(self, ref: Ref, path: Path) -> Ref:
        """The node that makes a format of an export, which is named as `entry.format`."""
        name, _, part = str(ref).rpartition(".")
        entry = self._entries.get(name)
        if entry is None or entry.section != "export":
            self._unknown(ref, path)
        elif "export" not in ref.wants:
            self._misfit(ref, path, "export")
        elif entry.config and part not in parts(entry.config):
            fix = f"There are {', '.join(f'{name}.{known}' for known in parts(entry.config))}"
            what = f"'{name}' makes no such format"
            self.problems.append(
                at(self.recipe.origin(path), path, what, f"'{part}'", closest(part, parts(entry.config)) or fix)
            )
        else:
            return type(ref)(part_id(entry.id, part))
        return ref

    def _misfit(self, ref: Ref, path: Path, kind: str) -> None:
        wanted = " or ".join(word(want) for want in reversed(ref.wants))
        what = f"wants {wanted}, but '{ref}' makes {word(kind)}"
        self.problems.append(at(self.recipe.origin(path), path, what))

    def check_written(self, entry: Entry) -> None:
        """Look up what an entry refers to although its config is wrong elsewhere."""
        config, item = ENTRIES.get(entry.section), below(self.recipe.item, entry.path)
        if config and item:
            for wanted, text, place in written(config, item, Ref):
                if text:
                    self.id_of(wanted(text), (*entry.path, *place))

    def entry(self, name: str) -> Entry | None:
        """The entry of that name; of a format of an export, as `entry.format`, the export."""
        whole = self._entries.get(name.rpartition(".")[0])
        return self._entries.get(name) or (whole if whole and whole.section == "export" else None)

    def bakes(self) -> list[Node]:
        """Merges that make models of the adapters that were wanted as models, each onto the base it was trained from.

        A base may be an adapter itself; then it is baked first.
        """
        nodes: list[Node] = []
        done: set[str] = set()
        while pending := [entry for name, entry in self.baked.items() if name not in done]:
            for entry in pending:
                done.add(entry.name)
                config = MergeConfig(
                    base=ModelRef(self.base_of(entry)),
                    models=(Member(use=WeightsRef(entry.id)),),
                    method=Linear(kind="linear"),
                    quantised=self.quantised(entry),
                )
                nodes.append(Node(f"merge.{entry.name}{_BAKED}", MERGE, config))
        return nodes

    def base_of(self, entry: Entry) -> Ref:
        """The node that an entry's adapter is a difference from: for one from elsewhere, the base of the recipe."""
        written = ModelRef("base") if entry.section == "base" else entry.config.base
        return self.id_of(written, (*entry.path, "base"))

    def quantised(self, entry: Entry) -> Quantised | None:
        """The 4-bit base that an entry's adapter was trained on, and its dataset; None for any other entry."""
        if entry.section != "train" or entry.config.method.kind != "qlora":
            return None
        rows = self.id_of(entry.config.on, (*entry.path, "on"))
        return Quantised(
            rows=DatasetRef(rows),
            double_quant=entry.config.method.double_quant,
            precision=entry.config.precision,
        )

    def needs_base(self, path: Path) -> bool:
        """Whether there is a base, which the value at `path` needs. That there is none is said once."""
        if "base" not in self.recipe.entries and not self._told_of_base:
            self._told_of_base = True
            fix = "Add a base: section, or name a model here"
            what = "needs the base, and the recipe has none"
            self.problems.append(at(self.recipe.origin(path), path, what, "", fix))
        return "base" in self.recipe.entries

    def _unknown(self, ref: Ref, path: Path) -> None:
        if ref == "base":
            self.needs_base(path)
            return
        named = str(ref).partition(".")[2]
        fix = f"Did you mean '{named}'?" if self.entry(named) else closest(str(ref), self.fitting(ref))
        known = ", ".join(self.fitting(ref))
        fix = fix or closest(str(ref), self._entries) or (f"There are {known}" if known else "")
        self.problems.append(at(self.recipe.origin(path), path, "no entry has this name", f"'{ref}'", fix))

    def fitting(self, ref: Ref) -> list[str]:
        """The names that would do."""
        wants = {*ref.wants, "adapter"} if "model" in ref.wants else set(ref.wants)
        return [name for name, entry in self._entries.items() if ":" not in name and kind_of(entry) in wants]


def kind_of(entry: Entry) -> str:
    """The kind of artifact that an entry makes; nothing where its config is too broken to say."""
    if entry.section == "base":
        return "adapter" if entry.id != "base" and entry.config and entry.config.adapter else "model"
    if entry.section == "train":
        return ("model" if entry.config.method.kind == "full" else "adapter") if entry.config else ""
    if entry.section == "merge":
        return entry.config.output if entry.config else ""
    return _KINDS.get(entry.section, entry.section)


def name_of(identity: str) -> str:
    """The name by which the recipe knows a node."""
    return identity.partition(".")[2].removesuffix(_BAKED) or identity


def word(kind: str) -> str:
    """A kind of artifact in a sentence."""
    return _WORDS.get(kind, f"a {kind}" if kind != "scores" else kind)
