"""What should become of some models: merged, interpolated, souped, trained jointly or kept apart, and why.

The first rule that fires decides. Every rule and reason names what it rests on.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

from pipelines.merge.advice.cautions import cautions, of_merging
from pipelines.merge.advice.config import Lineage
from pipelines.merge.advice.grounds import (
    ALIGNED,
    BARRIER,
    BASIN,
    BENCH,
    CHECKS,
    COCKTAIL,
    CODE,
    CONFLICT,
    CONNECTED,
    KNOTS,
    LORA_SOUPS,
    MANY,
    OPPOSED,
    SCALING,
    SIGNS,
    SMALL,
    SOUPS,
    STRANGE,
    SYSTEMATIC,
    TASK_VECTORS,
    WISE_FT,
    Facts,
    Reason,
    count,
)
from pipelines.merge.advice.next_step import Step, apart, concatenate, distil, experts, interpolate, joint, soup, ties
from pipelines.merge.advice.signals import PairSignals
from pipelines.merge.descent import UNRELATED

_SHOWN = 4


class Verdict(StrEnum):
    """What is advised."""

    MERGE = "merge"
    INTERPOLATE = "interpolate"
    SOUP = "soup"
    TRAIN = "train jointly"
    APART = "keep apart"


class Advice(NamedTuple):
    """A verdict, the rule that gave it, what else speaks for or against it, and what to write into the recipe."""

    verdict: Verdict
    rule: str
    says: str
    source: str
    measured: bool
    reasons: tuple[Reason, ...]
    steps: tuple[Step, ...]


class Ruling(NamedTuple):
    """What a rule that fires says."""

    verdict: Verdict
    says: str
    source: str
    steps: tuple[Step, ...]


def advise(facts: Facts) -> Advice:
    """The advice by the first rule that fires."""
    rule, ruling = next((rule, ruling) for rule in RULES if (ruling := RULES[rule](facts)))
    reasons = (*cautions(facts), *(of_merging(facts) if ruling.verdict in (Verdict.MERGE, Verdict.SOUP) else ()))
    return Advice(ruling.verdict, rule, ruling.says, ruling.source, facts.evidence is not None, reasons, ruling.steps)


def _unfit(facts: Facts) -> Ruling | None:
    if not facts.misfits:
        return None
    says = f"they cannot be merged: {'; '.join(facts.misfits)}"
    return Ruling(Verdict.APART, says, CHECKS, (distil(facts.lineage),))


def _other_base(facts: Facts) -> Ruling | None:
    sizes = {model.name: model.size for model in facts.models}
    told = []
    for parent in facts.lineage.parents:
        limit, size = UNRELATED if parent.method and not parent.foreign else STRANGE, sizes.get(parent.name)
        if size is not None and size >= limit:
            told.append(f"{parent.name} is {size} of the base's norm away from it (at least {limit}, uncalibrated)")
        elif size is None and parent.foreign:
            told.append(f"{parent.name} goes back to {parent.foreign}")
    if not told:
        return None
    says = f"not of one base: {'; '.join(told)}. Only models tuned from one base lie in one basin"
    return Ruling(Verdict.APART, says, BASIN, (distil(facts.lineage),))


def _barrier(facts: Facts) -> Ruling | None:
    worst = max(facts.curves, key=lambda curve: curve.barrier, default=None)
    if worst is None or worst.barrier <= BARRIER:
        return None
    says = (
        f"between {' and '.join(worst.ends)} the loss on {worst.data} rises {worst.barrier:.2g} nats a token above the "
        f"straight line (more than {BARRIER}, uncalibrated), so what lies between is worse than either"
    )
    trained = facts.several and facts.lineage.has_data
    steps = (joint(facts.lineage),) if trained else (apart(facts.lineage),)
    return Ruling(Verdict.TRAIN if trained else Verdict.APART, says, CONNECTED, steps)


def _one_model(facts: Facts) -> Ruling | None:
    if facts.several:
        return None
    says = "one model: weights between it and the base give back general skill at little or no cost of the new one"
    return Ruling(Verdict.INTERPOLATE, says, f"{WISE_FT}; {COCKTAIL}", (interpolate(facts.lineage),))


def _same_data(facts: Facts) -> Ruling | None:
    if not facts.lineage.same_data:
        return None
    names = facts.lineage.differ
    differ = ", ".join(names[:_SHOWN]) + ", ..." * (len(names) > _SHOWN) or "nothing that the recipe states"
    says = f"one base and the same data, runs that differ in {differ}: their mean is as good as the best or better"
    return Ruling(Verdict.SOUP, says, SOUPS, (soup(facts.lineage),))


def _opposed(facts: Facts) -> Ruling | None:
    worst = min((pair for pair in facts.pairs if pair.cosine is not None), key=_cosine, default=None)
    if worst is None or _cosine(worst) > OPPOSED:
        return None
    first, second = worst.models
    says = (
        f"the task vectors of {first} and {second} point against each other (cosine {worst.cosine}, at most {OPPOSED}, "
        "uncalibrated): a sum takes away what each has learned"
    )
    if facts.lineage.has_data:
        return Ruling(Verdict.TRAIN, says, TASK_VECTORS, (joint(facts.lineage),))
    return Ruling(Verdict.APART, says, TASK_VECTORS, (apart(facts.lineage),))


def _conflict(facts: Facts) -> Ruling | None:
    worst = max(facts.pairs, key=lambda pair: pair.conflict, default=None)
    if worst is None or worst.conflict <= CONFLICT:
        return None
    first, second = worst.models
    says = (
        f"{first} and {second} disagree in the sign of {worst.conflict:.1%} of their largest changes (more than "
        f"{CONFLICT:.0%}, uncalibrated)"
    )
    if facts.lineage.has_data:
        steps = (joint(facts.lineage), ties(facts.lineage, "without training, signs are elected"))
        return Ruling(Verdict.TRAIN, f"{says}, and their data is at hand", f"{SIGNS}; {BENCH}", steps)
    return Ruling(Verdict.MERGE, f"{says}: elect signs", SIGNS, (ties(facts.lineage, "elect signs"),))


def _many_domains(facts: Facts) -> Ruling | None:
    lineage = facts.lineage
    if lineage.domains <= MANY or not lineage.has_data:
        return None
    says = (
        f"{lineage.domains} domains, more than {MANY} (uncalibrated), and their data at hand: in-domain, "
        "merges stay behind training on all of it"
    )
    return Ruling(Verdict.TRAIN, says, f"{BENCH}; {SCALING}", (joint(lineage), *_baseline(lineage)))


def _small_with_data(facts: Facts) -> Ruling | None:
    lineage, size = facts.lineage, facts.size
    if size is None or size >= SMALL or not lineage.has_data:
        return None
    says = (
        f"{count(size)} parameters, fewer than {count(SMALL)} (uncalibrated), and the data of all at hand: at about "
        "2B training on mixed data beat merging, at 7B merging beat it"
    )
    return Ruling(Verdict.TRAIN, says, CODE, (joint(lineage), *_baseline(lineage)))


def _adapters(facts: Facts) -> Ruling | None:
    if not facts.lineage.adapters:
        return None
    overlap = max((pair.overlap for pair in facts.pairs if pair.overlap is not None), default=None)
    says = "adapters of one base: side by side they are their exact sum; what is smaller comes after that"
    if overlap is not None and overlap > ALIGNED:
        says += (
            f". They write to the same directions (overlap {overlap}, more than {ALIGNED}, uncalibrated): align them"
        )
    return Ruling(Verdict.MERGE, says, f"{LORA_SOUPS}; {KNOTS}", concatenate(facts.lineage))


def _experts(facts: Facts) -> Ruling | None:
    known = "little conflict" if facts.evidence else "conflict not measured"
    says = (
        f"{len(facts.lineage.parents)} models of one base, {known}: task arithmetic with a searched lambda is the one "
        "method that reliably gains on language models; then TIES"
    )
    return Ruling(Verdict.MERGE, says, f"{SYSTEMATIC}; {TASK_VECTORS}", experts(facts.lineage))


RULES: dict[str, Callable[[Facts], Ruling | None]] = {
    "unfit": _unfit,
    "other base": _other_base,
    "barrier": _barrier,
    "one model": _one_model,
    "same data": _same_data,
    "opposed": _opposed,
    "conflict": _conflict,
    "many domains": _many_domains,
    "small model": _small_with_data,
    "adapters": _adapters,
    "experts": _experts,
}
"""In the order in which they are asked; the last one always fires."""


def _baseline(lineage: Lineage) -> Sequence[Step]:
    """What a joint training has to beat: the cheapest merge."""
    steps = concatenate(lineage) if lineage.adapters else experts(lineage)
    return [steps[0]._replace(says=f"as a baseline that costs no training, {steps[0].says}")]


def _cosine(pair: PairSignals) -> float:
    return 0.0 if pair.cosine is None else pair.cosine
