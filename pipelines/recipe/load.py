"""Load a recipe: read, lay over, check every entry, and say everything that is wrong at once."""

import re
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import TypeVar

from pydantic import ValidationError

from pipelines.base.config import BaseConfig
from pipelines.engine.home import project_root
from pipelines.engine.stage import Config, InputPath
from pipelines.errors import Problem, UserError
from pipelines.gate.config import Gate
from pipelines.prepare.config import PrepareConfig
from pipelines.recipe.compile import link
from pipelines.recipe.files import Missing, absolute
from pipelines.recipe.inline import Inline, lift
from pipelines.recipe.mistakes import at, closest, in_order, translate
from pipelines.recipe.overlay import read_recipe
from pipelines.recipe.places import rewritten, with_seed
from pipelines.recipe.recipe import Entry, Recipe
from pipelines.recipe.sections import ENTRIES, NAME, RESERVED, EvaluateSection, Head, Sections
from pipelines.recipe.shape import Path, fields_of, written
from pipelines.recipe.yaml_file import Item, Origin, origin_of, plain, read_yaml, shown
from pipelines.report.config import ReportEntry

C = TypeVar("C", bound=Config)
__all__ = ["Recipe", "load"]


def load(path: FilePath, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in the file, with `--set` settings over it. Raises UserError with every problem there is."""
    root = project_root(path)
    raw = read_recipe(path, overrides)
    reader = _Reader(root, raw)
    recipe = reader.recipe(path, overrides)
    if reader.problems:
        raise UserError(*in_order([*reader.problems, *link(recipe).problems]))
    return recipe


class _Reader:
    """Collects problems while the sections become configs."""

    def __init__(self, root: FilePath, raw: Item) -> None:
        self.root = root
        self.problems: list[Problem] = []
        self.inline: dict[str, Inline] = {}
        self.bad_suite = False
        self.item = lift(Sections, self._with_suites(raw), (), self.inline)
        self.seed = 0

    def recipe(self, path: FilePath, overrides: Sequence[str]) -> Recipe:
        """All sections, the broken ones left out."""
        self._unknown_sections()
        head = self._head()
        self.seed = head.seed if head else 0
        entries = self._entries()
        report = self.item.value.get("report")
        return Recipe(
            path=path,
            root=self.root,
            name=(head.name if head else "") or re.sub(r"[^A-Za-z0-9_-]", "-", path.stem),
            seed=self.seed,
            overrides=tuple(overrides),
            entries=entries,
            evaluate=self._evaluate(),
            gates=self._gates(),
            report=(self._typed(ReportEntry, report, ("report",)) if report else None) or ReportEntry(),
            item=self.item,
        )

    def _unknown_sections(self) -> None:
        known = fields_of(Sections)
        for name, item in self.item.value.items():
            if name not in known:
                fix = closest(name, known) or f"Sections: {', '.join(known)}"
                self.problems.append(at(item.origin, (name,), "unknown section", "", fix))

    def _head(self) -> Head | None:
        told = {key: item for key, item in self.item.value.items() if key in Head.model_fields}
        return self._typed(Head, Item(told, self.item.origin), ())

    def _entries(self) -> dict[str, Entry]:
        """The base, the named entries of every section, and the sources written inside of others."""
        found: dict[str, Entry] = {}
        if base := self.item.value.get("base"):
            found["base"] = Entry("base", "base", "base", ("base",), self._typed(BaseConfig, base, ("base",)))
        named: dict[str, Origin] = {}
        for section, config in ENTRIES.items():
            for name, item in self._mapping(section).items():
                path = (section, name)
                self._check_name(name, item.origin, path, named)
                entry = Entry(f"{section}.{name}", name, section, path, self._typed(config, item, path))
                found[entry.id] = entry
        for identity, source in self.inline.items():
            wanted: type[Config] = BaseConfig if source.section == "base" else PrepareConfig
            made = self._typed(wanted, source.item, source.path)
            found[identity] = Entry(identity, identity, source.section, source.path, made)
        return found

    def _evaluate(self) -> EvaluateSection | None:
        item = self.item.value.get("evaluate")
        section = self._typed(EvaluateSection, item, ("evaluate",)) if item else None
        return section if not self.bad_suite else None

    def _mapping(self, section: str) -> dict[str, Item]:
        item = self.item.value.get(section, Item({}, self.item.origin))
        if isinstance(item.value, dict):
            return item.value
        self.problems.append(at(item.origin, (section,), "must be a mapping of names to entries", shown(item)))
        return {}

    def _check_name(self, name: str, origin: Origin, path: Path, named: dict[str, Origin]) -> None:
        if name in RESERVED:
            self.problems.append(at(origin, path, f"the name '{name}' is taken by the recipe itself"))
        elif name in named:
            self.problems.append(at(origin, path, f"the name '{name}' is already used at {named[name]}"))
        elif not re.match(NAME, name):
            self.problems.append(at(origin, path, "names are made of letters, digits, _ and -", f"'{name}'"))
        named.setdefault(name, origin)

    def _gates(self) -> tuple[tuple[int, Gate], ...]:
        item = self.item.value.get("gates", Item([], self.item.origin))
        if not isinstance(item.value, list):
            self.problems.append(at(item.origin, ("gates",), "must be a list", shown(item)))
            return ()
        gates = ((place, self._typed(Gate, one, ("gates", place))) for place, one in enumerate(item.value))
        return tuple((place, gate) for place, gate in gates if gate)

    def _typed(self, config: type[C], item: Item, path: Path) -> C | None:
        """The value as a config, seeds filled in and paths absolute; None where it is wrong."""
        if not isinstance(item.value, dict):
            self.problems.append(at(item.origin, path, "must be a mapping", shown(item)))
            return None
        try:
            checked = config.model_validate(plain(item))
        except ValidationError as error:
            self.problems += translate(error, config, item, path)
            for _, text, place in written(config, item, InputPath):
                self._absolute(text, item, path, place)
            return None
        seeded: C = checked if config is Head else with_seed(checked, self.seed)
        return self._located(seeded, item, path)

    def _located(self, config: C, item: Item, path: Path) -> C | None:
        before = len(self.problems)

        def change(value: object, place: Path) -> object:
            return self._absolute(value, item, path, place) if isinstance(value, InputPath) else value

        located: C = rewritten(config, change)
        return located if len(self.problems) == before else None

    def _absolute(self, value: str, item: Item, path: Path, place: Path) -> object:
        try:
            return absolute(value, self.root, globs="files" in place)
        except Missing as error:
            self.problems.append(at(origin_of(item, place), (*path, *place), error.what, f"'{value}'", error.fix))
            return InputPath(value)

    def _with_suites(self, raw: Item) -> Item:
        """The recipe with every suite in place of the path of its file."""
        evaluate = raw.value.get("evaluate")
        suites = evaluate.value.get("suites") if evaluate and isinstance(evaluate.value, dict) else None
        if suites is None or not isinstance(suites.value, dict):
            return raw
        read = {name: self._suite(name, item) for name, item in suites.value.items()}
        inner = evaluate.value | {"suites": Item({k: v for k, v in read.items() if v}, suites.origin)}
        return Item(raw.value | {"evaluate": Item(inner, evaluate.origin)}, raw.origin)

    def _suite(self, name: str, item: Item) -> Item | None:
        path = ("evaluate", "suites", name)
        if not re.match(NAME, name):
            self.problems.append(at(item.origin, path, "names are made of letters, digits, _ and -", f"'{name}'"))
        if not isinstance(item.value, str):
            return item
        try:
            return read_yaml(FilePath(str(absolute(item.value, self.root, globs=False))))
        except Missing as error:
            self.problems.append(at(item.origin, path, error.what, f"'{item.value}'", error.fix))
        except UserError as error:
            self.problems += error.problems
        self.bad_suite = True
        return None
