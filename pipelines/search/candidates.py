"""Makes the models of trials, and keeps what the next one can share."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from pipelines.engine.stage import Artifact, Inputs
from pipelines.merge.config import MergeConfig
from pipelines.merge.kinds import Interpolate
from pipelines.merge.run import run as merge
from pipelines.search.vector import Vector, apply, capture, scaled_only


class Candidates:
    """One merge after the other, each into a folder of its own.

    Two in a row that differ in lambda alone have their task vector in common: it is merged for the second, written
    below `scratch`, and serves all that follow. So does an adapter that is interpolated: it is baked once, in fp32;
    not where `post` asks for its task vector, which subtracting the base does not give back to the last bit.
    """

    def __init__(self, inputs: Inputs, scratch: Path) -> None:
        self._inputs = inputs
        self._folder = scratch / "shared"
        self._common = ""
        self._tried = False
        self._vector: Vector | None = None
        self._baked: Inputs | None = None

    def make(self, config: MergeConfig, out_dir: Path) -> None:
        """The model of one trial in `out_dir`, which is emptied first: bitwise what the merge itself makes."""
        _empty(out_dir)
        self._share(config)
        if not (self._vector and scaled_only(config) and apply(self._vector, config, out_dir)):
            merge(config, self._baked or self._inputs, out_dir)

    def _share(self, config: MergeConfig) -> None:
        """Make what this merge has in common with the one before it, if that is worth it."""
        scales: Iterable[str] = {"lambda_", "alpha"} & type(config.method).model_fields.keys()
        unscaled = dict.fromkeys(scales, 1.0)
        same = config.model_copy(update={"method": config.method.model_copy(update=unscaled)})
        common = same.model_dump_json()
        if common != self._common:
            self._common, self._tried, self._vector, self._baked = common, False, None, None
        elif not self._tried and isinstance(config.method, Interpolate) and config.post is None:
            self._tried = True
            self._baked = self._bake(config)
        elif not self._tried and scaled_only(config):
            self._tried = True
            _empty(self._folder)
            self._vector = capture(config, self._inputs, self._folder)

    def _bake(self, config: MergeConfig) -> Inputs | None:
        """The inputs with the model that the adapter makes in its place; None where it is a model already."""
        use = config.models[0].use
        adapter = self._inputs[use]
        if adapter.kind != "adapter":
            return None
        _empty(self._folder)
        whole = config.method.model_copy(update={"alpha": 1.0})
        merge(config.model_copy(update={"method": whole, "dtype": "float32"}), self._inputs, self._folder)
        return {**self._inputs, use: Artifact(adapter.name, "model", self._folder, adapter.key)}


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
