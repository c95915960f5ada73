"""One lm-eval task on one opened model: the numbers of lm-eval's own command line, with every sample kept.

A task is evaluated by itself, so that its batches, and with them its log-probabilities, do not hang on what else the
suite holds.
"""

import inspect
import json
import math
import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from lm_eval import evaluator
from lm_eval.models.utils import normalize_gen_kwargs

from pipelines.engine.digest import file_digest
from pipelines.errors import wrong
from pipelines.evaluate.choices import PICKS, chance, picked, picks, unlabelled, wanted
from pipelines.evaluate.failures import naming
from pipelines.evaluate.prompts import prompt_notes
from pipelines.evaluate.ready import Ready
from pipelines.evaluate.score import MEAN, Measurement, Sample, Score, digest, mean_stderr, not_finite, text_hash
from pipelines.evaluate.share import world
from pipelines.evaluate.subject import Generated, Subject, Tick
from pipelines.evaluate.tasks import check_metric

_PYTHON_SEED, _SEED = 0, 1234
"""The command line's seeds: Python's generator, and those of numpy, torch and few-shot examples."""

_LONGEST_ANSWER = 100_000
"""Characters of an answer that are kept. It is scored whole."""


class _Ticks:
    """lm-eval tells its cache of every answer; this one keeps none and only counts, for all processes."""

    def __init__(self, task: Any, tick: Tick) -> None:
        self.done, self.task, self.tick = 0, task, tick

    def add_partial(self, *_: Any) -> None:
        self.done += world()
        self.tick(min(self.done, len(self.task.instances)), len(self.task.instances))


def measure(
    subject: Subject,
    task: Any,
    ready: Ready,
    group: str,
    chat_template: bool,
    rows: list[int] | None,
    tick: Tick,
) -> Measurement:
    """Samples and the score of the declared metric over the documents `rows` (sorted; None for all of them)."""
    seed()
    task.set_fewshot_seed(seed=_SEED)
    subject.lm.set_cache_hook(_Ticks(task, tick))
    with naming(ready):
        results = evaluator.evaluate(
            subject.lm,
            {"tasks": {ready.name: task}},
            samples={ready.name: rows} if rows is not None else None,
            bootstrap_iters=0,
            apply_chat_template=chat_template,
            fewshot_as_multiturn=chat_template,
        )
    logged = [row for row in results["samples"][ready.name] if row["filter"] == ready.filter]
    check_metric(ready, dict.fromkeys(logged[0]["metrics"]))
    made = _made(subject, task)
    _check_responses(ready, logged, made)
    _check_targets(ready, task, logged)
    samples = [_sample(task, row, ready) for row in logged]
    score = _score(ready, samples, results["results"][ready.name][f"{ready.metric},{ready.filter}"], task, group)
    if picks(task) and ready.metric in PICKS:
        score = score._replace(chance=chance(task, logged))
    contract = {
        "task": digest([json.dumps(_plain(_config(task)), sort_keys=True), *_read_files(ready)]),
        "documents": digest(sample.doc_hash for sample in samples),
        "prompts": digest(str(row["prompt_hash"]) for row in logged),
        "template": text_hash(subject.template) if chat_template and subject.template else None,
        "shots": task.config.num_fewshot or 0,
        "max_length": subject.max_length,
    }
    generation = _generation(subject, task, samples, made)
    notes = [*prompt_notes(ready.name, subject, task), *_notes(ready, task, logged, generation)]
    return Measurement(samples, {ready.metric: score}, contract, notes, generation)


def check_subject(subject: Subject, task: Any, ready: Ready, chat_template: bool) -> None:
    """Whether the model can be asked at all. UserError before anything is measured."""
    if chat_template and not subject.template:
        raise wrong(ready.where, "the model has no chat template", fix="Set chat_template: false on this task")
    if task.OUTPUT_TYPE == "generate_until":
        longest = _settings(subject, task)["max_gen_toks"]
        if longest >= subject.max_length:
            what = f"answers of up to {longest} tokens leave no room for a prompt in {subject.max_length}"
            raise wrong(ready.where, what, "", "Lower max_gen_toks in the task YAML, or raise max_length")


def seed() -> None:
    """The command line's seeds, anew for every task: what one draws is nothing to the next."""
    random.seed(_PYTHON_SEED)
    np.random.seed(_SEED)
    torch.manual_seed(_SEED)


def _sample(task: Any, row: dict[str, Any], ready: Ready) -> Sample:
    values = {name: row[name] for name in sorted(row["metrics"])}
    numbers = {k: float(v) for k, v in values.items() if isinstance(v, (bool, int, float, np.number, np.bool_))}
    return Sample(
        id=_id(row),
        doc_hash=row["doc_hash"],
        prompt=str(row["arguments"][0][0]),
        target=wanted(task, row) if picks(task) else str(row["target"]),
        answer=_bounded(picked(task, row, ready.metric) if picks(task) else _answer(row)),
        scores={name: number for name, number in numbers.items() if math.isfinite(number) or name == ready.metric},
        cluster=_cluster(row["doc"], ready),
    )


def _id(row: dict[str, Any]) -> str:
    return str(row["doc"].get("id", row["doc_id"]))


def _cluster(doc: dict[str, Any], ready: Ready) -> str | int | bool | None:
    value = doc[ready.cluster_by] if ready.cluster_by else None
    return value if value is None or isinstance(value, (str, int, bool)) else json.dumps(value, sort_keys=True)


def _answer(row: dict[str, Any]) -> str:
    """What was generated, before any filter; for choices the likeliest; for one continuation, it or nothing."""
    responses = [first for first, *_ in row["resps"]]
    if not isinstance(responses[0], tuple):
        return str(responses[0])
    if len(responses) > 1:
        best = max(range(len(responses)), key=lambda choice: responses[choice][0])
        return str(row["arguments"][best][-1]).strip()
    return str(row["arguments"][0][-1]) if responses[0][1] else ""


def _bounded(text: str) -> str:
    more = len(text) - _LONGEST_ANSWER
    return text if more <= 0 else f"{text[:_LONGEST_ANSWER]} [... {more} more characters]"


def _check_responses(ready: Ready, logged: list[dict[str, Any]], made: list[Generated]) -> None:
    """NaN is the largest of numbers for argmax, and the logits of a broken model give some token all the same."""
    for place, row in enumerate(logged):
        numbers = [first[0] if isinstance(first, tuple) else first for first, *_ in row["resps"]]
        if any(isinstance(number, float) and math.isnan(number) for number in numbers):
            raise not_finite(ready.where, f"a log-likelihood of document {_id(row)} is no number", "nan")
        if made and not made[place].finite:
            raise not_finite(ready.where, f"the logits of the answer to document {_id(row)} are no numbers", "nan")


def _check_targets(ready: Ready, task: Any, logged: list[dict[str, Any]]) -> None:
    """lm-eval takes a name that is no column for the target itself, and scores every model 0."""
    if picks(task) and all(unlabelled(task, row) for row in logged):
        fix = f"Mend doc_to_target in {ready.yaml.name}, or the documents: it gives the number or the text of a choice"
        raise wrong(ready.where, "no document has a target that is one of its choices", wanted(task, logged[0]), fix)


def _made(subject: Subject, task: Any) -> list[Generated]:
    """How the first answer to every document came about; none where the task generates nothing."""
    if task.OUTPUT_TYPE != "generate_until":
        return []
    return list(subject.generated())[:: task.config.repeats]


def _settings(subject: Subject, task: Any) -> dict[str, Any]:
    settings = normalize_gen_kwargs(task.config.generation_kwargs or {}, subject.max_gen_toks)
    return {"temperature": 0.0, **settings}


def _generation(subject: Subject, task: Any, samples: list[Sample], made: list[Generated]) -> dict[str, Any] | None:
    if not made:
        return None
    settings = _settings(subject, task)
    return {
        **{name: settings[name] for name in ("until", "max_gen_toks", "do_sample", "temperature")},
        "empty": sum(not sample.answer.strip() for sample in samples),
        "cut": sum(one.cut for one in made),
    }


def _notes(ready: Ready, task: Any, logged: list[dict[str, Any]], generation: dict[str, Any] | None) -> list[str]:
    """What a reader of the score should know of the answers and the documents."""
    notes, count = [], len(logged)
    if generation and generation["empty"] == count:
        notes.append(f"{ready.name}: every answer is empty")
    if generation and generation["cut"] == count:
        notes.append(f"{ready.name}: no answer ended within {generation['max_gen_toks']} tokens")
    if again := count - len({row["doc_hash"] for row in logged}):
        notes.append(f"{ready.name}: {again} of {count} documents repeat another one")
    if odd := sum(unlabelled(task, row) for row in logged) if picks(task) else 0:
        notes.append(f"{ready.name}: {odd} of {count} documents have a target that is none of their choices")
    return notes


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


def _config(task: Any) -> dict[str, Any]:
    """What the task does, without its name and the paths of its files; documents have a digest of their own."""
    config: dict[str, Any] = task.config.to_dict(keep_callable=True)
    for place in ("task", "dataset_kwargs"):
        config.pop(place, None)
    metadata = {k: v for k, v in (config.get("metadata") or {}).items() if k != "config_source"}
    return {**config, "metadata": metadata}


def _read_files(ready: Ready) -> list[str]:
    """Digests of what the functions of an own task are and read; its YAMLs are in its config."""
    return [file_digest(need) for need in ready.needs if need.suffix not in (".yaml", ".yml")]


def _plain(value: Any) -> Any:
    """Functions become their source, for their repr holds an address."""
    if callable(value):
        return inspect.getsource(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value
