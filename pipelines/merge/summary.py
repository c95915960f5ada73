"""What a merge did: how far each model is from the base, and how many tensors changed."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from pipelines.hf.shards import Weights, open_folder, same_bytes
from pipelines.merge.adapters.adapter import Adapter
from pipelines.merge.plan import MERGED, Plan, Source
from pipelines.merge.reads import Read, spans, stored

_RUN = 1 << 13
_RUNS = 32


def delta_norm_ratios(plan: Plan) -> list[float | None]:
    """|theta_i - theta_base| / |theta_base| of each member, over all matrices, in the order of the plan.

    None where one of them holds NaN or infinity.

    Norms and biases are left out: they are few and large, and hardly move. Exact for adapters and tensors of up to
    2**18 elements; estimated from 32 evenly spread runs of larger ones.
    """
    names = _matrices(plan)
    base = _base_square(plan, names)
    squares = [math.fsum(_delta_square(plan, member, name) for name in names) for member in plan.members]
    return [_ratio(square, base) for square in squares]


def merged_norm_ratio(plan: Plan, out_dir: Path) -> float | None:
    """The same ratio of what was written."""
    names, written = _matrices(plan), open_folder(out_dir).map()
    moved = (
        _square(stored(written.tensor(name)), written.info(name).elements, stored(plan.base.tensor(name)))
        for name in names
    )
    return _ratio(math.fsum(moved), _base_square(plan, names))


def _ratio(square: float, base: float) -> float | None:
    ratio = math.sqrt(square / base) if base else 0.0
    return float(f"{ratio:.4g}") if math.isfinite(ratio) else None


def _matrices(plan: Plan) -> list[str]:
    return [name for name in plan.base.tensors if _is_matrix(plan, name) and name not in plan.canonical]


def _base_square(plan: Plan, names: Sequence[str]) -> float:
    return math.fsum(_square(stored(plan.base.tensor(name)), plan.base.info(name).elements) for name in names)


def _is_matrix(plan: Plan, name: str) -> bool:
    info = plan.base.info(name)
    return info.dtype in MERGED and len(info.shape) > 1


def changed_tensors(plan: Plan, out_dir: Path) -> int:
    """How many stored tensors are not, byte for byte, those of the base."""
    written = open_folder(out_dir).map()
    return sum(_differs(plan.base, written, name) for name in plan.base.tensors)


def _delta_square(plan: Plan, member: Source, name: str) -> float:
    if not member.touches(name):
        return 0.0
    product = member.low_rank(name) if isinstance(member, Adapter) else None
    if product:
        return product.square()
    base = stored(plan.base.tensor(name))
    return _square(member.values(name, base), plan.base.info(name).elements, base)


def _square(values: Read, size: int, less: Read | None = None) -> float:
    """Sum of the squares of `values - less`, scaled up from the runs that were read."""
    runs = list(spans(size, _RUN))
    if size > _RUN * _RUNS:
        runs = [(start, start + _RUN) for start in (round(at * (size - _RUN) / (_RUNS - 1)) for at in range(_RUNS))]
    total = 0.0
    for start, stop in runs:
        run = values(start, stop)
        run = run if less is None else run - less(start, stop)
        total += float(torch.dot(run, run))
    return total * size / max(1, sum(stop - start for start, stop in runs))


def _differs(base: Weights, written: Weights, name: str) -> bool:
    if base.info(name).dtype != written.info(name).dtype:
        return True
    return not same_bytes(base.raw(name), written.raw(name))
