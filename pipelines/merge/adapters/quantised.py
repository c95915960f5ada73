"""An adapter that was trained on a 4-bit base (QLoRA, Dettmers et al. 2023, arXiv 2305.14314), baked.

What was trained is dequantised W4 + s B A. Added to the full weights W16 the adapter is another function; added to the
dequantised weights it is the trained one up to the last rounding, on a base that has lost what 4 bits lose. Both are
made and compared with the live adapter on rows of its dataset, and the closer one is kept.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftModel

from pipelines.engine.stage import Artifact
from pipelines.errors import wrong
from pipelines.hf.models import DTYPES, load_model, model_device
from pipelines.hf.quantised import as_trained, dequantised, nf4
from pipelines.hf.rows import read_rows
from pipelines.hf.safetensors import INDEX
from pipelines.hf.shards import Weights
from pipelines.merge.adapters.adapter import Adapter
from pipelines.merge.carry import carry
from pipelines.merge.config import Quantised
from pipelines.merge.plan import Plan

ROWS = 32
"""Rows that are compared at most."""
_POSITIONS = 256

Bake = Callable[[Plan, Path], None]


class Distance(NamedTuple):
    """How far a model is from the live adapter: KL(live || model) in nats a token, and the largest logit difference."""

    kl: float
    max_dlogit: float


class Held(NamedTuple):
    """Token ids of the rows to compare on, and the split they are from."""

    rows: list[torch.Tensor]
    split: str


def bake_quantised(
    plan: Plan, settings: Quantised, adapter: Path, dataset: Artifact, out_dir: Path, bake: Bake
) -> dict[str, Any]:
    """Bake the one adapter of the plan, which lies in `adapter`, and keep the candidate that is closer to it.

    `bake(plan, folder)` writes the weights of a candidate. Both distances are returned; where they agree in the four
    digits that are returned the full weights are kept.
    """
    if len(plan.members) != 1 or not isinstance(plan.members[0], Adapter):
        raise wrong("quantised", "is for one adapter, and here a model is merged", "", "Leave it out")
    held, other = held_out(dataset), out_dir / ".dequantised"
    dtype = DTYPES[settings.precision]
    live = load_model(
        plan.base_folder,
        dtype,
        quantization_config=nf4(dtype, settings.double_quant),
        device_map={"": model_device()},
    )
    base = _Dequantised(plan.base, dequantised(live), plan.base_name)
    other.mkdir(exist_ok=True)
    for candidate, folder in ((plan, out_dir), (plan._replace(base=base), other)):
        bake(candidate, folder)
        carry(plan.base_folder, folder, "keep")
    live = as_trained(PeftModel.from_pretrained(live, adapter, local_files_only=True))
    full, dequant = (distance(live, load_model(folder, dtype), held.rows) for folder in (out_dir, other))
    closer = dequant < full
    if closer:
        _take_weights(other, out_dir)
    shutil.rmtree(other)
    kept = "dequantised" if closer else "full"
    distances = {"full": full._asdict(), "dequantised": dequant._asdict()}
    return {"quantised": {"rows": len(held.rows), "split": held.split, "kept": kept, **distances}}


def held_out(dataset: Artifact) -> Held:
    """The first rows of the development split; of the test or the training split where there is none."""
    for split in ("dev", "test", "train"):
        file = dataset.path / "rows" / f"{split}.parquet"
        if file.is_file():
            found = (torch.tensor([row.input_ids]) for row in read_rows(file) if row.input_ids)
            if rows := list(islice(found, ROWS)):
                return Held(rows, split)
    raise wrong("quantised.rows", "has no rows to compare on", dataset.name, "Name a dataset with rows")


def distance(live: Any, model: Any, rows: Sequence[torch.Tensor]) -> Distance:
    """Mean over all tokens of the rows, and the maximum over all their logits, to four digits."""
    total, largest, tokens = 0.0, 0.0, 0
    for ids in rows:
        with torch.inference_mode():
            pair = [one(ids.to(one.device)).logits[0].cpu() for one in (live, model)]
        for before, after in zip(*(logits.split(_POSITIONS) for logits in pair), strict=True):
            largest = max(largest, float((before.double() - after.double()).abs().max()))
            p, q = before.double().log_softmax(-1), after.double().log_softmax(-1)
            total += float((p.exp() * (p - q)).sum())
        tokens += ids.shape[1]
    return Distance(*(float(f"{value:.4g}") for value in (max(total / tokens, 0.0), largest)))


class _Dequantised(Weights):
    """The weights of a folder as a model computes with them: some of them from elsewhere, in other values."""

    def __init__(self, stored: Weights, values: Mapping[str, Callable[[], torch.Tensor]], name: str) -> None:
        super().__init__(stored.tensors)
        if odd := sorted(values.keys() - stored.tensors.keys()):
            what = "stores its weights under other names than the loaded model has"
            raise wrong(name, what, odd[0], "Save it again with save_pretrained")
        self._values = values
        self.map()

    def tensor(self, name: str) -> torch.Tensor:
        found = self._values.get(name)
        return found().reshape(-1) if found else super().tensor(name)


def _take_weights(source: Path, target: Path) -> None:
    """Put the weight files of one folder in place of another's."""
    for path in target.iterdir():
        if path.suffix == ".safetensors" or path.name == INDEX:
            path.unlink()
    for path in source.iterdir():
        if path.suffix == ".safetensors" or path.name == INDEX:
            path.replace(target / path.name)
