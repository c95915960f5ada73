"""The same merge through mergekit's Python API, for its numbers and for methods that only it has.

What is worked round, as of mergekit 0.1.5: its model card asks the network about local paths, so none is written; it
takes config, tokenizer and generation config from whichever model a set yields first, so the base is put first and its
files are carried by us; it computes in the type of the inputs, so float32 is asked for; it bakes adapters into a cache
that goes stale, so ours bakes them; it writes NaN without a word, so all that it wrote is checked.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pipelines.engine.progress import progress
from pipelines.errors import wrong
from pipelines.hf.folder import CONFIG
from pipelines.hf.models import load_model
from pipelines.hf.safetensors import INDEX
from pipelines.hf.shards import Weights, open_folder, require_space
from pipelines.merge import stream
from pipelines.merge.carry import carry
from pipelines.merge.config import MergeConfig
from pipelines.merge.kinds import Linear, Mergekit
from pipelines.merge.mergekit.recipe import mergekit_recipe
from pipelines.merge.plan import MERGED, Plan
from pipelines.merge.reads import spans
from pipelines.merge.summary import changed_tensors
from pipelines.merge.tuned import Tuned

try:
    from mergekit.common import ModelReference
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions
except ImportError as error:
    raise wrong("engine", "mergekit cannot be imported", str(error), 'pip install "burnish[mergekit]"') from error


def merge(plan: Plan, config: MergeConfig, out_dir: Path) -> dict[str, Any]:
    """Fill the model folder, weights in mergekit's own shards; how many tensors it has and how many changed.

    UserError where mergekit refuses, or what it wrote is not finite or not a model.
    """
    method, threads = config.method, config.threads
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".baked-") as baked:
        folders = [_folder(plan, index, Path(baked) / str(index), threads) for index in range(len(plan.members))]
        recipe = mergekit_recipe(plan, method, config.models, folders)
        require_space(out_dir, sum(place.info.end - place.info.start for place in plan.base.tensors.values()))
        _run(recipe, getattr(method, "seed", None), out_dir, threads)
    stacked = isinstance(method, Mergekit) and bool(method.slices)
    _keep(out_dir, (CONFIG,) if stacked else ())
    carry(plan.base_folder, out_dir, config.dtype, config=not stacked)
    written = open_folder(out_dir).map()
    _check_finite(written)
    if stacked:
        load_model(out_dir, device_map="meta")
        return {"tensors": len(written.tensors), "changed": None}
    _check_same(plan, written)
    return {"tensors": len(written.tensors), "changed": changed_tensors(plan, out_dir)}


class _Configuration(MergeConfiguration):  # type: ignore[misc]
    """What mergekit reads, with models in a fixed order: the first of them gives the config."""

    def referenced_models(self) -> list[ModelReference]:
        first = [self.base_model] if self.base_model else []
        return list(dict.fromkeys([*first, *sorted(super().referenced_models(), key=str)]))


def _run(recipe: Mapping[str, Any], seed: int | None, out_dir: Path, threads: int | None) -> None:
    options = MergeOptions(
        random_seed=seed,
        write_model_card=False,
        copy_tokenizer=False,
        quiet=True,
        # A layer that is there twice would be one piece of memory, which cannot be saved.
        clone_tensors="slices" in recipe,
    )
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        run_merge(_Configuration.model_validate(recipe), str(out_dir.resolve()), options)
    except (RuntimeError, ValueError) as error:
        # mergekit has no errors of its own: its checks raise these two.
        raise wrong("engine", "mergekit refuses", str(error).splitlines()[0], "Change the method") from error
    finally:
        torch.set_num_threads(before)


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


def _keep(out_dir: Path, names: tuple[str, ...]) -> None:
    """Remove what mergekit wrote beside the weights; the base's files take its place."""
    for path in out_dir.iterdir():
        if path.suffix != ".safetensors" and path.name not in (INDEX, *names):
            path.unlink()
        else:
            path.chmod(0o644)


def _check_same(plan: Plan, written: Weights) -> None:
    """Same tensors as the base, in the same shapes."""
    if odd := sorted(written.tensors.keys() ^ plan.base.tensors.keys()):
        what = "mergekit wrote other tensors than the base has"
        raise wrong("engine", what, ", ".join(odd[:3]), "Use engine: burnish")
    for name in sorted(written.tensors):
        ours, theirs = plan.base.info(name).shape, written.info(name).shape
        if ours != theirs:
            got = f"{list(theirs)}, the base's is {list(ours)}"
            raise wrong("engine", f"mergekit wrote {name} in another shape", got, "Use engine: burnish")


def _check_finite(written: Weights) -> None:
    for done, name in enumerate(sorted(written.tensors), 1):
        tensor = written.tensor(name)
        if tensor.is_floating_point() and not all(
            bool(torch.isfinite(tensor[a:b]).all()) for a, b in spans(tensor.numel())
        ):
            fix = "Look for NaN in the models and for weights that sum to 0"
            raise wrong("engine", f"mergekit wrote NaN or infinite values into {name}", "", fix)
        progress(done, len(written.tensors), "tensors checked")
