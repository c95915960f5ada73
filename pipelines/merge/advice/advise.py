"""The advice stage: measures models against each other and says what should become of them."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from pipelines.engine.stage import Artifact, Inputs
from pipelines.engine.store import write_json
from pipelines.errors import UserError
from pipelines.merge.adapters.adapter import Adapter
from pipelines.merge.advice.config import AdviceConfig
from pipelines.merge.advice.evidence import Tensor, measure
from pipelines.merge.advice.grounds import Facts
from pipelines.merge.advice.rules import advise
from pipelines.merge.advice.segment import BASE, Segment, curves, held_out
from pipelines.merge.advice.signals import Curve, as_json
from pipelines.merge.inputs import inputs as tensor_inputs
from pipelines.merge.plan import MERGED, Plan, plan


def run(config: AdviceConfig, inputs: Inputs, out_dir: Path) -> dict[str, Any]:
    """Write advice.json: what is advised, and the evidence; None where the models do not even fit together."""
    members = [inputs[judged.use] for judged in config.models]
    names = [parent.name for parent in config.lineage.parents]
    evidence, misfits = None, _misfits(inputs[config.base], members)
    if not misfits:
        planned = plan(inputs[config.base], members, [1.0] * len(members), "keep")
        tensors = [name for name in planned.base.tensors if planned.base.info(name).dtype in MERGED]
        evidence = measure(
            names, [name for name in tensors if name not in planned.canonical], lambda name: _open(planned, name)
        )
        evidence = evidence._replace(curves=_curves(config, inputs, planned, names))
    advice = advise(Facts(config.lineage, evidence, tuple(misfits)))
    told = {"advice": as_json(advice), "evidence": as_json(evidence)}
    write_json(out_dir / "advice.json", told)
    return told


def _misfits(base: Artifact, members: Sequence[Artifact]) -> list[str]:
    """Why the models cannot be merged. A file that cannot be read is no property of a model: UserError."""
    try:
        plan(base, members, [1.0] * len(members), "keep")
    except UserError as error:
        if {problem.where for problem in error.problems} <= {base.name, *(member.name for member in members)}:
            return [str(problem._replace(fix="")) for problem in error.problems]
        raise
    return []


def _open(planned: Plan, name: str) -> Tensor:
    factors = tuple(member.low_rank(name) if isinstance(member, Adapter) else None for member in planned.members)
    return Tensor(tensor_inputs(planned, name), factors)


def _curves(config: AdviceConfig, inputs: Inputs, planned: Plan, names: Sequence[str]) -> tuple[Curve, ...]:
    """The loss from the base to each model on its own data, and between each two on the data of both."""
    data = [judged.loss_on for judged in config.models]
    segments = [Segment(BASE, place, _name(ref)) for place, ref in enumerate(data) if ref]
    for first, second in combinations(range(len(data)), 2):
        both = dict.fromkeys(_name(ref) for ref in (data[first], data[second]) if ref)
        segments += [Segment(first, second, name) for name in both]
    if not segments:
        return ()
    rows = {_name(ref): held_out(_name(ref), inputs[ref].path) for ref in dict.fromkeys(data) if ref}
    return curves(planned, {BASE: config.lineage.base, **dict(enumerate(names))}, segments, rows)


def _name(ref: str) -> str:
    """A dataset as the recipe calls it."""
    return str(ref).partition(".")[2] or str(ref)
