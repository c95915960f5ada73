"""One lm-eval task on one loaded model: the numbers of lm-eval's own command line, with every sample kept.

A task is evaluated by itself, so that its batches, and with them its log-probabilities, do not hang on what else the
suite holds.
"""

import inspect
import json
import math
import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from lm_eval import evaluator
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.errors import wrong
from pipelines.evaluate.score import MEAN, Measurement, Sample, Score, digest, mean_stderr, text_hash
from pipelines.evaluate.tasks import Ready, check_metric

_PYTHON_SEED, _SEED = 0, 1234
"""The command line's seeds: Python's generator, and those of numpy, torch and few-shot examples."""


class _Ticks:
    """lm-eval tells its cache of every answer; this one keeps none and only counts."""

    def __init__(self, task: Any, tick: Callable[[int, int], None]) -> None:
        self.done, self.task, self.tick = 0, task, tick

    def add_partial(self, *_: Any) -> None:
        self.done += 1
        self.tick(self.done, len(self.task.instances))


def harness_model(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: int, max_length: int | None
) -> HFLM:
    """The model as lm-eval wants it: one process, on the device where it already is."""
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, max_length=max_length)


def measure(
    lm: HFLM,
    task: Any,
    ready: Ready,
    group: str,
    chat_template: bool,
    rows: list[int] | None,
    tick: Callable[[int, int], None],
) -> Measurement:
    """Samples and the score of the declared metric over the documents `rows` (sorted; None for all of them)."""
    if chat_template and not lm.tokenizer.chat_template:
        raise wrong(ready.where, "the model has no chat template", fix="Set chat_template: false on this task")
    _seed(task)
    lm.set_cache_hook(_Ticks(task, tick))
    results = evaluator.evaluate(
        lm,
        {"tasks": {ready.name: task}},
        samples={ready.name: rows} if rows is not None else None,
        bootstrap_iters=0,
        apply_chat_template=chat_template,
        fewshot_as_multiturn=chat_template,
    )
    logged = [row for row in results["samples"][ready.name] if row["filter"] == ready.filter]
    check_metric(ready, dict.fromkeys(logged[0]["metrics"]))
    samples = [_sample(row) for row in logged]
    score = _score(ready, samples, results["results"][ready.name][f"{ready.metric},{ready.filter}"], task, group)
    template = text_hash(lm.tokenizer.chat_template) if chat_template else None
    contract = {
        "task": digest([json.dumps(_plain(_config(task)), sort_keys=True)]),
        "documents": digest(sample.doc_hash for sample in samples),
        "prompts": digest(str(row["prompt_hash"]) for row in logged),
        "template": template,
        "shots": task.config.num_fewshot or 0,
        "max_length": lm.max_length,
    }
    return Measurement(samples, {ready.metric: score}, contract, _notes(ready.name, lm, task, samples))


def _seed(task: Any) -> None:
    random.seed(_PYTHON_SEED)
    np.random.seed(_SEED)
    torch.manual_seed(_SEED)
    task.set_fewshot_seed(seed=_SEED)


def _sample(row: dict[str, Any]) -> Sample:
    values = {name: row[name] for name in sorted(row["metrics"])}
    numbers = {k: float(v) for k, v in values.items() if isinstance(v, (bool, int, float, np.number, np.bool_))}
    return Sample(
        id=str(row["doc"].get("id", row["doc_id"])),
        doc_hash=row["doc_hash"],
        prompt=str(row["arguments"][0][0]),
        target=str(row["target"]),
        answer=_answer(row),
        scores=numbers,
    )


def _answer(row: dict[str, Any]) -> str:
    """What was generated, before any filter; for choices the likeliest; for one continuation, it or nothing."""
    responses = [first for first, *_ in row["resps"]]
    if not isinstance(responses[0], tuple):
        return str(responses[0])
    if len(responses) > 1:
        best = max(range(len(responses)), key=lambda choice: responses[choice][0])
        return str(row["arguments"][best][-1]).strip()
    return str(row["arguments"][0][-1]) if responses[0][1] else ""


def _score(ready: Ready, samples: list[Sample], value: Any, task: Any, group: str) -> Score:
    """lm-eval's number as it is, provided that it is the mean of the samples: nothing else can be paired."""
    values = [sample.scores.get(ready.metric, math.nan) for sample in samples]
    if not math.isclose(math.fsum(values) / len(values), float(value), rel_tol=1e-9, abs_tol=1e-12):
        raise wrong(
            ready.where,
            "the metric is no mean over documents, so that two models cannot be compared on it document by document",
            ready.metric,
            "Choose another metric; bits per byte is measured under texts",
        )
    lower = not task.higher_is_better()[ready.metric]
    return Score(float(value), len(samples), group, lower, MEAN, mean_stderr(values))


def _notes(name: str, lm: HFLM, task: Any, samples: list[Sample]) -> list[str]:
    cut = sum(_too_long(lm, request) for request in task.instances)
    notes = [f"{name}: {cut} of {len(task.instances)} prompts were cut to {lm.max_length} tokens"] if cut else []
    if task.OUTPUT_TYPE == "generate_until" and not any(sample.answer.strip() for sample in samples):
        notes.append(f"{name}: every answer is empty")
    return notes


def _too_long(lm: HFLM, request: Any) -> bool:
    """Whether lm-eval cut the prompt on the left, which it does with a warning only."""
    context, second = request.args
    generated = isinstance(second, dict)
    text = context if generated else context + second
    room = lm.max_length - int(second.get("max_gen_toks", lm.max_gen_toks)) if generated else lm.max_length + 1
    return len(text.encode()) > room and bool(len(lm.tok_encode(text)) > room)


def _config(task: Any) -> dict[str, Any]:
    """What the task does, without its name and the paths of its files; documents have a digest of their own."""
    config: dict[str, Any] = task.config.to_dict(keep_callable=True)
    for place in ("task", "dataset_kwargs"):
        config.pop(place, None)
    metadata = {k: v for k, v in (config.get("metadata") or {}).items() if k != "config_source"}
    return {**config, "metadata": metadata}


def _plain(value: Any) -> Any:
    """Functions become their source, for their repr holds an address."""
    if callable(value):
        return inspect.getsource(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value
