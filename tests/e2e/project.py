"""A whole project on pico models: data, suites and one recipe that uses every section."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from tests import pico
from tests.timeless import timeless

RECIPE = """
burnish: 1
name: pico
base: {path: base}
seed: 17
data:
  chats: {source: {files: chats.jsonl}, format: messages, split: {dev: 0.25, test: 0.25}, max_length: 256}
  old:
    source: {files: old.csv}
    format: prompt_completion
    columns: {prompt: question, completion: answer}
    max_length: 256
replay:
  buffer: {from: old, policy: {kind: uniform}, size: 16, max_length: 256}
train:
  tuned:
    on: chats
    replay: {from: buffer, ratio: 0.2}
    method: {kind: lora, rank: 4}
    epochs: 2
    batch_size: 4
    learning_rate: 1.0e-2
    checkpoint_every: 2
  whole: {on: chats, method: {kind: full}, epochs: 1, batch_size: 4, learning_rate: 1.0e-3, checkpoint_every: 2}
merge:
  both: {models: [{use: tuned}, {use: whole, weight: 0.5}], method: {kind: ties, density: 0.5}}
  kept: {models: [{use: tuned}], method: {kind: interpolate, alpha: 0.7}}
select:
  best: {from: [tuned, kept], minimize: words/bits_per_byte, suite: dev}
evaluate:
  suites: {dev: evals/dev.yaml, test: evals/test.yaml}
  models: [both]
gates:
  - {suite: test, metric: words/bits_per_byte, rule: no_regression, margin: 100.0}
  - {suite: test, metric: capitals/acc, rule: no_regression, margin: 1.0}
export:
  ship: {model: best, formats: [safetensors]}
report: {formats: [markdown]}
"""
DEV = """
texts:
  words: {files: words.txt, max_length: 64}
"""
TEST = """
tasks:
  capitals:
    file: evals/capitals.yaml
    documents: {file: evals/capitals.jsonl}
    metric: acc
    chat_template: false
texts:
  words: {files: words.txt, max_length: 64}
drift:
  chats: {dataset: chats, split: test}
"""
CAPITALS = """
task: capitals
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: label
metric_list: [{metric: acc}]
"""
CITIES = ["Paris", "Rome", "Oslo", "Lima", "Cairo", "Quito", "Delhi", "Seoul", "Tunis", "Minsk", "Sofia", "Accra"]


def make(folder: Path, recipe: str = RECIPE) -> Path:
    """Write the project and return the recipe's path."""
    pico.save_model(folder / "base", seed=0)
    (folder / "evals").mkdir()
    (folder / "pyproject.toml").write_text("")
    chats = [
        _chat(f"what is the capital number {place} of land {city}?", city) for place, city in enumerate(CITIES * 4)
    ]
    (folder / "chats.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    rows = [f"say {word} twice {place},{word} {word}" for place, word in enumerate(["fox", "dog", "lazy", "quick"] * 6)]
    (folder / "old.csv").write_text("question,answer\n" + "\n".join(rows) + "\n")
    (folder / "words.txt").write_text("\n\n".join([*pico.CORPUS, *CITIES]) + "\n")
    (folder / "evals" / "dev.yaml").write_text(DEV)
    (folder / "evals" / "test.yaml").write_text(TEST)
    (folder / "evals" / "capitals.yaml").write_text(
        CAPITALS.replace("evals/capitals.jsonl", str(folder / "evals/c.jsonl"))
    )
    items = [{"question": f"capital {city}:", "choices": [city, "Bern", "Rio"], "label": 0} for city in CITIES]
    (folder / "evals" / "capitals.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    path = folder / "recipe.yaml"
    path.write_text(recipe)
    return path


def _chat(question: str, answer: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def environment(home: Path) -> dict[str, str]:
    """The environment of a run: its own store, one thread, no network."""
    return os.environ | {"BURNISH_HOME": str(home), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pipelines", *arguments]


def burnish(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    return subprocess.run(
        command(*arguments), env=environment(home), capture_output=True, text=True, timeout=300, check=False
    )


def contents(home: Path) -> dict[str, str]:
    """sha256 of every file of every finished artifact, without records and without what a report says of times."""
    return {
        path.relative_to(home).as_posix(): hashlib.sha256(timeless(path)).hexdigest()
        for path in sorted((home / "artifacts").rglob("*"))
        if path.is_file() and path.name != "artifact.json"
    }
