"""What can be wrong with a suite's own files before anything is started."""

from collections.abc import Iterator
from pathlib import Path

import yaml

from pipelines.errors import Problem, UserError
from pipelines.evaluate.config import EvaluateConfig, Text, Vllm
from pipelines.evaluate.documents import read_documents
from pipelines.serving.environments import missing


def check(config: EvaluateConfig) -> list[Problem]:
    """Problems of the texts and of the task YAMLs that the suite names, and a backend that is not installed.

    Where a line is known, it is told.
    """
    found = [problem for name, text in config.suite.texts.items() for problem in _text(name, text)]
    if isinstance(config.backend, Vllm) and config.backend.environment is None:
        found += missing("vllm", "backend")
    for name, task in config.suite.tasks.items():
        if task.file is not None:
            found += _task(Path(task.file))
        documents = task.documents
        for path in (documents.file, documents.examples) if documents else ():
            found += _empty(f"suite.tasks.{name}", Path(path)) if path else []
    return found


def _text(name: str, text: Text) -> Iterator[Problem]:
    named = () if text.files is None else (text.files,) if isinstance(text.files, str) else text.files
    count = 0
    for path in named:
        try:
            count += len(read_documents(Path(path)))
        except UserError as error:
            yield from error.problems
            return
    if named and not count:
        yield Problem(f"suite.texts.{name}", "has no documents", "", "Name a file with text in it")


def _task(path: Path) -> Iterator[Problem]:
    """Whether the file is YAML; what it says is lm-eval's to judge. Its `!function` tags need no import for that."""
    try:
        yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        yield Problem(str(path), "is not UTF-8", f"byte {error.start}", "Convert the file to UTF-8")
    except yaml.MarkedYAMLError as error:
        place = f"{path}:{error.problem_mark.line + 1}" if error.problem_mark else str(path)
        yield Problem(place, "is not YAML", error.problem or "", "Mend the task YAML")


def _empty(where: str, path: Path) -> Iterator[Problem]:
    if path.is_file() and not path.stat().st_size:
        yield Problem(where, "the documents are empty", path.name, "Give the file at least one document")
