"""Checkpoint average: the mean of the last checkpoints of one training run.

Papers: Kaddour 2022, "Stop Wasting My Time! Saving Days of ImageNet and BERT Training with Latest Weight Averaging"
(LAWA), arXiv 2209.14981; Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization"
(SWA), arXiv 1803.05407; Li et al. 2025, "Model Merging in Pre-training of Large Language Models" (PMA), arXiv
2505.12082.
Formula: (1 / n) sum_j theta_(T - j s) for j = 0 .. n - 1, elementwise, in fp32; T is the last step, s those between.
For adapters it is theta_base + (1 / n) sum_j c B_j A_j: the mean of the task vectors, which is not the product of the
mean B and the mean A.

One checkpoint is that checkpoint, and so is the mean of equal ones, bitwise.

Divergences: LAWA and PMA average while training goes on, and SWA under a cyclic or constant rate; here the run is over,
and its schedule is the recipe's: `constant` leaves the average most to do, for a rate that decays to zero has the last
checkpoints lie close together. Every checkpoint counts alike (PMA's SMA), none exponentially less. There are no batch
norm statistics to compute anew, as SWA has to.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from pipelines.engine.stage import Artifact
from pipelines.errors import wrong
from pipelines.hf.folder import CHECKPOINTS
from pipelines.merge.kinds import CheckpointAverage, Kind
from pipelines.merge.linear import mean_read
from pipelines.merge.reads import Read, TensorInputs, inputs_of, whole


def checkpoint_average(base: torch.Tensor, checkpoints: Sequence[torch.Tensor]) -> torch.Tensor:
    """The mean of checkpoints of one shape, as fp32; `base` is there for adapters only."""
    method = CheckpointAverage(kind="checkpoint_average")
    return whole(checkpoint_average_read(inputs_of(base, checkpoints), [1.0] * len(checkpoints), method), base.shape)


def checkpoint_average_read(x: TensorInputs, weights: Sequence[float], method: CheckpointAverage) -> Read:
    """The mean of the models; of adapters, the base with the mean of their task vectors."""
    if len(x.values) == 1 or None in x.products:
        return mean_read(x.values, weights, x.kernels)
    share = 1 / len(x.values)

    def read(start: int, stop: int) -> torch.Tensor:
        base, deltas = x.base_and_deltas(start, stop)
        mean = x.kernels.mean(list(deltas), [share] * len(deltas))
        return x.kernels.add(base, mean.unsqueeze(0), [1.0], 1.0)

    return read


def taken(trained: Artifact, method: Kind) -> list[Artifact]:
    """What a method merges of one member: for `checkpoint_average` its last checkpoints, else the member itself.

    UserError where the run kept fewer than are asked for.
    """
    if not isinstance(method, CheckpointAverage):
        return [trained]
    earlier = sorted((trained.path / CHECKPOINTS).glob("step-*"))
    wanted = method.last or max(2, len(earlier) + 1)
    if wanted > len(earlier) + 1:
        fix = f"Train it with checkpoints: {{every: 20, last: {wanted}}}"
        raise wrong(trained.name, f"kept too few checkpoints for {wanted}", str(len(earlier) + 1), fix)
    return [*(_checkpoint(trained, folder) for folder in earlier[len(earlier) + 1 - wanted :]), trained]


def _checkpoint(trained: Artifact, folder: Path) -> Artifact:
    step = int(folder.name.removeprefix("step-"))
    return Artifact(f"{trained.name} (step {step})", trained.kind, folder, f"{trained.key}/{folder.name}")
