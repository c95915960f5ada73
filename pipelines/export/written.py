"""What must hold of the files of an export, before anything is loaded from them."""

from pathlib import Path

import torch

from pipelines.errors import wrong
from pipelines.hf.folder import TEMPLATE, TOKENIZER, TOKENIZER_CONFIG, chat_template, read_json
from pipelines.hf.rewrite import FLOATS, chunks
from pipelines.hf.safetensors import tensor_map
from pipelines.serving.findings import Check, Finding, below, require_none, warnings
from pipelines.serving.lint.folder import lint
from pipelines.serving.lint.values import scan


def same_words(model: Path, base: Path) -> Check:
    """The model speaks with the base's tokenizer and template: weights trained with others answer in theirs."""
    ours, theirs = read_json(model / TOKENIZER), read_json(base / TOKENIZER)
    if changed := sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)):
        fix = f"Put the base's {TOKENIZER} beside the model's weights"
        raise wrong("export.model", "its tokenizer is not the base's", ", ".join(changed), fix)
    template = chat_template(base)
    if template is not None and chat_template(model) != template:
        raise wrong(
            "export.model", "its chat template is not the base's", "", f"Put the base's {TEMPLATE} beside the weights"
        )
    return Check("tokenizer and template are the base's", "equal")


def same_files(model: Path, out: Path) -> Check:
    """Tokenizer and template arrived byte for byte, and both copies of the template agree."""
    if (model / TOKENIZER).read_bytes() != (out / TOKENIZER).read_bytes():
        raise wrong("export", f"{TOKENIZER} changed on the way", "", "Export again")
    template = chat_template(model)
    inline = read_json(out / TOKENIZER_CONFIG).get("chat_template")
    file = (out / TEMPLATE).read_bytes().decode("utf-8") if (out / TEMPLATE).is_file() else None
    if not template == inline == file:
        raise wrong("export", "the chat template changed on the way", "", "Export again")
    return Check("tokenizer and template are the model's, byte for byte", "equal")


def same_weights(model: Path, out: Path, left_out: tuple[str, ...]) -> Check:
    """Every weight that was written equals the model's, rounded once; none is missing and none is new."""
    before, after = tensor_map(model), tensor_map(out)
    if odd := sorted((before.keys() - set(left_out)) ^ after.keys()):
        raise wrong("export", "the export holds other tensors than the model", odd[0], "Export again")
    for name, place in after.items():
        if place.info.shape != before[name].info.shape:
            raise wrong(
                "export", f"{name} has another shape than the model's", str(list(place.info.shape)), "Export again"
            )
        dtype = FLOATS.get(place.info.dtype, torch.uint8)
        for one, other in zip(chunks(before[name]), chunks(place), strict=True):
            if not torch.equal(one.to(dtype), other):
                raise wrong("export", f"{name} does not hold the model's values", "", "Check the disk and export again")
    return Check("weights equal the model's, rounded once", f"{len(after)} tensors")


def sound(folder: Path, base: Path | None = None) -> list[Finding]:
    """The warnings that the rules have for the folder; `base` is the model that an adapter belongs to.

    UserError with every error among what they found. Places are told from the folder that `folder` lies in.
    """
    found = [*lint(folder, base=base), *([] if base else scan(folder))]
    found = [below(finding, folder.parent) for finding in found]
    require_none(found)
    return warnings(found)
