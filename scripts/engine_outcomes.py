"""What engines do with folders: whether they take them, and how far their log-probabilities are from the first's.

    python -m scripts.engine_outcomes SOUND FOLDER...
    python -m scripts.engine_outcomes --engine transformers SOUND FOLDER...
    python -m scripts.engine_outcomes --broken [NAME...]     # those that the tests of the rules build

vLLM is imported once; a folder takes a few seconds. transformers is asked as users ask it, without any check of ours.
"""

import argparse
import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from transformers import AutoModelForCausalLM

from pipelines.errors import UserError
from pipelines.serving.environments import Environment, require
from pipelines.serving.look.parity import logits, logprobs
from pipelines.serving.vllm.ask import prompt_logprobs
from pipelines.serving.vllm.flags import flags
from pipelines.serving.vllm.parity import FLOAT32, largest
from pipelines.serving.vllm.server import NAME, session
from tests.unit.serving.lint import healthy
from tests.unit.serving.lint.broken import BROKEN

PROMPTS = [[5, 17, 33, 80, 121, 60, 9, 200], [300, 4, 4, 4, 90]]
CONTEXT = 64


class Outcome(NamedTuple):
    """What vLLM does with a folder, in words, and the log-probabilities of PROMPTS where they are numbers."""

    says: str
    logprobs: list[list[float]] | None


def outcomes(environment: Environment, folders: Sequence[Path], log: Path | None = None) -> Iterator[Outcome]:
    """One after the other, in float32."""
    with session(environment, log=log) as live:
        for folder in folders:
            try:
                with live.serve(folder, flags(environment, "float32", 4, CONTEXT)) as client:
                    yield Outcome("serves it", prompt_logprobs(client, NAME, PROMPTS))
            except UserError as error:
                refused = error.problems[0].what == "vLLM ended"
                yield Outcome(f"refuses it: {error.problems[0].got}" if refused else "serves NaN", None)


def loaded(folders: Sequence[Path]) -> Iterator[Outcome]:
    """The same in transformers."""
    for folder in folders:
        try:
            model, report = AutoModelForCausalLM.from_pretrained(folder, dtype="float32", output_loading_info=True)
            said = [logprobs(row, prompt) for row, prompt in zip(logits(model, PROMPTS), PROMPTS, strict=True)]
        # Whatever it raises is what a user would see.
        except Exception as error:
            yield Outcome(
                f"refuses it: {type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}", None
            )
            continue
        odd = [kind for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") if report[kind]]
        numbers = all(math.isfinite(value) for row in said for value in row)
        told = f"loads it, telling of {', '.join(odd)}" if odd else "loads it"
        yield Outcome(told if numbers else f"{told}, NaN", said if numbers else None)


def beside(outcome: Outcome, sound: Outcome) -> str:
    """The outcome in words, against that of a sound folder."""
    if outcome.logprobs is None or sound.logprobs is None:
        return outcome.says
    found = largest(outcome.logprobs, sound.logprobs)
    return f"{outcome.says}, the same" if found < FLOAT32 else f"{outcome.says}, {found:.2g} nats off"


def broken(names: Sequence[str], into: Path) -> dict[str, Path]:
    """Sound folders by kind, and beside them broken ones by name; heads of 32, which vLLM's kernels on a CPU take."""
    healthy.SIZES.update(hidden_size=128, intermediate_size=128)
    chosen = {name: BROKEN[name] for name in names or BROKEN}
    found = {}
    for kind in sorted({case.of for case in chosen.values()}):
        found[kind] = _save(kind, into / kind)
    for name, case in chosen.items():
        found[name] = _save(case.of, into / name)
        case.make(found[name])
    return found


def _save(kind: str, folder: Path) -> Path:
    sharded = kind.endswith("-sharded")
    return healthy.save(kind.removesuffix("-sharded"), folder, "100KB" if sharded else "50GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("vllm", "transformers"), default="vllm")
    parser.add_argument("--broken", action="store_true")
    parser.add_argument("--log", type=Path, default=Path("engine_outcomes.log"))
    parser.add_argument("names", nargs="*")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folders = broken(asked.names, Path(scratch)) if asked.broken else {name: Path(name) for name in asked.names}
        seen: dict[str, Outcome] = {}
        paths = list(folders.values())
        ends = (
            loaded(paths) if asked.engine == "transformers" else outcomes(require("vllm", "--engine"), paths, asked.log)
        )
        for name, outcome in zip(folders, ends, strict=True):
            first = BROKEN[name].of if name in BROKEN else name if asked.broken else next(iter(folders))
            print(f"{name}: {beside(outcome, seen.get(first, outcome))}", flush=True)
            seen[name] = outcome


if __name__ == "__main__":
    main()
