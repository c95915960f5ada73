"""Every YAML block of the documentation is part of a recipe that loads."""

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
import yaml

from pipelines.evaluate.config import Suite
from pipelines.gate.config import THRESHOLDS
from pipelines.merge.kinds import Method
from pipelines.recipe.compile import compile_graph
from pipelines.recipe.load import load
from pipelines.recipe.shape import kinds, options

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RECIPE = """
burnish: 1
name: page
base: {path: models/base}
data:
  chats: {source: {files: tickets.jsonl}, split: {dev: 0.1, test: 0.1}}
train:
  banking: {on: chats, method: {kind: lora, rank: 8}, learning_rate: 1e-3}
  sql: {on: chats, method: {kind: lora, rank: 8}, learning_rate: 1e-3}
evaluate:
  suites: {dev: evals/suites/tickets-dev.yaml, test: evals/suites/tickets-test.yaml}
  candidate: sql
"""
METHOD = "merge:\n  x:\n    models: [{use: banking}, {use: sql}]\n"
SUITE = "tasks: {tickets: {task: piqa, metric: exact_match}}\ntexts: {prose: {files: tickets.jsonl}}\n"
ROW = '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}\n'


def blocks(is_suite: bool = False) -> Iterator[Any]:
    for page in PAGES:
        found = re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        for number, block in enumerate(found, 1):
            if is_suite != block.startswith("tasks:"):
                continue
            yield pytest.param(block, id=f"{page.name}-{number}")


def recipe_of(block: str) -> str:
    """The block as a recipe: on its own where it is one, else among what it names."""
    if block.startswith("burnish:"):
        return block.replace("<40 hex digits>", "0a" * 20)
    if block.startswith("evaluate:"):
        return RECIPE.partition("evaluate:")[0] + block + "  candidate: sql\n"
    return RECIPE + (METHOD + indent(block, "    ") if block.startswith("method:") else block)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    for name in ("models/base", "models/law", "adapters/sql", "evals/suites"):
        (folder / name).mkdir(parents=True)
    for name in ("pyproject.toml", "models/base/config.json", "models/law/config.json"):
        (folder / name).write_text("")
    (folder / "tickets.jsonl").write_text(ROW)
    for split in ("dev", "test"):
        (folder / "evals" / "suites" / f"tickets-{split}.yaml").write_text(SUITE)
    return folder


@pytest.mark.parametrize("block", blocks())
def test_block_of_a_page_is_part_of_a_recipe(project: Path, block: str) -> None:
    path = project / "recipe.yaml"
    path.write_text(recipe_of(block))
    assert len(compile_graph(load(path, [])).nodes) > 1


@pytest.mark.parametrize("block", blocks(is_suite=True))
def test_block_of_tasks_is_a_suite_whose_own_files_are_there(block: str) -> None:
    suite = Suite.model_validate(yaml.safe_load(block))
    named = [path for task in suite.tasks.values() for path in (task.file, *task.needs) if path]
    assert named and all((ROOT / path).is_file() for path in named)


def test_page_on_evaluation_names_every_task_of_the_project() -> None:
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `([\w]+\.yaml)` \|", page, re.MULTILINE))
    assert named | {"text2sql_advising.yaml"} == {path.name for path in (ROOT / "evals" / "tasks").glob("*.yaml")}


def test_page_on_evaluation_names_every_rule() -> None:
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", page, re.MULTILINE)) == THRESHOLDS


def test_page_on_merging_names_every_method() -> None:
    page = (ROOT / "docs" / "merging.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert named == {kind for option in options(Method) for kind in kinds(option)}


def test_page_on_searching_names_every_way_to_search() -> None:
    page = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == {"by", "grid", "tpe", "cmaes", "greedy"}


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\((?!\w+://|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
