"""The kernels of `kernels` on an accelerator: slices go there once, and only the rounded result comes back.

The operations are those of the reference, each rounded by itself, so the result is that of the CPU. Thresholds, which
look at the inputs alone, are found on the CPU.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from pipelines.errors import wrong
from pipelines.merge.kernels import Kernels, Reference


def on_device(device: str) -> Kernels:
    """The kernels of a device. UserError where the machine has none of that name."""
    wanted = torch.device(device)
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        got = f"{device}, and there are {torch.cuda.device_count()} CUDA devices"
        raise wrong("device", "is not on this machine", got, "Set device: cpu")
    return OnDevice(device)


class OnDevice(Reference):
    """The reference with its tensors on `device`."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)

    def differences(self, values: Sequence[torch.Tensor], base: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return super().differences([self._there(value) for value in values], self._there(base))

    def mean(self, values: Sequence[torch.Tensor], shares: Sequence[float]) -> torch.Tensor:
        return super().mean([self._there(value) for value in values], shares)

    def add(self, base: torch.Tensor, deltas: torch.Tensor, weights: Sequence[float], lambda_: float) -> torch.Tensor:
        return super().add(self._there(base), self._there(deltas), weights, lambda_)

    def elect(
        self,
        base: torch.Tensor,
        deltas: torch.Tensor,
        weights: Sequence[float],
        lambda_: float,
        divide: bool,
        count: bool,
    ) -> torch.Tensor:
        return super().elect(self._there(base), self._there(deltas), weights, lambda_, divide, count)

    def drop(self, delta: torch.Tensor, words: npt.NDArray[np.uint16], level: int, scale: float) -> torch.Tensor:
        # Half the bytes of a mask in fp32 are sent.
        keep = torch.from_numpy(words.view(np.int16)).to(delta.device).to(torch.int32).bitwise_and_(0xFFFF) < level
        return delta.mul_(keep).mul_(scale)

    def rounded(self, values: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, bool]:
        made, finite = super().rounded(values, dtype)
        return made.cpu(), finite

    def _there(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self._device)
