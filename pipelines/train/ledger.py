"""The loss of every step, new and replayed tokens apart."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist

from pipelines.errors import wrong

CURVE = "curve.json"


class Point(NamedTuple):
    """Mean nats per loss token of one optimizer step; None where the step held no token of that kind."""

    step: int
    loss: float | None
    replay_loss: float | None


@dataclass
class Ledger:
    """Sums the losses of a step on the device, and reads them once a step."""

    curve: list[Point] = field(default_factory=list)
    _sums: torch.Tensor | None = None

    def add(self, losses: torch.Tensor, replayed: torch.Tensor) -> None:
        """Count the losses [N] of a forward pass; `replayed` [N] says which are of replayed rows."""
        old, count = losses[replayed], torch.tensor(float(len(losses)), device=losses.device)
        sums = torch.stack([losses.sum() - old.sum(), count - len(old), old.sum(), torch.zeros_like(count) + len(old)])
        self._sums = sums if self._sums is None else self._sums + sums

    def close(self, step: int, asked_to_stop: bool) -> tuple[Point, bool]:
        """End a step over all ranks: its point, and whether any rank was asked to stop.

        UserError where the loss is no number: from there on nothing can be learned.
        """
        assert self._sums is not None, "a step without a forward pass"
        sums = torch.cat([self._sums, self._sums.new_tensor([float(asked_to_stop)])])
        if dist.is_initialized():
            dist.all_reduce(sums)
        new, new_tokens, old, old_tokens, stops = sums.tolist()
        self._sums = None
        if not math.isfinite(new + old):
            fix = "Lower learning_rate, or train with precision: float32"
            raise wrong("train", f"the loss is no number at step {step}", str(new + old), fix)
        point = Point(step, new / new_tokens if new_tokens else None, old / old_tokens if old_tokens else None)
        self.curve.append(point)
        return point, stops > 0

    def save(self, folder: Path) -> None:
        (folder / CURVE).write_text(json.dumps(self.curve), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Ledger":
        """The ledger as it was saved beside a checkpoint."""
        return cls([Point(*point) for point in json.loads((folder / CURVE).read_text(encoding="utf-8"))])
