"""What must hold before an export is called done. Each check returns what it saw, or refuses."""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from pipelines.errors import wrong
from pipelines.hf.folder import (
    CONFIG,
    GENERATION,
    TEMPLATE,
    TOKENIZER,
    TOKENIZER_CONFIG,
    chat_template,
    id_list,
    read_json,
)
from pipelines.hf.models import load_tokenizer
from pipelines.hf.rewrite import FLOATS, chunks
from pipelines.hf.safetensors import tensor_map
from pipelines.serving.look.fresh import Reloaded
from pipelines.serving.look.parity import compare, folder_logits, prompt_ids, summation

# Rounding to 8 bits of mantissa moves logits by one or two percent; a broken export by a hundred.
_TOO_MUCH = 0.2
PARITY = "max |dlogit| against the model, at the same precision"
ROUNDING = "max |dlogit| from rounding"
DIFFERS = "max |dlogit| against the base"


class Check(NamedTuple):
    """A check that held, and the words or the number that say what it saw."""

    name: str
    saw: str | float


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


def same_facts(model: Path, out: Path, dtype: str, tied: bool, facts: dict[str, Any]) -> Check:
    """The fresh process saw the prompts, template, dtype and tie flag that were written."""
    expected = {
        "prompts": prompt_ids(load_tokenizer(model)),
        "template": chat_template(model),
        "dtype": dtype,
        "tied": tied,
    }
    for name, value in expected.items():
        if facts[name] != value:
            raise wrong(
                "export", f"the reloaded {name} is not what was exported", str(facts[name])[:80], "Export again"
            )
    if "quantization_config" in read_json(out / CONFIG):
        raise wrong("export", "config.json still speaks of quantised weights", "", "Export again")
    return Check("reloaded prompts, template, dtype and tie flag agree", facts["architecture"])


def ends(out: Path, facts: dict[str, Any]) -> Check:
    """Generation ends when the model closes its turn."""
    if facts["stop"] is None:
        raise wrong(
            "export.model", "has neither an end-of-turn nor an end-of-text token", "", "Set eos_token of its tokenizer"
        )
    if facts["stop"] not in id_list(read_json(out / GENERATION).get("eos_token_id")) or not facts["stops"]:
        raise wrong(
            "export.model", "generation does not end at the end of a turn", f"token {facts['stop']}", "Export again"
        )
    return Check("generation ends at the end of a turn", f"token {facts['stop']}")


def parity(model: Path, dtype: str, after: Reloaded) -> Check:
    """The reloaded export says what the model says when its weights are rounded to `dtype`.

    The weights are equal bit by bit; two processes may still sum in another order, and differ by no more than that.
    """
    apart = compare(folder_logits(model, after.facts["prompts"], dtype), after.logits)
    if apart.relative > summation(dtype):
        raise wrong(
            "export", "the reloaded export answers differently from the model", f"max |dlogit| {apart.largest:.3g}"
        )
    return Check(PARITY, apart.largest)


def rounding(model: Path, own: str, dtype: str, after: Reloaded) -> Check:
    """What rounding the weights from their own type did to the logits."""
    if own == dtype:
        return Check(ROUNDING, 0.0)
    apart = compare(folder_logits(model, after.facts["prompts"], own), after.logits)
    if apart.relative > _TOO_MUCH:
        fix = "Export in a wider dtype"
        raise wrong("export.dtype", f"{dtype} changes the logits too much", f"{apart.relative:.0%} of their size", fix)
    return Check(ROUNDING, apart.largest)


def differs(base: Path, dtype: str, after: Reloaded) -> Check:
    """The export is not the base: an adapter that was never applied looks like a success everywhere else."""
    apart = compare(folder_logits(base, after.facts["prompts"], dtype), after.logits)
    if apart.largest == 0.0:
        fix = "Check that the trained weights were merged in, and that dtype keeps their change"
        raise wrong("export.model", "the export equals the base: every logit is the same", "", fix)
    return Check(DIFFERS, apart.largest)
