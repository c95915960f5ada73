"""The evaluate stage: a model, opened once, through every measurement of a suite; each kept as soon as it is made."""

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from pipelines.engine.imports import load_attribute
from pipelines.engine.progress import progress
from pipelines.engine.stage import Inputs
from pipelines.evaluate import kept
from pipelines.evaluate.config import EvaluateConfig
from pipelines.evaluate.draw import draw
from pipelines.evaluate.failures import naming
from pipelines.evaluate.harness import check_subject, measure, seed
from pipelines.evaluate.measures import measure_drift, measure_text
from pipelines.evaluate.ready import Ready
from pipelines.evaluate.resolve import ready
from pipelines.evaluate.score import Measurement, check_finite
from pipelines.evaluate.score import NotFinite as NotFinite
from pipelines.evaluate.share import launched_rank, processes, rank, told
from pipelines.evaluate.subject import Subject, Tick, served
from pipelines.evaluate.tasks import load_task
from pipelines.hf.models import load_model

_BACKENDS = {kind: f"pipelines.evaluate.backends.{kind}:open_{kind}" for kind in ("hf", "vllm", "server")}
"""Each is `open(config, model) -> AbstractContextManager[Subject]`."""


def run(config: EvaluateConfig, inputs: Inputs, out_dir: Path) -> dict[str, Any]:
    """Fill `out_dir` with scores.json and samples/<measurement>.jsonl; the metrics are scores.json itself.

    What an earlier attempt measured is not measured again. Several processes share the batches of a model that runs in
    them; a model that runs elsewhere is asked by the first of them alone.
    """
    local = config.backend.kind == "hf"
    if not local and launched_rank():
        return {}
    with processes() if local else nullcontext():
        result = told(lambda: kept.read_finished(out_dir)) or _result(config, _measured(config, inputs, out_dir))
        if rank() == 0:
            kept.finish(out_dir, result)
    return result


def _measured(config: EvaluateConfig, inputs: Inputs, out_dir: Path) -> dict[str, Any]:
    """What scores.json tells of every measurement, by its name.

    Every task is resolved and its documents are read before the model is opened, so that what is wrong with a suite
    shows at once.
    """
    suite = config.suite
    names = [*suite.tasks, *suite.texts, *suite.drift]
    done: dict[str, Any] = told(lambda: kept.read_measured(out_dir, names))
    missing = [name for name in names if name not in done]
    with tempfile.TemporaryDirectory() as scratch:
        tasks = {name: _prepare(name, config, inputs, Path(scratch)) for name in suite.tasks if name in missing}
        if missing:
            opened: AbstractContextManager[Subject] = load_attribute(_BACKENDS[config.backend.kind])(
                config, served(inputs[config.model])
            )
            with opened as subject:
                for name, measurement in _measure(config, inputs, subject, tasks, missing):
                    check_finite(name, measurement)
                    done[name] = _summary(config, subject, name, measurement)
                    if rank() == 0:
                        kept.keep(out_dir, name, measurement.samples, done[name])
    return {name: done[name] for name in names}


def _prepare(name: str, config: EvaluateConfig, inputs: Inputs, scratch: Path) -> tuple[Ready, Any]:
    """A task and what the suite says of it. Some tasks shuffle while they are read: each begins from the seed."""
    found = ready(name, config.suite.tasks[name], inputs)
    seed()
    with naming(found):
        return found, load_task(found, scratch)


def _measure(
    config: EvaluateConfig, inputs: Inputs, subject: Subject, tasks: dict[str, tuple[Ready, Any]], missing: list[str]
) -> Iterator[tuple[str, Measurement]]:
    suite = config.suite
    for name, (found, task) in tasks.items():
        check_subject(subject, task, found, suite.tasks[name].chat_template)
    for name, (found, task) in tasks.items():
        spec = suite.tasks[name]
        rows = draw(len(task.eval_docs), spec.limit, suite.sample_seed, name) if spec.limit else None
        yield name, measure(subject, task, found, spec.group, spec.chat_template, rows, _tick(name))
    for name in (name for name in suite.texts if name in missing):
        yield name, measure_text(subject, config, name, _tick(name))
    drifts = [name for name in suite.drift if name in missing]
    base = _base(config, inputs, subject) if drifts else None
    for name in drifts:
        assert base is not None
        yield name, measure_drift(subject, base, config, inputs, name, _tick(name))


def _tick(name: str) -> Tick:
    """The first process speaks for all."""
    first = rank() == 0
    return lambda done, total: progress(done, total, f"of {name}") if first else None


def _base(config: EvaluateConfig, inputs: Inputs, subject: Subject) -> PreTrainedModel:
    """The model that drift is measured from; the model itself where both are the same artifact."""
    model, base = inputs[config.model], inputs[config.base]
    return subject.model if subject.model is not None and model.key == base.key else load_model(base.path)


def _summary(config: EvaluateConfig, subject: Subject, name: str, measurement: Measurement) -> dict[str, Any]:
    """One measurement without its samples."""
    suite = config.suite
    spec = suite.tasks.get(name) or suite.texts.get(name) or suite.drift[name]
    contract = {
        "lm-eval": version("lm-eval"),
        **subject.facts,
        "batch_size": config.batch_size,
        "sample_seed": suite.sample_seed,
        "limit": spec.limit,
        **measurement.contract,
    }
    return {
        "scores": {metric: score._asdict() for metric, score in measurement.scores.items()},
        "contract": contract,
        "generation": measurement.generation,
        "notes": [*subject.notes, *measurement.notes],
    }


def _result(config: EvaluateConfig, measured: dict[str, Any]) -> dict[str, Any]:
    """The content of scores.json, in the order of the suite."""
    return {
        "scores": {f"{name}/{metric}": s for name, one in measured.items() for metric, s in one["scores"].items()},
        "contract": {name: one["contract"] for name, one in measured.items()},
        "generation": {name: one["generation"] for name, one in measured.items() if one["generation"]},
        "show": {name: task.show for name, task in config.suite.tasks.items()},
        "notes": list(dict.fromkeys(note for one in measured.values() for note in one["notes"])),
    }
