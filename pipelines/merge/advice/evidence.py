"""How models relate to their base and to each other, measured on samples of their weights.

Task vectors: Ilharco et al. 2022, arXiv 2212.04089. Signs among the top 20 % of magnitudes: Yadav et al. 2023, arXiv
2306.01708, section 3.

Norms and biases are left out: they are few and large, and hardly move. Tensors of up to SAMPLE elements are read
whole; of larger ones as many elements are read in runs whose places depend on the tensor's name alone, and sums are
scaled up. Products of two adapters are exact, from their factors.
"""

import math
import random
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, combinations_with_replacement, pairwise
from typing import NamedTuple

import numpy as np
import torch

from pipelines.engine.progress import progress
from pipelines.errors import UserError, wrong
from pipelines.merge.adapters.low_rank import LowRank
from pipelines.merge.advice.overlap import left_vectors, overlap_of
from pipelines.merge.advice.signals import Evidence, ModelSignals, PairSignals
from pipelines.merge.reads import TensorInputs
from pipelines.merge.schedule import layer_of
from pipelines.merge.tied import is_embedding_or_head

SAMPLE, RUN = 1 << 18, 1 << 12
TOP = 0.2
MATRICES = 8
_OTHER = "other"
_EMBEDDING = "embedding and head"


class Tensor(NamedTuple):
    """One tensor of all models; `factors` where a model is an adapter that changes it."""

    x: TensorInputs
    factors: tuple[LowRank | None, ...]


class _Sums(NamedTuple):
    """Sums over one tensor, scaled up to all its elements: `gram` [models, models], `unchanged` [models], and by pair
    how many top elements are in either model, in both, and in both with opposite signs."""

    group: str
    elements: int
    sampled: int
    base: float
    gram: torch.Tensor
    unchanged: torch.Tensor
    tops: Mapping[tuple[int, int], tuple[float, float, float]]


def measure(models: Sequence[str], names: Sequence[str], open_: Callable[[str], Tensor]) -> Evidence:
    """The evidence on `models`, from the tensors `names` that `open_` opens one at a time. The same for any order.

    UserError where a model, or the base, holds NaN or infinity.
    """
    sums, matrices, parameters = [], [], 0
    for done, name in enumerate(sorted(names), 1):
        tensor = open_(name)
        parameters += tensor.x.elements
        if not tensor.x.vector:
            sums.append(_sums(tensor))
            if not math.isfinite(sums[-1].base + float(sums[-1].gram.sum())):
                raise _broken(models, tensor.x)
        if tensor.x.matrix and len(tensor.x.shape) == 2 and _touched(tensor):
            matrices.append(name)
        progress(done, len(names), "tensors")
    picked = sorted(random.Random(0).sample(matrices, min(MATRICES, len(matrices)))) if len(models) > 1 else []
    return Evidence(
        parameters=parameters,
        sampled=sum(one.sampled for one in sums),
        matrices=tuple(picked),
        models=tuple(_model(name, place, sums) for place, name in enumerate(models)),
        pairs=_pairs(models, sums, [_overlaps(open_(name)) for name in picked]),
    )


def _broken(models: Sequence[str], x: TensorInputs) -> UserError:
    for owner, read in (("base", x.base), *zip(models, x.values, strict=True)):
        if not all(torch.isfinite(read(start, stop)).all() for start, stop in runs(x.name, x.elements)):
            fix = "This model is broken: make it again or leave it out"
            return wrong(owner, f"tensor {x.name} holds NaN or infinite values", "", fix)
    return wrong(", ".join(models), f"tensor {x.name} holds values that are too large to compare")


def _touched(tensor: Tensor) -> bool:
    return all(read is None or factor for read, factor in zip(tensor.x.products, tensor.factors, strict=True))


def runs(name: str, elements: int) -> list[tuple[int, int]]:
    """The slices of a tensor that are read: all of a small one, else one run somewhere in each of equal parts."""
    if elements <= SAMPLE:
        return [(0, elements)] if elements else []
    places = SAMPLE // RUN
    borders = [place * elements // places for place in range(places + 1)]
    draw = np.random.default_rng(zlib.crc32(name.encode()))
    starts = [int(draw.integers(left, right - RUN + 1)) for left, right in pairwise(borders)]
    return [(start, start + RUN) for start in starts]


def _sums(tensor: Tensor) -> _Sums:
    x, count = tensor.x, len(tensor.x.values)
    base, deltas, unchanged = _read(x)
    sampled = base.numel()
    scale = x.elements / sampled if sampled else 0.0
    gram = deltas @ deltas.T * scale
    for first, second in combinations_with_replacement(range(count), 2):
        if x.products[first] is not None and x.products[second] is not None:
            gram[first, second] = gram[second, first] = product(tensor.factors[first], tensor.factors[second])
    tops = _tops(deltas, scale) if sampled else {}
    return _Sums(_group(x.name), x.elements, sampled, float(base @ base) * scale, gram, unchanged * scale, tops)


def _read(x: TensorInputs) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What is sampled of a tensor: the base and the task vectors [models, sampled] in fp64; how many are unchanged."""
    bases, deltas = [torch.empty(0)], [torch.empty(len(x.values), 0)]
    unchanged = torch.zeros(len(x.values), dtype=torch.float64)
    for start, stop in runs(x.name, x.elements):
        base, rows = x.base_and_deltas(start, stop)
        bases.append(base)
        deltas.append(rows)
        rounded = base.bfloat16()
        unchanged += torch.tensor([float((read(start, stop).bfloat16() == rounded).sum()) for read in x.values])
    return torch.cat(bases).double(), torch.cat(deltas, 1).double(), unchanged


def product(first: LowRank | None, second: LowRank | None) -> float:
    """The inner product of two low-rank task vectors, without computing them; None leaves the tensor alone."""
    if first is None or second is None:
        return 0.0
    left = first.left.double().T @ second.left.double()
    right = first.right.double() @ second.right.double().T
    return float((left * right).sum()) * first.scale * second.scale


def _tops(deltas: torch.Tensor, scale: float) -> dict[tuple[int, int], tuple[float, float, float]]:
    magnitudes = deltas.abs()
    count = max(1, round(TOP * deltas.shape[1]))
    bounds = magnitudes.kthvalue(deltas.shape[1] - count + 1, dim=1, keepdim=True).values
    tops = (magnitudes >= bounds) & (magnitudes > 0)
    found = {}
    for first, second in combinations(range(len(deltas)), 2):
        both = tops[first] & tops[second]
        opposed = both & (deltas[first] * deltas[second] < 0)
        counts = (tops[first] | tops[second]), both, opposed
        either_, both_, opposed_ = (float(mask.sum()) * scale for mask in counts)
        found[first, second] = (either_, both_, opposed_)
    return found


def _group(name: str) -> str:
    layer = layer_of(name)
    if layer is not None:
        return str(layer)
    return _EMBEDDING if is_embedding_or_head(name) else _OTHER


def _overlaps(tensor: Tensor) -> dict[tuple[int, int], tuple[float, float]]:
    """Overlap and chance of each pair on one matrix; none where a model does not change it."""
    found = {}
    vectors = [left_vectors(tensor.x, place, factor) for place, factor in enumerate(tensor.factors)]
    for first, second in combinations(range(len(vectors)), 2):
        if vectors[first].shape[1] and vectors[second].shape[1]:
            found[first, second] = overlap_of(vectors[first], vectors[second])
    return found


def _model(name: str, place: int, sums: Sequence[_Sums]) -> ModelSignals:
    groups = sorted({one.group for one in sums}, key=lambda group: (not group.isdigit(), group.zfill(9)))
    inside = {group: [one for one in sums if one.group == group] for group in groups}
    changed = [one for one in sums if one.gram[place, place] > 0]
    elements = sum(one.elements for one in changed)
    return ModelSignals(
        name=name,
        size=_size(place, sums),
        layers={group: _size(place, members) for group, members in inside.items()},
        unchanged=_short(math.fsum(float(one.unchanged[place]) for one in changed) / elements if elements else 1.0),
    )


def _size(place: int, sums: Sequence[_Sums]) -> float:
    base = math.fsum(one.base for one in sums)
    square = math.fsum(float(one.gram[place, place]) for one in sums)
    return _short(math.sqrt(square / base) if base else 0.0)


def _pairs(
    models: Sequence[str], sums: Sequence[_Sums], overlaps: Sequence[Mapping[tuple[int, int], tuple[float, float]]]
) -> tuple[PairSignals, ...]:
    return tuple(_pair(models, pair, sums, overlaps) for pair in combinations(range(len(models)), 2))


def _pair(
    models: Sequence[str],
    pair: tuple[int, int],
    sums: Sequence[_Sums],
    overlaps: Sequence[Mapping[tuple[int, int], tuple[float, float]]],
) -> PairSignals:
    first, second = pair
    norms = [math.sqrt(math.fsum(float(one.gram[at, at]) for one in sums)) for at in pair]
    inner = math.fsum(float(one.gram[first, second]) for one in sums)
    moved = min(norms) > 0
    either, both, opposed = (math.fsum(one.tops[pair][at] for one in sums if one.tops) for at in range(3))
    found = [one[pair] for one in overlaps if pair in one]
    return PairSignals(
        models=(models[first], models[second]),
        cosine=_short(inner / norms[0] / norms[1]) if moved else None,
        ratio=_short(max(norms) / min(norms)) if moved else None,
        shared=_short(both / either if either else 0.0),
        conflict=_short(opposed / either if either else 0.0),
        overlap=_mean(value for value, _ in found),
        chance=_mean(value for _, value in found),
    )


def _mean(values: Iterator[float]) -> float | None:
    listed = list(values)
    return _short(math.fsum(listed) / len(listed)) if listed else None


def _short(value: float) -> float:
    """Four digits: as many as a sample is worth."""
    return float(f"{value:.4g}")
