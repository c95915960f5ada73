"""The measurements that need no lm-eval, as samples and scores: bits per byte of texts, and drift on chats."""

import json
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.engine.stage import Artifact, Inputs
from pipelines.errors import wrong
from pipelines.evaluate.config import Drift, EvaluateConfig, Text
from pipelines.evaluate.documents import read_documents
from pipelines.evaluate.draw import draw
from pipelines.evaluate.drift import drift
from pipelines.evaluate.resolve import split_file
from pipelines.evaluate.score import RATIO, Measurement, Sample, Score, digest, ratio, text_hash
from pipelines.evaluate.subject import Subject, Tick
from pipelines.evaluate.texts import bits, keep, python_topics
from pipelines.hf.rows import Row, read_rows


def measure_text(subject: Subject, config: EvaluateConfig, name: str, tick: Tick) -> Measurement:
    """Bits per byte of one of the suite's texts."""
    text = config.suite.texts[name]
    documents = _text_documents(name, text, config.suite.sample_seed)
    length = min(text.max_length, subject.max_length)
    nats = subject.nlls(documents, length, tick)
    hashes = [text_hash(document) for document in documents]
    sizes = [float(len(document.encode())) for document in documents]
    samples = [
        Sample(digest_[:16], digest_, "", document, "", {"nll": nll}, size)
        for digest_, document, nll, size in zip(hashes, documents, nats, sizes, strict=True)
    ]
    value, stderr = ratio([bits(nll) for nll in nats], sizes)
    score = Score(value, len(samples), text.group, True, RATIO, stderr)
    return Measurement(samples, {"bits_per_byte": score}, {"documents": digest(hashes), "max_length": length}, [])


def _text_documents(name: str, text: Text, seed: int) -> list[str]:
    files = () if text.files is None else (text.files,) if isinstance(text.files, str) else text.files
    every = python_topics() if text.python_topics else [part for path in files for part in read_documents(Path(path))]
    kept = keep(every, text.split, text.max_bytes)
    if not kept:
        raise wrong(f"suite.texts.{name}", "has no documents", "0", "Name a file with text in it")
    return [kept[index] for index in draw(len(kept), text.limit, seed, name)]


def measure_drift(
    subject: Subject, base: PreTrainedModel, config: EvaluateConfig, inputs: Inputs, name: str, tick: Tick
) -> Measurement:
    """KL divergence from `base` and agreement with it, on the answers of one of the suite's sets of chats."""
    model, words, spec = subject.model, subject.words, config.suite.drift[name]
    assert model is not None and words is not None
    rows = _drift_rows(name, spec, inputs[spec.dataset], config.suite.sample_seed)
    drifted = drift(base, model, rows, config.batch_size, tick)
    hashes = [digest([json.dumps([row.input_ids, row.labels])]) for row in rows]
    samples = [
        Sample(row.id, hash_, *_turns(words, row), "", {"agree": float(d.agree), "kl": d.kl}, float(d.tokens))
        for row, hash_, d in zip(rows, hashes, drifted, strict=True)
    ]
    tokens = [float(d.tokens) for d in drifted]
    kl = ratio([d.kl for d in drifted], tokens)
    agreement = ratio([float(d.agree) for d in drifted], tokens)
    scores = {
        "kl": Score(kl[0], len(rows), spec.group, True, RATIO, kl[1]),
        "agreement": Score(agreement[0], len(rows), spec.group, False, RATIO, agreement[1]),
    }
    return Measurement(samples, scores, {"documents": digest(hashes), "base": inputs[config.base].key}, [])


def _drift_rows(name: str, spec: Drift, dataset: Artifact, seed: int) -> list[Row]:
    where = f"suite.drift.{name}"
    every = [row for row in read_rows(split_file(where, dataset, spec.split, ".parquet")) if row.loss_tokens]
    if not every:
        raise wrong(where, "has no row with an answer to compare", f"split {spec.split}", "Name another split")
    return [every[index] for index in draw(len(every), spec.limit, seed, name)]


def _turns(words: PreTrainedTokenizerBase, row: Row) -> tuple[str, str]:
    """What stands before the first answer token, and from there on."""
    first = next(index for index, label in enumerate(row.labels) if label >= 0)
    return str(words.decode(row.input_ids[:first])), str(words.decode(row.input_ids[first:]))
