"""Weights of earlier steps, kept beside the final ones for whoever averages them.

Written before the checkpoint to go on from at the same step, so that what a resumed run does not write again is whole.
"""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pipelines.errors import UserError
from pipelines.hf.folder import CHECKPOINTS
from pipelines.train.check import checkpoint_problems
from pipelines.train.config import Checkpoints


def kept_steps(wanted: Checkpoints | None, total: int) -> tuple[int, ...]:
    """The steps whose weights are kept, in their order; the last step is not one, its weights are the artifact.

    UserError where the run is too short for so many.
    """
    if wanted is None:
        return ()
    if problems := checkpoint_problems(wanted, total):
        raise UserError(*problems)
    return tuple(range(total - (wanted.last - 1) * wanted.every, total, wanted.every))


class KeepWeights(TrainerCallback):  # type: ignore[misc]
    """After each of `steps`: write the weights into a folder of their own under `out_dir`."""

    def __init__(self, steps: Collection[int], out_dir: Path, write: Callable[[Path], None]) -> None:
        self._steps, self._folder, self._write = steps, out_dir / CHECKPOINTS, write

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: Any) -> None:
        if state.global_step in self._steps:
            self._write(self._folder / f"step-{state.global_step:06}")
