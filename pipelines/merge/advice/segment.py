"""Loss along the straight line between models: whether what lies between them is any good.

Barrier: Frankle et al. 2020, arXiv 1912.05671, as the height above the straight line between the losses of the ends
(Entezari et al. 2021, arXiv 2110.06296).

One model is in memory. Its weights are overwritten with every point of a segment, straight from the mapped files, and
rounded to the type of the base as a merge would round them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from pipelines.engine.progress import progress
from pipelines.errors import wrong
from pipelines.hf.chat import IGNORED
from pipelines.hf.models import load_model
from pipelines.hf.rows import Row, read_rows
from pipelines.merge.advice.signals import Curve
from pipelines.merge.inputs import inputs
from pipelines.merge.plan import MERGED, Plan
from pipelines.merge.reads import Read, spans

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
ROWS = 64
BASE = -1
_SLICE = 1 << 20


class Segment(NamedTuple):
    """From one model to another, by their places among the members (BASE is the base), on a dataset's rows."""

    start: int
    stop: int
    data: str


class _Point(NamedTuple):
    """The model `start` + alpha (`stop` - `start`); one of the models themselves has alpha 0."""

    start: int
    stop: int
    alpha: float


def held_out(name: str, folder: Path) -> list[Row]:
    """At most ROWS development rows with loss on them, the same ones every time. UserError where there are none."""
    file = folder / "rows" / "dev.parquet"
    rows = [row for row in read_rows(file) if row.loss_tokens] if file.is_file() else []
    if not rows:
        fix = "Add split: {dev: 0.05} to it, or leave out --measure-loss"
        raise wrong(name, "has no development rows to measure the loss on", "", fix)
    return sorted(rows, key=lambda row: row.id)[:ROWS]


def curves(
    plan: Plan, names: Mapping[int, str], segments: Sequence[Segment], rows: Mapping[str, Sequence[Row]]
) -> tuple[Curve, ...]:
    """The losses along every segment. `names` says who is at a place, `rows` holds the rows of every dataset."""
    wanted: dict[_Point, dict[str, None]] = {}
    for segment in segments:
        for alpha in ALPHAS:
            wanted.setdefault(_point(segment, alpha), {})[segment.data] = None
    model = load_model(plan.base_folder)
    _check_names(plan, model)
    losses: dict[tuple[_Point, str], float] = {}
    for done, (point, data) in enumerate(wanted.items(), 1):
        _place(plan, model, point)
        losses |= {(point, name): mean_loss(model, rows[name]) for name in data}
        progress(done, len(wanted), "points")
    return tuple(_curve(segment, names, rows, losses) for segment in segments)


def barrier(losses: Sequence[float], alphas: Sequence[float] = ALPHAS) -> float:
    """The most that an inner point lies above the straight line between the ends; negative where all lie below."""
    line = (losses[0] + alpha * (losses[-1] - losses[0]) for alpha in alphas)
    return max(loss - level for loss, level in list(zip(losses, line, strict=True))[1:-1])


@torch.inference_mode()
def mean_loss(model: PreTrainedModel, rows: Sequence[Row]) -> float:
    """Mean loss in nats over the tokens that loss is taken on, one row at a time."""
    total, count = 0.0, 0
    for row in rows:
        logits = model(torch.tensor([row.input_ids], device=model.device), use_cache=False).logits[0, :-1].float()
        labels = torch.tensor(row.labels[1:], device=model.device)
        losses = torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none")
        total += float(losses.double().sum())
        count += row.loss_tokens
    return total / count


def _point(segment: Segment, alpha: float) -> _Point:
    if alpha in (0.0, 1.0):
        end = segment.stop if alpha else segment.start
        return _Point(end, end, 0.0)
    return _Point(segment.start, segment.stop, alpha)


def _curve(
    segment: Segment,
    names: Mapping[int, str],
    rows: Mapping[str, Sequence[Row]],
    losses: Mapping[tuple[_Point, str], float],
) -> Curve:
    found = [losses[_point(segment, alpha), segment.data] for alpha in ALPHAS]
    return Curve(
        ends=(names[segment.start], names[segment.stop]),
        data=segment.data,
        rows=len(rows[segment.data]),
        alphas=ALPHAS,
        losses=tuple(float(f"{loss:.6g}") for loss in found),
        barrier=float(f"{barrier(found):.4g}"),
    )


def _merged_names(plan: Plan) -> list[str]:
    return [name for name in plan.base.tensors if plan.base.info(name).dtype in MERGED and name not in plan.canonical]


def _check_names(plan: Plan, model: PreTrainedModel) -> None:
    """What is stored must be what the loaded model computes with, tensor by tensor."""
    state = model.state_dict()
    shapes = {name: tuple(state[name].shape) for name in state}
    strange = [name for name in _merged_names(plan) if shapes.get(name) != plan.base.info(name).shape]
    if strange:
        what = f"{len(strange)} tensors are stored under other names or shapes than the loaded model has"
        raise wrong(plan.base_name, what, strange[0], "Leave out --measure-loss")


@torch.no_grad()
def _place(plan: Plan, model: PreTrainedModel, point: _Point) -> None:
    """Make the model in memory the point's."""
    state = model.state_dict()
    for name in _merged_names(plan):
        x = inputs(plan, name)
        start, stop = (x.base if place == BASE else x.values[place] for place in (point.start, point.stop))
        _write(state[name].view(-1), start, stop, point.alpha)


def _write(target: torch.Tensor, start: Read, stop: Read, alpha: float) -> None:
    for left, right in spans(target.numel(), _SLICE):
        values = start(left, right)
        if alpha:
            values = torch.lerp(values, stop(left, right), alpha)
        target[left:right].copy_(values)
