"""Opening the source of a recipe: files, a hub dataset or a generator, each as rows that can be read again."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import load_dataset
from datasets.exceptions import DatasetNotFoundError

from pipelines.engine.digest import file_digest
from pipelines.errors import wrong
from pipelines.prepare.check import files_of
from pipelines.prepare.config import PrepareConfig, Source
from pipelines.prepare.files import PARQUET, Found, read_file, shown
from pipelines.prepare.generators import generator, settings_of


class Origin(NamedTuple):
    """Rows of one origin. `name` goes into records, `where` into messages, `domain` is the rows' source."""

    name: str
    where: str
    domain: str
    sha256: str | None
    rows: Callable[[], Iterable[Found]]


def origins(config: PrepareConfig) -> list[Origin]:
    """The origins of a source, in the order of the recipe."""
    source = config.source
    if source.hub is not None:
        return [_hub(source, source.hub)]
    if source.generator is not None:
        return [_generator(source, source.generator, config.seed)]
    return [_file(path) for path in files_of(source)]


def _file(path: Path) -> Origin:
    read = _parquet if path.suffix == PARQUET else read_file
    return Origin(path.name, shown(path), path.stem, file_digest(path), lambda: read(path))


def _parquet(path: Path) -> Iterator[Found]:
    """Rows of a Parquet file, a batch in memory at a time."""
    try:
        with pq.ParquetFile(path) as file:
            yield from _numbered(row for batch in file.iter_batches(1000) for row in batch.to_pylist())
    except pa.ArrowException as error:
        raise wrong(shown(path), f"is not a Parquet file that can be read: {error}") from error


def _hub(source: Source, name: str) -> Origin:
    try:
        dataset = load_dataset(name, source.subset, split=source.hub_split, revision=source.revision)
    except (OSError, ValueError, DatasetNotFoundError) as error:
        fix = (
            "Check name, subset, split and revision, and that the hub can be reached; or download it and name its files"
        )
        raise wrong("source.hub", f"cannot be loaded: {error}", name, fix) from error
    revision = f"@{source.revision}" if source.revision else ""
    return Origin(f"{name}{revision}", name, name, None, lambda: _numbered(dataset))


def _generator(source: Source, name: str, seed: int) -> Origin:
    path = None if source.settings is None else Path(source.settings)
    generate, settings = generator(name), settings_of(path)
    sha256 = None if path is None else file_digest(path)
    return Origin(f"generator:{name}", name, name, sha256, lambda: _numbered(generate(settings, seed)))


def _numbered(rows: Iterable[Mapping[str, Any]]) -> Iterator[Found]:
    return (Found(line, dict(row)) for line, row in enumerate(rows, 1))
