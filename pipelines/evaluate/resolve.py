"""What a suite names, found: the YAML of a task, and the files that a split of a dataset is in."""

from pathlib import Path

from pipelines.engine.stage import Artifact, Inputs
from pipelines.errors import wrong
from pipelines.evaluate.builtin import builtin_yaml
from pipelines.evaluate.config import Documents, Task
from pipelines.evaluate.ready import Ready


def ready(name: str, task: Task, inputs: Inputs) -> Ready:
    """A task of the suite with every reference resolved."""
    where = f"suite.tasks.{name}"
    return Ready(
        name=name,
        where=where,
        yaml=builtin_yaml(task.task, f"{where}.task") if task.task else Path(str(task.file)),
        own=not task.task,
        needs=tuple(Path(need) for need in task.needs),
        documents=None if task.documents is None else _documents(where, task.documents, inputs, bool(task.shots)),
        metric=task.metric,
        filter=task.filter,
        shots=task.shots,
        cluster_by=task.cluster_by,
    )


def _documents(where: str, documents: Documents, inputs: Inputs, examples: bool) -> dict[str, Path]:
    """The file that is measured, as `test`; as `train` that of examples, a dataset's own where it has to have some."""
    files = {}
    if documents.file is not None:
        files["test"] = Path(documents.file)
    else:
        assert documents.dataset is not None
        dataset = inputs[documents.dataset]
        files["test"] = split_file(where, dataset, documents.split, ".jsonl")
        if examples and documents.examples is None:
            files["train"] = split_file(where, dataset, "train", ".jsonl")
    return files | ({"train": Path(documents.examples)} if documents.examples is not None else {})


def split_file(where: str, dataset: Artifact, split: str, suffix: str) -> Path:
    """Rows (.parquet) or documents (.jsonl) of a dataset. UserError where it has no such split."""
    path = dataset.path / "rows" / f"{split}{suffix}"
    if not path.is_file():
        has = ", ".join(sorted(found.stem for found in path.parent.glob(f"*{suffix}")))
        raise wrong(where, f"dataset {dataset.name} has no such split", split, f"It has: {has or 'none'}")
    return path
