"""Everything that is wrong with the files of a recipe, told before anything is started."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from pipelines.errors import Problem, UserError
from pipelines.prepare.card import card_of, meaning_of
from pipelines.prepare.config import PrepareConfig, Source
from pipelines.prepare.files import PARQUET, read_file, readable, shown
from pipelines.prepare.formats import BrokenRow, Meaning, NoColumn, example, named_split, roles
from pipelines.prepare.generators import generator, settings_of


def check(config: PrepareConfig) -> list[Problem]:
    """The first problems of the source, and how many more there are."""
    try:
        meaning = meaning_of(config, card_of(config))
        if config.source.generator is not None:
            settings = settings_of(None if config.source.settings is None else Path(config.source.settings))
            next(generator(config.source.generator)(settings, config.seed), None)
    except UserError as error:
        return list(error.problems)
    known = roles(meaning.format)
    unknown = [role for role in meaning.columns if role not in known]
    if unknown:
        fix = f"Roles of {meaning.format}: {', '.join(known)}"
        return [Problem("columns", "is no role of this format", role, fix) for role in unknown]
    return at_most(problem for path in files_of(config.source) for problem in _file(path, meaning, config.split.column))


def files_of(source: Source) -> list[Path]:
    """The files that a source names."""
    named = source.files or ()
    return [Path(path) for path in (named if isinstance(named, tuple) else (named,))]


def at_most(problems: Iterable[Problem], most: int = 20) -> list[Problem]:
    """The first problems and one that counts the rest."""
    found = iter(problems)
    first = list(islice(found, most))
    rest = sum(1 for _ in found)
    return [*first, Problem("", f"and {rest} more problems in the data")] if rest else first


def row_problem(where: str, broken: BrokenRow) -> Problem:
    """A broken row as the user reads of it."""
    return Problem(where, broken.what, broken.got, broken.fix)


def _file(path: Path, meaning: Meaning, split: str | None) -> Iterator[Problem]:
    """Problems of one file, row by row; a column that its first row lacks is told once."""
    name = shown(path)
    if not path.is_file():
        yield Problem(name, "is a folder" if path.is_dir() else "there is no such file", fix="Name the data files")
    elif path.suffix == PARQUET:
        yield from _parquet(path)
    elif not readable(path):
        yield Problem(name, "has an unknown ending", path.suffix, "Known: .jsonl, .json, .csv, .parquet")
    else:
        rows = 0
        for rows, found in enumerate(read_file(path), 1):
            where = f"{name}:{found.line}"
            try:
                if found.row is None:
                    raise BrokenRow(found.what, found.got)
                example(found.row, meaning)
                named_split(found.row, split)
            except NoColumn as broken:
                yield row_problem(where, broken)
                if rows == 1:
                    return
            except BrokenRow as broken:
                yield row_problem(where, broken)
        if not rows:
            yield Problem(name, "holds no rows")


def _parquet(path: Path) -> Iterator[Problem]:
    """A whole parquet file begins and ends with the same four bytes; its rows are read when the stage runs."""
    with path.open("rb") as file:
        begins = file.read(4)
        file.seek(-min(4, path.stat().st_size), 2)
        if begins != b"PAR1" or file.read(4) != b"PAR1":
            yield Problem(shown(path), "is not a whole Parquet file", fix="Download or write it again")
