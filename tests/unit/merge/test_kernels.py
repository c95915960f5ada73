"""The compiled kernels, and those on a device, give the bits of the reference."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.merge.compiled import _compiled, compiled
from pipelines.merge.kernels import Kernels, reference
from pipelines.merge.on_device import OnDevice

SIZES = [1, 31, 32, 33, 2047, 2049, 5000]
OTHERS = pytest.mark.parametrize("other", [compiled, OnDevice("cpu")], ids=["compiled", "on_device"])
NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**60), max_value=2.0**60)


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(torch.int16 if tensor.itemsize == 2 else torch.int32)


def some(size: int, models: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A base and deltas with zeros of both signs, equal and opposite numbers."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(size, generator=generator)
    deltas = 0.01 * torch.randn(models, size, generator=generator)
    base[::13] = -0.0
    deltas[:, ::7] = 0.0
    deltas[:, ::11] = -0.0
    deltas[-1, ::5] = -deltas[0, ::5]
    return base, deltas


@OTHERS
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("models", [1, 2, 3, 12])
def test_sums_and_elections_are_bitwise_the_reference(other: Kernels, size: int, models: int) -> None:
    base, deltas = some(size, models)
    weights = [1.0, 0.6, 0.3, -0.2, *[0.1] * 8][:models]
    assert bits(other.add(base, deltas.clone(), weights, 0.7)).equal(bits(reference.add(base, deltas, weights, 0.7)))
    positive = [abs(weight) for weight in weights]
    for divide, count in itertools.product((False, True), repeat=2):
        ours = other.elect(base, deltas.clone(), positive, 0.7, divide, count)
        assert bits(ours).equal(bits(reference.elect(base, deltas.clone(), positive, 0.7, divide, count)))
    shares = [weight / sum(positive) for weight in positive]
    assert bits(other.mean(list(deltas), shares)).equal(bits(reference.mean(list(deltas), shares)))


@OTHERS
@pytest.mark.parametrize("size", SIZES)
def test_thinning_is_bitwise_the_reference(other: Kernels, size: int) -> None:
    _, deltas = some(size, 2)
    low, high = [0.005, 0.0], [np.inf, 0.01]
    ours = other.keep_between(deltas.clone(), low, high)
    assert bits(ours).equal(bits(reference.keep_between(deltas.clone(), low, high)))
    words = np.random.default_rng(0).integers(0, 1 << 16, size).astype(np.uint16)
    for level in (1, 20000, 40000, 65535):
        ours = other.drop(deltas[0].clone(), words, level, 65536 / level)
        assert bits(ours).equal(bits(reference.drop(deltas[0].clone(), words, level, 65536 / level)))


@OTHERS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("size", SIZES)
def test_differences_are_bitwise_the_reference(other: Kernels, size: int, dtype: torch.dtype) -> None:
    base, deltas = some(size, 3)
    stored, values = base.to(dtype), [(base + delta).to(dtype) for delta in deltas]
    for ours, theirs in zip(other.differences(values, stored), reference.differences(values, stored), strict=True):
        assert bits(ours).equal(bits(theirs))
    ours, theirs = torch.empty(size), torch.empty(size)
    other.subtract(values[0], stored, ours)
    reference.subtract(values[0], stored, theirs)
    assert bits(ours).equal(bits(theirs))


@OTHERS
@settings(deadline=None, max_examples=200)
@given(st.lists(NUMBERS, min_size=1, max_size=80), st.sampled_from([torch.bfloat16, torch.float16, torch.float32]))
def test_rounding_is_bitwise_the_reference(other: Kernels, numbers: list[float], dtype: torch.dtype) -> None:
    values = torch.tensor(numbers)
    made, finite = other.rounded(values, dtype)
    expected, all_finite = reference.rounded(values, dtype)
    assert finite == all_finite == bool(torch.isfinite(values.to(dtype)).all())
    assert bits(made).equal(bits(expected)) and bits(expected).equal(bits(values.to(dtype)))


@OTHERS
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 3.4e38])
def test_rounding_tells_of_what_is_not_finite(other: Kernels, odd: float) -> None:
    values = torch.ones(100)
    values[41] = odd
    made, finite = other.rounded(values, torch.bfloat16)
    assert not finite and not torch.isfinite(made[41])


@pytest.mark.parametrize("size", SIZES)
def test_bracket_is_the_reference(size: int) -> None:
    _, deltas = some(size, 1)
    for low, high in [(0.004, 0.006), (0.0, 1.0), (0.5, 0.6), (float(deltas[0].abs().max()),) * 2]:
        bounds = [int(np.float32(bound).view(np.int32)) for bound in (low, high)]
        ours, theirs = (torch.empty(size + 1, dtype=torch.int32) for _ in range(2))
        found = compiled.bracket(deltas[0], *bounds, ours)
        assert found == reference.bracket(deltas[0], *bounds, theirs)
        assert ours[: found[1]].equal(theirs[: found[1]])


def test_nan_of_an_input_reaches_the_result() -> None:
    for kernels in (reference, compiled):
        base, deltas = some(64, 2)
        deltas[1, 30] = torch.nan
        deltas[0, 31] = torch.inf
        assert kernels.add(base, deltas.clone(), [1, 1], 1.0)[30].isnan()
        assert kernels.elect(base, deltas.clone(), [1, 1], 1.0, True, False)[30].isnan()
        kept = kernels.keep_between(deltas.clone(), [0.1, 0.1], [0.2, np.inf])
        assert kept[1, 30].isnan() and kept[0, 31].isinf()


def test_kernel_is_compiled_where_machine_code_cannot_be_kept() -> None:
    scope: dict = {}
    exec(compile("def add(a, b):\n    return a + b\n", "/proc/nowhere.py", "exec"), scope)
    assert _compiled(scope["add"])(1, 2) == 3
