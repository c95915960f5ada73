"""What must hold of what an export answers. Each check returns what it saw, or refuses."""

from pathlib import Path
from typing import Any

from pipelines.errors import wrong
from pipelines.hf.folder import CONFIG, GENERATION, chat_template, id_list, read_json
from pipelines.hf.models import load_tokenizer
from pipelines.serving.findings import Check
from pipelines.serving.look.fresh import Reloaded
from pipelines.serving.look.live import Live, merged
from pipelines.serving.look.parity import compare, folder_logits, plain_ids, prompt_ids, summation

# Rounding to 8 bits of mantissa moves logits by one or two percent; a broken export by a hundred.
_TOO_MUCH = 0.2
PARITY = "max |dlogit| against the model, at the same precision"
ROUNDING = "max |dlogit| from rounding"
DIFFERS = "max |dlogit| against the base"
LIVE = "max |dlogit| against the adapter at work, not merged"
MOVED = "max |dlogit| of the adapter against the model that it was trained from"


def same_facts(model: Path, out: Path, dtype: str, tied: bool, facts: dict[str, Any]) -> Check:
    """The fresh process saw the prompts, template, dtype and tie flag that were written."""
    words = load_tokenizer(model)
    expected = {
        "prompts": prompt_ids(words),
        "plain": plain_ids(words),
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


def merged_is_live(live: Live, after: Reloaded, exact: bool) -> list[Check]:
    """The export says what the adapter says at work; `exact` where no weight was ever rounded to 16 bits.

    UserError also where it is no nearer to the adapter than the model without it is: the merge lost the change.
    """
    moved, apart, alike = merged(live, after.logits, exact)
    if moved.largest == 0.0:
        fix = "Check that it was trained, and that parent is the model that it was trained from"
        raise wrong("export.adapter", "changes nothing: every logit is that of the model without it", "", fix)
    if not alike:
        got = f"{apart.relative:.2%} of the logits' size, where the adapter changes {moved.relative:.2%}"
        fix = "Merge it into the model that it was trained from, or export in float32"
        raise wrong("export.model", "the merged weights answer differently from the adapter at work", got, fix)
    return [Check(MOVED, moved.largest), Check(LIVE, apart.largest)]
