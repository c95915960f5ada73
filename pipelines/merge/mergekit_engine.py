"""The same merge through mergekit's Python API, for those who want its numbers.

What is worked round, as of mergekit 0.1.5: its model card asks the network about local paths, so none is written; the
tokenizer and generation config come from whichever model a set yields first, so the base's are carried by us; it
computes in the type of the inputs, so float32 is asked for; it bakes adapters into a cache that goes stale, so ours
bakes them.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pipelines.engine.progress import progress
from pipelines.errors import wrong
from pipelines.hf.rewrite import CODES
from pipelines.hf.safetensors import INDEX
from pipelines.hf.shards import open_folder, require_space
from pipelines.merge import stream
from pipelines.merge.carry import carry
from pipelines.merge.kinds import Interpolate, Kind, Linear
from pipelines.merge.plan import MERGED, Plan
from pipelines.merge.reads import spans
from pipelines.merge.tuned import Tuned

try:
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions
except ImportError as error:
    raise wrong("engine", "mergekit cannot be imported", str(error), 'pip install "burnish[mergekit]"') from error

_NAMES = {code: name for name, code in CODES.items()}


def merge(plan: Plan, method: Kind, out_dir: Path, threads: int | None = None) -> None:
    """Write the merged weights, in mergekit's own shards. UserError where they are not finite or incomplete."""
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".baked-") as baked:
        folders = [_folder(plan, index, Path(baked) / str(index), threads) for index in range(len(plan.members))]
        recipe = mergekit_recipe(plan, method, folders)
        options = MergeOptions(
            random_seed=getattr(method, "seed", None), write_model_card=False, copy_tokenizer=False, quiet=True
        )
        require_space(out_dir, sum(place.info.end - place.info.start for place in plan.base.tensors.values()))
        _run(recipe, options, out_dir, threads)
    _keep_weights(out_dir)
    _check(plan, out_dir)


def _run(recipe: Mapping[str, Any], options: MergeOptions, out_dir: Path, threads: int | None) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        run_merge(MergeConfiguration.model_validate(recipe), str(out_dir.resolve()), options)
    finally:
        torch.set_num_threads(before)


def mergekit_recipe(plan: Plan, method: Kind, folders: list[Path]) -> dict[str, Any]:
    """What mergekit-yaml would read. `interpolate` is its linear of base and model."""
    dtypes = {plan.dtype(name) for name, place in plan.base.tensors.items() if place.info.dtype in MERGED}
    if len(dtypes) > 1:
        raise wrong("engine", "mergekit stores all weights in one type", ", ".join(sorted(dtypes)), "Set dtype")
    parts = list(zip(folders, plan.weights, strict=True))
    if isinstance(method, Interpolate):
        parts = [(plan.base_folder, 1 - method.alpha), (folders[0], method.alpha)]
    recipe: dict[str, Any] = {
        "models": [{"model": str(folder.resolve()), "parameters": {"weight": weight}} for folder, weight in parts],
        "merge_method": "linear" if method.kind == "interpolate" else method.kind,
        "dtype": "float32",
        "out_dtype": _NAMES[dtypes.pop()],
    }
    if method.kind in ("ties", "dare_ties"):
        recipe |= {"base_model": str(plan.base_folder.resolve()), "parameters": _parameters(method)}
    return recipe


def _parameters(method: Any) -> Mapping[str, float]:
    return {"density": method.density, "lambda": method.lambda_, "normalize": method.kind == "ties"}


def _folder(plan: Plan, index: int, baked: Path, threads: int | None) -> Path:
    """Where a member lies as a whole model; an adapter is baked first, in float32, so that nothing is rounded twice."""
    member = plan.members[index]
    if isinstance(member, Tuned):
        return member.weights.files[0].parent
    baked.mkdir()
    dtypes = {name: "F32" for name, place in plan.base.tensors.items() if place.info.dtype in MERGED}
    alone = plan._replace(members=(member,), weights=(1.0,), dtypes=dtypes)
    stream.merge(alone, Linear(kind="linear"), baked, threads)
    carry(plan.base_folder, baked, "float32")
    return baked


def _keep_weights(out_dir: Path) -> None:
    """Remove what mergekit wrote beside the weights; the base's files take its place."""
    for path in out_dir.iterdir():
        if path.suffix != ".safetensors" and path.name != INDEX:
            path.unlink()
        else:
            path.chmod(0o644)


def _check(plan: Plan, out_dir: Path) -> None:
    """Same tensors as the base, all finite."""
    written = open_folder(out_dir).map()
    if odd := sorted(written.tensors.keys() ^ plan.base.tensors.keys()):
        raise wrong(
            "engine", "mergekit wrote other tensors than the base has", ", ".join(odd[:3]), "Use engine: burnish"
        )
    for done, name in enumerate(sorted(written.tensors), 1):
        tensor = written.tensor(name)
        if tensor.is_floating_point() and not all(
            bool(torch.isfinite(tensor[a:b]).all()) for a, b in spans(tensor.numel())
        ):
            raise wrong("engine", f"mergekit wrote NaN or infinite values into {name}", "", "Check the models")
        progress(done, len(written.tensors), "tensors checked")
