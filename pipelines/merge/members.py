"""The models of a merge, in the order in which they are merged."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from pipelines.engine.stage import Artifact, Inputs
from pipelines.errors import Problem
from pipelines.merge.checkpoint_average import taken
from pipelines.merge.config import MergeConfig
from pipelines.merge.schedule import idle


class Given(NamedTuple):
    """One of the models: its place in the recipe, and its weight, which may be a schedule."""

    place: int
    artifact: Artifact
    weight: Any


def members(config: MergeConfig, inputs: Inputs) -> list[Given]:
    """The models by their keys, so that their order in the recipe changes no byte, but where it means something."""
    listed = [(one, each.weight) for each in config.models for one in taken(inputs[each.use], config.method)]
    given = [Given(place, artifact, weight) for place, (artifact, weight) in enumerate(listed)]
    return given if config.method.ordered else sorted(given, key=lambda one: (one.artifact.key, str(one.weight)))


def idle_patterns(config: MergeConfig, tensors: Sequence[str]) -> list[Problem]:
    """Patterns of schedules without effect: they fit no tensor, being most likely misspelt, or come too late."""
    named = [(f"method.{field.rstrip('_')}", schedule) for field, schedule in config.method.schedules().items()]
    named += [(f"models.{place}.weight", member.weight) for place, member in enumerate(config.models)]
    none = "no tensor has a name that fits the pattern"
    late = "patterns before it take every tensor that the pattern fits, and the first that fits counts"
    return [
        Problem(where, late if taken else none, pattern, "Put it first" if taken else f"Names are like {tensors[0]}")
        for where, schedule in named
        for pattern, taken in idle(schedule, tensors).items()
    ]
