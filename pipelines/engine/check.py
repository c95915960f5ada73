"""What stages can find wrong before anything is started."""

from collections.abc import Iterable

from pipelines.engine.plan import Step
from pipelines.engine.worker import load_attribute
from pipelines.errors import Problem


def check_steps(steps: Iterable[Step]) -> dict[str, list[Problem]]:
    """The problems that the stages to be run see in their configs and files, by node."""
    return {
        step.node.id: load_attribute(step.node.stage.check)(step.node.config)
        for step in steps
        if step.node.stage.check and not step.record
    }
