"""The evaluate stage: a model, loaded once, through every measurement of a suite; scores and samples written."""

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.engine.progress import progress
from pipelines.engine.stage import Artifact, Inputs
from pipelines.errors import Problem, UserError, wrong
from pipelines.evaluate.builtin import builtin_yaml
from pipelines.evaluate.config import Documents, Drift, EvaluateConfig, Task, Text
from pipelines.evaluate.documents import read_documents
from pipelines.evaluate.draw import draw
from pipelines.evaluate.drift import drift
from pipelines.evaluate.harness import harness_model, measure
from pipelines.evaluate.score import RATIO, Measurement, Sample, Score, digest, ratio, text_hash
from pipelines.evaluate.tasks import Ready, load_task
from pipelines.evaluate.texts import bits, keep, nlls, python_topics
from pipelines.hf.models import load_model, load_tokenizer
from pipelines.hf.rows import Row, read_rows


class NotFinite(UserError):
    """A score that is no finite number."""


class Subject(NamedTuple):
    """What is measured, and how."""

    model: PreTrainedModel
    words: PreTrainedTokenizerBase
    config: EvaluateConfig
    inputs: Inputs


def run(config: EvaluateConfig, inputs: Inputs, out_dir: Path) -> dict[str, Any]:
    """Fill `out_dir` with scores.json and samples/<measurement>.jsonl; the metrics are scores.json itself.

    Every task is resolved and its documents are read before the model is loaded, so that what is wrong with a suite
    shows at once.
    """
    with tempfile.TemporaryDirectory() as scratch:
        ready = {name: _ready(name, task, inputs) for name, task in config.suite.tasks.items()}
        tasks = {name: load_task(task, Path(scratch)) for name, task in ready.items()}
        folder = inputs[config.model].path
        subject = Subject(load_model(folder), load_tokenizer(folder), config, inputs)
        measured = dict(_measure(subject, ready, tasks))
    _check_finite(measured)
    return _write(out_dir, subject, measured)


def _measure(subject: Subject, ready: dict[str, Ready], tasks: dict[str, Any]) -> Iterator[tuple[str, Measurement]]:
    suite, config = subject.config.suite, subject.config
    if tasks:
        lm = harness_model(subject.model, subject.words, config.batch_size, config.max_length)
        for name, spec in suite.tasks.items():
            count = len(tasks[name].eval_docs)
            rows = draw(count, spec.limit, config.suite.sample_seed, name) if spec.limit else None
            yield name, measure(lm, tasks[name], ready[name], spec.group, spec.chat_template, rows, _tick(name))
    for name, text in suite.texts.items():
        yield name, _measure_text(subject, name, text)
    if suite.drift:
        base = _base(subject)
        for name, spec_ in suite.drift.items():
            yield name, _measure_drift(subject, base, name, spec_)


def _check_finite(measured: dict[str, Measurement]) -> None:
    """Weights that hold NaN give scores that are NaN, which no gate could judge."""
    for name, one in measured.items():
        for metric, score in one.scores.items():
            if not math.isfinite(score.value):
                fix = "Look for NaN in the model's weights, and at the loss it was trained with"
                raise NotFinite(Problem(f"{name}/{metric}", "is no finite number", str(score.value), fix))


def _tick(name: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(done, total, f"of {name}")


def _ready(name: str, task: Task, inputs: Inputs) -> Ready:
    where = f"suite.tasks.{name}"
    path = builtin_yaml(task.task, f"{where}.task") if task.task else Path(str(task.file))
    documents = None if task.documents is None else _documents(where, task.documents, inputs, bool(task.shots))
    needs = tuple(Path(need) for need in task.needs)
    return Ready(name, where, path, not task.task, needs, documents, task.metric, task.filter, task.shots)


def _documents(where: str, documents: Documents, inputs: Inputs, examples: bool) -> dict[str, Path]:
    """The file of the measured split, and of a dataset's training split where examples are to come from it."""
    if documents.file is not None:
        return {"test": Path(documents.file)}
    assert documents.dataset is not None
    splits = {"test": documents.split} | ({"train": "train"} if examples else {})
    return {name: _split(where, inputs[documents.dataset], split, ".jsonl") for name, split in splits.items()}


def _split(where: str, dataset: Artifact, split: str, suffix: str) -> Path:
    path = dataset.path / "rows" / f"{split}{suffix}"
    if not path.is_file():
        has = ", ".join(sorted(found.stem for found in path.parent.glob(f"*{suffix}")))
        raise wrong(where, f"dataset {dataset.name} has no such split", split, f"It has: {has or 'none'}")
    return path


def _measure_text(subject: Subject, name: str, text: Text) -> Measurement:
    config = subject.config
    files = () if text.files is None else (text.files,) if isinstance(text.files, str) else text.files
    every = python_topics() if text.python_topics else [part for path in files for part in read_documents(Path(path))]
    kept = keep(every, text.split, text.max_bytes)
    documents = [kept[index] for index in draw(len(kept), text.limit, config.suite.sample_seed, name)]
    if not documents:
        raise wrong(f"suite.texts.{name}", "has no documents", "0", "Name a file with text in it")
    length = min(text.max_length, config.max_length or text.max_length)
    nats = nlls(subject.model, subject.words, documents, length, config.batch_size, _tick(name))
    hashes = [text_hash(document) for document in documents]
    sizes = [float(len(document.encode())) for document in documents]
    samples = [
        Sample(digest_[:16], digest_, "", document, "", {"nll": nll}, size)
        for digest_, document, nll, size in zip(hashes, documents, nats, sizes, strict=True)
    ]
    value, stderr = ratio([bits(nll) for nll in nats], sizes)
    score = Score(value, len(samples), text.group, True, RATIO, stderr)
    contract = {"documents": digest(hashes), "max_length": length}
    return Measurement(samples, {"bits_per_byte": score}, contract, [])


def _base(subject: Subject) -> PreTrainedModel:
    """The model that drift is measured from; the model itself where both are the same artifact."""
    model, base = subject.inputs[subject.config.model], subject.inputs[subject.config.base]
    return subject.model if model.key == base.key else load_model(base.path)


def _measure_drift(subject: Subject, base: PreTrainedModel, name: str, spec: Drift) -> Measurement:
    config, where = subject.config, f"suite.drift.{name}"
    path = _split(where, subject.inputs[spec.dataset], spec.split, ".parquet")
    every = [row for row in read_rows(path) if row.loss_tokens]
    rows = [every[index] for index in draw(len(every), spec.limit, config.suite.sample_seed, name)]
    if not rows:
        raise wrong(where, "has no row with an answer to compare", f"split {spec.split}", "Name another split")
    drifted = drift(base, subject.model, rows, config.batch_size, _tick(name))
    hashes = [digest([json.dumps([row.input_ids, row.labels])]) for row in rows]
    samples = [
        Sample(row.id, hash_, *_turns(subject.words, row), "", {"agree": float(d.agree), "kl": d.kl}, float(d.tokens))
        for row, hash_, d in zip(rows, hashes, drifted, strict=True)
    ]
    tokens = [float(d.tokens) for d in drifted]
    kl = ratio([d.kl for d in drifted], tokens)
    agreement = ratio([float(d.agree) for d in drifted], tokens)
    scores = {
        "kl": Score(kl[0], len(rows), spec.group, True, RATIO, kl[1]),
        "agreement": Score(agreement[0], len(rows), spec.group, False, RATIO, agreement[1]),
    }
    contract = {"documents": digest(hashes), "base": subject.inputs[config.base].key}
    return Measurement(samples, scores, contract, [])


def _turns(words: PreTrainedTokenizerBase, row: Row) -> tuple[str, str]:
    """What stands before the first answer token, and from there on."""
    first = next(index for index, label in enumerate(row.labels) if label >= 0)
    return str(words.decode(row.input_ids[:first])), str(words.decode(row.input_ids[first:]))


def _write(out_dir: Path, subject: Subject, measured: dict[str, Measurement]) -> dict[str, Any]:
    config, folder = subject.config, out_dir / "samples"
    folder.mkdir(exist_ok=True)
    for name, measurement in measured.items():
        _write_lines(folder / f"{name}.jsonl", measurement.samples)
    shared = {
        **{library: version(library) for library in ("lm-eval", "torch", "transformers")},
        "dtype": str(subject.model.dtype).removeprefix("torch."),
        "device": subject.model.device.type,
        "batch_size": config.batch_size,
        "seed": config.suite.sample_seed,
    }
    result = {
        "scores": {f"{name}/{m}": score._asdict() for name, one in measured.items() for m, score in one.scores.items()},
        "contract": {name: {**shared, "limit": _limit(config, name), **one.contract} for name, one in measured.items()},
        "notes": [note for one in measured.values() for note in one.notes],
    }
    (out_dir / "scores.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return result


def _write_lines(path: Path, samples: Sequence[Sample]) -> None:
    lines = [json.dumps(sample._asdict(), ensure_ascii=False) + "\n" for sample in samples]
    path.write_text("".join(lines), encoding="utf-8")


def _limit(config: EvaluateConfig, name: str) -> int | None:
    suite = config.suite
    return (suite.tasks.get(name) or suite.texts.get(name) or suite.drift[name]).limit
