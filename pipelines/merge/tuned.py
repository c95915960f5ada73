"""A member that is a whole model: its tensors, and what it adds to the base."""

from collections.abc import Mapping
from typing import NamedTuple

import torch

from pipelines.hf.shards import Weights
from pipelines.merge.reads import Read, stored


class Tuned(NamedTuple):
    """A checked model. `aliases` says under which name it stores a tensor, where that is not the base's."""

    name: str
    key: str
    weights: Weights
    aliases: Mapping[str, str]

    def stored(self, tensor: str) -> torch.Tensor:
        """The flat tensor in its own type."""
        return self.weights.tensor(self.aliases.get(tensor, tensor))

    def touches(self, tensor: str) -> bool:
        return True

    def values(self, tensor: str, base: Read) -> Read:
        return stored(self.stored(tensor))

    def product(self, tensor: str) -> Read | None:
        """None: what it adds is its values less the base's."""
        return None
