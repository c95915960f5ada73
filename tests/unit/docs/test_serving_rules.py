"""docs/serving-rules.md lists every rule there is, and none that is not."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+|sizes|ollama")


def in_code() -> set[str]:
    """The texts of the packages that make findings which look like names of rules."""
    found = set()
    for folder in ("pipelines/serving/lint", "pipelines/quantize"):
        for path in (ROOT / folder).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value):
                    found.add(node.value)
    return found


def passed_to_findings() -> set[str]:
    """The first arguments of Finding(...), where they are texts."""
    found = set()
    for folder in ("pipelines/serving/lint", "pipelines/quantize"):
        for path in (ROOT / folder).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding" and node.args:
                    first = node.args[0]
                    found |= {first.value} if isinstance(first, ast.Constant) else set()
    return found


def in_docs() -> set[str]:
    """What stands in the tables, first column."""
    text = (ROOT / "docs" / "serving-rules.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row)}


def test_every_rule_is_in_the_docs() -> None:
    assert passed_to_findings() - in_docs() == set()


def test_the_docs_name_no_rule_that_is_not_in_the_code() -> None:
    assert in_docs() - in_code() == set()
