"""The inputs of one tensor, opened from the files of a plan."""

from pipelines.merge import kernels
from pipelines.merge.kernels import Kernels
from pipelines.merge.plan import Plan
from pipelines.merge.reads import TensorInputs, stored
from pipelines.merge.tied import is_linear_map


def inputs(plan: Plan, name: str, chosen: Kernels = kernels.reference) -> TensorInputs:
    """One tensor of the base and of all members. Nothing is read yet."""
    base = stored(plan.base.tensor(name))
    shape = plan.base.info(name).shape
    return TensorInputs(
        name=name,
        shape=shape,
        models=tuple(member.key for member in plan.members),
        base=base,
        values=tuple(member.values(name, base) for member in plan.members),
        products=tuple(member.product(name) for member in plan.members),
        matrix=len(shape) > 1 and is_linear_map(name),
        kernels=chosen,
    )
