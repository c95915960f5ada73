"""A project that recipes can be checked and compiled in; nothing of it is ever run."""

from pathlib import Path

from pipelines.errors import UserError
from pipelines.recipe.compile import compile_graph
from pipelines.recipe.load import load

RECIPE = """\
burnish: 1
name: toy
base: {path: base}
seed: 17
data:
  chats: {source: {files: chats.jsonl}, split: {dev: 0.1, test: 0.1}}
replay:
  own: {from: base, policy: {kind: self}}
train:
  tuned: {on: chats, replay: {from: own}, method: {kind: lora, rank: 8}, learning_rate: 1e-3}
  whole: {on: chats, method: {kind: full}, learning_rate: 1e-4}
merge:
  kept: {models: [{use: tuned}], method: {kind: interpolate, alpha: 0.7}}
select:
  best: {from: [tuned, kept], maximize: skill/acc, subject_to: {general: {max_drop: 0.1}}, suite: dev}
evaluate:
  suites: {dev: evals/dev.yaml, test: evals/test.yaml}
  models: [whole]
gates:
  - {suite: test, metric: skill/acc, rule: improve, by: 0.1}
  - {suite: test, group: general, rule: no_regression, margin: 0.1}
export:
  ship: {model: best}
"""
ROW = '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}\n'
SUITE = """\
tasks:
  skill: {task: piqa, metric: acc}
texts:
  prose: {files: words.txt}
drift:
  said: {dataset: own}
"""


def make(folder: Path, recipe: str = RECIPE) -> Path:
    """Write the project and return the recipe's path."""
    for name in ("base", "evals"):
        (folder / name).mkdir()
    (folder / "base" / "config.json").write_text("{}")
    (folder / "pyproject.toml").write_text("")
    (folder / "words.txt").write_text("words\n")
    for name in ("chats.jsonl", "more.jsonl"):
        (folder / name).write_text(ROW)
    for name in ("dev", "test"):
        (folder / "evals" / f"{name}.yaml").write_text(SUITE)
    path = folder / "recipe.yaml"
    path.write_text(recipe)
    return path


def problems(path: Path, *overrides: str) -> list[str]:
    """Everything that is said to be wrong, the project's folder left out."""
    try:
        compile_graph(load(path, overrides))
    except UserError as error:
        return [line.replace(f"{path.parent}/", "") for line in str(error).splitlines()]
    return []
