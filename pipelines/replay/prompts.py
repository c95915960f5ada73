"""The seed prompts that a base model answers, and the order and seeds in which it does so."""

import hashlib
import random
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from pipelines.errors import wrong


class Attempt(NamedTuple):
    """One answer to be written: its own seed makes it independent of what else is written beside it."""

    prompt: str
    seed: int


def read_prompts(path: Path | None) -> list[str]:
    """The prompts of a file, one a line, each once; without a file the project's own. UserError when none is there."""
    name = "the project's prompts" if path is None else path.name
    try:
        text = (path or files("pipelines.replay").joinpath("prompts.txt")).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise wrong(name, f"the seed prompts cannot be read: {error}", fix="One prompt a line, in UTF-8") from error
    prompts = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if not prompts:
        raise wrong(name, "holds no seed prompts", fix="Write one prompt a line")
    return prompts


def attempts(prompts: list[str], count: int, seed: int) -> list[Attempt]:
    """As many attempts as asked for: round after round over all prompts, each round in an order of its own."""
    found: list[Attempt] = []
    turn = 0
    while len(found) < count:
        order = list(prompts)
        random.Random(f"{seed} {turn}").shuffle(order)
        found += (Attempt(prompt, _seed(f"{seed} {turn} {prompt}")) for prompt in order)
        turn += 1
    return found[:count]


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])
