"""An lm-eval task made ready: its documents replaced by local ones, everything that it reads accounted for."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from datasets import DownloadConfig, load_dataset
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
from jinja2 import UndefinedError
from lm_eval.api.registry import metric_registry
from lm_eval.tasks import TaskManager

from pipelines.errors import UserError, wrong
from pipelines.evaluate.failures import naming
from pipelines.evaluate.hub import leave_unless_reachable
from pipelines.evaluate.ready import Ready
from pipelines.evaluate.shots import check_shots

_FORMATS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}


def load_task(ready: Ready, scratch: Path) -> Any:
    """The lm-eval `Task`. `scratch` takes the wrapping YAML and what `datasets` makes of the documents.

    lm-eval keys neither of its caches by the data, so that the scratch folder is new for every run.
    """
    if ready.own:
        _check_own(ready)
    content = _content(ready, ready.yaml)
    _check_content(ready, content)
    overrides = {} if ready.documents is None else _local_documents(ready, content, scratch)
    if ready.shots is not None:
        overrides["num_fewshot"] = ready.shots
    folder = scratch / ready.name
    folder.mkdir()
    wrapper = {"include": str(ready.yaml), "task": ready.name, **overrides}
    (folder / "task.yaml").write_text(yaml.safe_dump(wrapper), encoding="utf-8")
    task = _build(ready, TaskManager(include_path=str(folder), include_defaults=False))
    check_shots(ready, task)
    _check_metric(ready, task)
    _check_runnable(ready, task)
    return task


def _build(ready: Ready, manager: TaskManager) -> Any:
    if ready.name not in manager.all_subtasks:
        raise wrong(ready.where, "is not a YAML of one lm-eval task", ready.yaml.name, "It needs dataset_path and task")
    try:
        with naming(ready):
            return manager.load([ready.name])["tasks"][ready.name]
    except UndefinedError as error:
        raise wrong(
            ready.where, "the task asks for a column that the documents do not have", str(error), _columns(ready)
        ) from error
    except (DatasetNotFoundError, ConnectionError, FileNotFoundError) as error:
        fix = "Name a local file under documents, or fetch the task's dataset once while online"
        raise wrong(ready.where, "the task's own documents cannot be reached", str(error), fix) from error
    except (TypeError, ValueError, LookupError, AttributeError, ImportError, SyntaxError) as error:
        if "size 0" in str(error):
            raise wrong(ready.where, "has no documents", "", "Name a split or a file that has some") from error
        got, fix = f"{type(error).__name__}: {error}", f"Mend {ready.yaml.name}" if ready.own else _columns(ready)
        raise wrong(ready.where, "lm-eval does not take the task YAML with these documents", got, fix) from error


def _columns(ready: Ready) -> str:
    return "Rename the columns, or write a task YAML with doc_to_text and doc_to_target of your own" + (
        f" for {next(iter(ready.documents.values())).name}" if ready.documents else ""
    )


def _local_documents(ready: Ready, content: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
    """What replaces the task's dataset: absolute paths, `test` measured and another split for examples in the prompt.

    That one is named as the task's own few-shot settings want it, for lm-eval would look for it under that name.
    """
    assert ready.documents is not None
    kinds = sorted({_format(ready, path) for path in ready.documents.values()})
    if len(kinds) > 1:
        fix = "Convert one of them"
        raise wrong(ready.where, "documents and examples are in files of two kinds", " and ".join(kinds), fix)
    settings = content.get("fewshot_config") or {}
    examples = str(settings.get("split") or "train") if "train" in ready.documents else None
    names = {"test": "test", "train": examples}
    files = {names[split]: str(path) for split, path in ready.documents.items()}
    source: dict[str, Any] = {"data_files": files, "cache_dir": str(scratch / "datasets")}
    _check_documents(ready, kinds[0], source)
    unreachable = {"fewshot_config": {"sampler": "default"}} if settings.get("split") and not examples else {}
    return {
        "dataset_path": kinds[0],
        "dataset_name": None,
        "dataset_kwargs": source,
        "custom_dataset": None,
        "test_split": "test",
        "validation_split": None,
        "training_split": examples,
        "fewshot_split": examples,
        **unreachable,
    }


def _format(ready: Ready, path: Path) -> str:
    if path.suffix not in _FORMATS:
        raise wrong(ready.where, "cannot read such documents", path.name, f"Use one of {', '.join(_FORMATS)}")
    if not path.is_file():
        raise wrong(ready.where, "no such documents", str(path), "Name an existing file or split")
    if not path.stat().st_size:
        raise wrong(ready.where, "the documents are empty", str(path), "Give the file at least one document")
    return _FORMATS[path.suffix]


def _check_documents(ready: Ready, kind: str, source: dict[str, Any]) -> None:
    """Reads them once, so that what is wrong with them is told apart from what is wrong with the task."""
    try:
        rows = load_dataset(kind, download_config=DownloadConfig(local_files_only=True), **source)["test"]
    except (DatasetGenerationError, ValueError, TypeError) as error:
        reason = str(error.__cause__ or error)
        raise wrong(ready.where, "the documents cannot be read as one table", reason, "Mend the file") from error
    if not len(rows):
        raise wrong(ready.where, "the documents are empty", "0 rows", "Give the file at least one document")


def _check_metric(ready: Ready, task: Any) -> None:
    """Before anything is generated. A metric that is a function may give more names than it declares."""
    filters = [str(entry["name"]) for entry in task.config.filter_list or [{"name": "none"}]]
    if ready.filter not in filters:
        raise wrong(ready.where, "the task has no such filter", ready.filter, f"It has: {', '.join(filters)}")
    entries = task.config.metric_list or []
    if not any(callable(entry["metric"]) for entry in entries):
        check_metric(ready, task.aggregation())


def check_metric(ready: Ready, has: Mapping[str, Any]) -> None:
    if ready.metric not in has:
        fix = f"It has: {', '.join(sorted(has))}"
        raise wrong(ready.where, "the task produces no such metric", ready.metric, fix)


def _check_content(ready: Ready, content: Mapping[str, Any]) -> None:
    """What would reach out of this process: code of the model, documents of the hub, metrics of the hub.

    lm-eval asks the hub for every metric that it does not have, and goes on without it where that fails.
    """
    if content.get("unsafe_code"):
        raise wrong(
            ready.where, "the task runs code that the model writes", str(content.get("task")), "Choose another task"
        )
    if ready.documents is None:
        leave_unless_reachable()
    entries = [] if content.get("process_results") else content.get("metric_list") or []
    for entry in entries:
        metric = entry["metric"] if isinstance(entry, dict) and "metric" in entry else _Function()
        if not isinstance(metric, _Function) and (entry.get("hf_evaluate") or metric not in metric_registry):
            fix = "Take one of lm-eval's own, or write the metric as a !function of your own"
            raise wrong(ready.where, "the task's metric has to be fetched from the network", str(metric), fix)


def _check_runnable(ready: Ready, task: Any) -> None:
    if getattr(task, "MULTIMODAL", False):
        raise wrong(ready.where, "the task needs a model that sees or hears", ready.name, "Choose a task of text only")
    has = list(task.eval_docs[0])
    if ready.cluster_by and ready.cluster_by not in has:
        fix = f"They have: {', '.join(sorted(map(str, has)))}"
        raise wrong(f"{ready.where}.cluster_by", "the documents have no such column", ready.cluster_by, fix)


def _check_own(ready: Ready) -> None:
    """Every file that an own YAML reads must be named by the suite: else a change to it would go unnoticed."""
    known = {path.resolve() for path in (ready.yaml, *ready.needs)}
    for path in _reads(ready):
        if path.resolve() not in known:
            raise wrong(ready.where, "the task YAML reads a file that the suite does not name", path.name, _needs(path))
    if ready.documents is None and _parse(ready, ready.yaml).get("dataset_path") in _FORMATS.values():
        fix = "Name it in the suite under documents: {file: …} or {dataset: …, split: …}"
        raise wrong(ready.where, "the task YAML names a local file of documents", ready.yaml.name, fix)


def _needs(path: Path) -> str:
    return f"Add it to the task: needs: [{path.name}], with its path from the project root"


def _reads(ready: Ready) -> Iterator[Path]:
    """The files beside the task's YAMLs that `include:` and `!function` name."""
    for path in (ready.yaml, *(need for need in ready.needs if need.suffix in (".yaml", ".yml"))):
        parsed = _parse(ready, path)
        includes = parsed.get("include", [])
        yield from (path.parent / name for name in ([includes] if isinstance(includes, str) else includes))
        for function in re.findall(r"!function\s+([\w.]+)", path.read_text(encoding="utf-8")):
            module = path.parent / (function.rpartition(".")[0].replace(".", "/") + ".py")
            if module.is_file():
                yield module


def _content(ready: Ready, path: Path) -> dict[str, Any]:
    """What a task YAML says with all that it includes, its own keys first; functions by their names."""
    parsed = _parse(ready, path)
    includes = parsed.pop("include", [])
    merged: dict[str, Any] = {}
    for name in [includes] if isinstance(includes, str) else includes:
        merged |= _content(ready, path.parent / name)
    return merged | parsed


def _parse(ready: Ready, path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise wrong(ready.where, "no such file", str(path), "Name an existing task YAML")
    try:
        parsed = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.YAMLError as error:
        raise _unparsable(path, error) from error
    if not isinstance(parsed, dict):
        raise wrong(ready.where, "is not a task YAML", path.name, "It must be a mapping with a task: key")
    return parsed


def _unparsable(path: Path, error: yaml.YAMLError) -> UserError:
    mark = getattr(error, "problem_mark", None)
    place = f"{path.name}:{mark.line + 1}" if mark else path.name
    return wrong(place, "is not YAML", str(getattr(error, "problem", error)), "Mend the task YAML")


class _Function(str):
    """What stands behind `!function`: a module and the name of a function in it."""


class _Loader(yaml.SafeLoader):
    """Reads `!function a.b` without importing a."""


_Loader.add_constructor("!function", lambda loader, node: _Function(node.value))
