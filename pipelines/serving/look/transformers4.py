"""A folder loaded by transformers 4 in its own environment, and whether it means the same there."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file

from pipelines.errors import Problem, UserError
from pipelines.hf.markers import DAY
from pipelines.serving.environments import Environment
from pipelines.serving.look.fresh import Reloaded
from pipelines.serving.look.parity import PROMPTS, compare, summation
from pipelines.serving.scripts import ask

_FACTS = ("prompts", "plain", "template", "dtype", "architecture", "tied")


def in_transformers4(environment: Environment, folder: Path, prompts: list[list[int]]) -> Reloaded:
    """What `fresh.reload` says of a folder, said by transformers 4. UserError where it cannot load it whole."""
    return folders_in_transformers4(environment, {folder: prompts})[0]


def folders_in_transformers4(environment: Environment, folders: Mapping[Path, list[list[int]]]) -> list[Reloaded]:
    """The same of several folders in one process. UserError with a problem for each that cannot be loaded whole."""
    asked = [{"folder": str(folder.absolute()), "prompts": prompts} for folder, prompts in folders.items()]
    with tempfile.TemporaryDirectory() as scratch:
        request = {"questions": PROMPTS, "day": [DAY.year, DAY.month, DAY.day], "folders": asked, "out": scratch}
        answers = ask(environment, "transformers4.py", request, "folders")["folders"]
        return _read(list(folders), answers, Path(scratch))


def disagreements(before: Reloaded, after: Reloaded, where: str) -> list[Problem]:
    """What is not the same in `after`, in the words of a Problem each; `before` is of transformers 5."""
    fix = "Export the folder again, which writes its files for both versions"
    found = [
        Problem(where, f"transformers 4 reads another {name}", f"{str(after.facts[name])[:60]}", fix)
        for name in _FACTS
        if before.facts[name] != after.facts[name]
    ]
    apart = compare(before.logits, after.logits)
    if apart.relative > summation(before.facts["dtype"]):
        got = f"max |dlogit| {apart.largest:.3g}"
        found.append(Problem(where, "transformers 4 computes other logits", got, fix))
    return found


def _read(folders: list[Path], answers: list[dict[str, object]], scratch: Path) -> list[Reloaded]:
    problems, found = [], []
    for at, (folder, facts) in enumerate(zip(folders, answers, strict=True)):
        odd = facts.get("odd")
        if said := facts.get("problem") or (odd[0] if isinstance(odd, list) and odd else None):
            fix = "Export the folder again, which writes its files for both versions"
            problems.append(Problem(str(folder), "transformers 4 cannot load it whole", str(said)[:200], fix))
            continue
        rows = load_file(scratch / f"{at}.safetensors")
        found.append(Reloaded(facts, [rows[f"{row}"].clone() for row in range(len(rows))]))
    if problems:
        raise UserError(*problems)
    return found
