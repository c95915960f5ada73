"""The elementwise methods under one call, and tensors to merge by them, for the tests of this room."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
import torch
from hypothesis import strategies as st

from pipelines.merge.kinds import Kind, Method
from pipelines.merge.methods import merged_read, surveyed
from pipelines.merge.reads import Read, TensorInputs, inputs_of, whole

Settings = Mapping[str, Any]
CLASSES = {get_args(option.model_fields["kind"].annotation)[0]: option for option in get_args(get_args(Method)[0])}

CASES: dict[str, Settings] = {
    "linear": {"kind": "linear"},
    "interpolate": {"kind": "interpolate", "alpha": 0.25},
    "task_arithmetic": {"kind": "task_arithmetic"},
    **{
        f"ties-{scope}-{sign}": {"kind": "ties", "density": 0.3, "scope": scope, "sign": sign}
        for scope in ("tensor", "row", "global")
        for sign in ("mass", "count")
    },
    "dare": {"kind": "dare", "density": 0.5},
    "dare_ties": {"kind": "dare_ties", "density": 0.5},
    "della": {"kind": "della", "density": 0.5, "epsilon": 0.25},
    "della-sum": {"kind": "della", "density": 0.5, "epsilon": 0.25, "elect": False},
    "breadcrumbs": {"kind": "breadcrumbs", "density": 0.5, "gamma": 0.125},
    "breadcrumbs-elect": {"kind": "breadcrumbs", "density": 0.5, "gamma": 0.125, "elect": True},
    "sce": {"kind": "sce", "density": 0.25},
}
"""Every method with the choices that change its arithmetic."""
WHOLE: dict[str, Settings] = {
    "interpolate": {"alpha": 1.0},
    "ties": {"density": 1.0},
    "dare": {"density": 1.0},
    "dare_ties": {"density": 1.0},
    "della": {"density": 1.0, "epsilon": 0.0},
    "breadcrumbs": {"density": 1.0, "gamma": 0.0},
}
"""What leaves every element in, by kind."""
RANDOM = ("dare", "dare_ties", "della", "della-sum")
MEANS = ("linear", "sce", "della", *(case for case in CASES if case.startswith("ties")))
"""Cases whose weights are relative to each other."""
SUMS = ("task_arithmetic", "dare", "dare_ties", "della-sum", "breadcrumbs", "breadcrumbs-elect")
"""Cases whose weights scale what they add."""
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def with_all(case: str) -> Settings:
    """The case with nothing trimmed or dropped."""
    return {**CASES[case], **WHOLE.get(CASES[case]["kind"], {})}


def method_of(settings: Settings) -> Kind:
    found: Kind = CLASSES[settings["kind"]].model_validate(dict(settings))
    return found


def inputs(
    base: torch.Tensor, tuned: Sequence[torch.Tensor], name: str = "w", models: str = "abcdefghijkl"
) -> TensorInputs:
    """The inputs of one tensor; each letter of `models` is the key of one."""
    return inputs_of(base, tuned, name)._replace(models=tuple(models[: len(tuned)]))


def read_of(settings: Settings, x: TensorInputs, weights: Sequence[float]) -> Read:
    method = method_of(settings)
    return merged_read(method, x._replace(bounds=surveyed(method, lambda: [x])), weights)


def merge(
    settings: Settings,
    base: torch.Tensor,
    tuned: Sequence[torch.Tensor],
    weights: Sequence[float] | None = None,
    name: str = "w",
    models: str = "abcdefghijkl",
) -> torch.Tensor:
    """The merged tensor in fp32; weights are 1 where none are given."""
    if settings["kind"] == "interpolate":
        tuned = tuned[:1]
    weights = [1.0] * len(tuned) if weights is None else weights[: len(tuned)]
    return whole(read_of(settings, inputs(base, tuned, name, models), weights), base.shape)


def bits(tensor: torch.Tensor) -> bytes:
    # A copy: an empty slice may have a stride that no view can be taken of.
    return torch.cat([tensor.reshape(-1), tensor.new_empty(1)])[:-1].view(torch.uint8).numpy().tobytes()


def grid(shape: Sequence[int], seed: int, count: int = 1) -> list[torch.Tensor]:
    """Tensors of multiples of 1/64 in [-2, 2], many of them equal: sums of them are exact in fp32 in any order."""
    generator = np.random.Generator(np.random.Philox(key=seed))
    return [torch.from_numpy(np.asarray(generator.integers(-128, 129, shape) / 64, np.float32)) for _ in range(count)]


shapes = st.sampled_from([(), (0,), (1,), (7,), (0, 3), (3, 0), (1, 1), (1, 9), (9, 1), (5, 7), (3, 1, 5), (2, 3, 4)])
seeds = st.integers(0, 2**32)
dtypes = st.sampled_from(DTYPES)
dyadic = st.sampled_from([0.25, 0.5, 1.0, 2.0])
