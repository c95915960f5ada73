"""What should become of some models: merged, interpolated, souped, trained jointly or kept apart, and why.

The first rule that fires decides. Every rule and reason names what it rests on. The thresholds are this project's own
and uncalibrated, whatever paper the direction comes from.
"""

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from pipelines.merge.advice_config import Lineage
from pipelines.merge.next_step import (
    Step,
    apart,
    concatenate,
    distil,
    experts,
    interpolate,
    joint,
    soup,
    ties,
)
from pipelines.merge.signals import Curve, Evidence, ModelSignals, PairSignals

FAR = 0.5
"""|tau| / |theta_base| from which on a model is taken for no descendant of the base."""
BARRIER = 0.1
"""Nats per token above the straight line between two ends."""
CONFLICT = 0.15
"""Share of top elements with opposite signs; unrelated task vectors of equal spread have about 0.056."""
OPPOSED = -0.1
"""Cosine of two task vectors."""
UNEQUAL = 3.0
"""Ratio of the norms of two task vectors."""
UNCHANGED = 0.5
"""Share of elements that bfloat16 does not tell from the base's."""
ALIGNED = 0.5
"""Overlap of output subspaces."""
SMALL, LARGE = 3e9, 7e9
"""Parameters below which training on mixed data beat merging, and from which on merging beat it."""
MANY = 4
"""Experts up to which another one still adds much."""
_SHOWN = 4

BASIN = "Neyshabur et al. 2020, arXiv 2008.11687"
CONNECTED = "Frankle et al. 2020, arXiv 1912.05671"
WISE_FT = "Wortsman et al. 2021, arXiv 2109.01903"
COCKTAIL = "Xiao et al. 2023, LM-Cocktail, arXiv 2311.13534"
SOUPS = "Wortsman et al. 2022, arXiv 2203.05482"
TASK_VECTORS = "Ilharco et al. 2022, arXiv 2212.04089"
SIGNS = "Yadav et al. 2023, arXiv 2306.01708"
BENCH = "MergeBench 2025, arXiv 2505.10833"
CODE = "arXiv 2601.21115"
SCALING = "arXiv 2509.24244"
AT_SCALE = "Yadav et al. 2024, arXiv 2410.03617"
LORA_SOUPS = "Prabhakar et al. 2024, arXiv 2410.13025"
KNOTS = "Stoica et al. 2024, arXiv 2410.19735"
SYSTEMATIC = "arXiv 2511.21437"
RECYCLING = "arXiv 2602.12323"
ARITHMETIC = "by arithmetic"
CHECKS = "the checks of the merge stage"
RECIPE = "the recipe"


class Verdict(StrEnum):
    """What is advised."""

    MERGE = "merge"
    INTERPOLATE = "interpolate"
    SOUP = "soup"
    TRAIN = "train jointly"
    APART = "keep apart"


class Reason(NamedTuple):
    """A statement and what it rests on."""

    says: str
    source: str


class Advice(NamedTuple):
    """A verdict, the rule that gave it, what else speaks for or against it, and what to write into the recipe."""

    verdict: Verdict
    rule: str
    says: str
    source: str
    measured: bool
    reasons: tuple[Reason, ...]
    steps: tuple[Step, ...]


class Facts(NamedTuple):
    """What the rules look at. `misfits` are the reasons why the models cannot be merged at all."""

    lineage: Lineage
    evidence: Evidence | None = None
    misfits: tuple[str, ...] = ()
    parameters: int | None = None

    @property
    def pairs(self) -> tuple[PairSignals, ...]:
        return self.evidence.pairs if self.evidence else ()

    @property
    def models(self) -> tuple[ModelSignals, ...]:
        return self.evidence.models if self.evidence else ()

    @property
    def curves(self) -> tuple[Curve, ...]:
        return self.evidence.curves if self.evidence else ()

    @property
    def several(self) -> bool:
        return len(self.lineage.parents) > 1

    @property
    def size(self) -> int | None:
        return self.evidence.parameters if self.evidence else self.parameters


class Ruling(NamedTuple):
    """What a rule that fires says."""

    verdict: Verdict
    says: str
    source: str
    steps: tuple[Step, ...]


def advise(facts: Facts) -> Advice:
    """The advice by the first rule that fires."""
    rule, ruling = next((rule, ruling) for rule in RULES if (ruling := RULES[rule](facts)))
    reasons = (*_cautions(facts), *(_of_merging(facts) if ruling.verdict in (Verdict.MERGE, Verdict.SOUP) else ()))
    return Advice(ruling.verdict, rule, ruling.says, ruling.source, facts.evidence is not None, reasons, ruling.steps)


def _unfit(facts: Facts) -> Ruling | None:
    if not facts.misfits:
        return None
    says = f"they cannot be merged: {'; '.join(facts.misfits)}"
    return Ruling(Verdict.APART, says, CHECKS, (distil(facts.lineage),))


def _other_base(facts: Facts) -> Ruling | None:
    sizes = {model.name: model.size for model in facts.models}
    far = [f"{name} is {size:.2g} of the base's norm away from it" for name, size in sizes.items() if size > FAR]
    unread = [parent for parent in facts.lineage.parents if parent.foreign and parent.name not in sizes]
    told = [*far, *(f"{parent.name} goes back to {parent.foreign}" for parent in unread)]
    if not told:
        return None
    limit = f" (more than {FAR}, uncalibrated)" if far else ""
    says = f"not of one base: {'; '.join(told)}{limit}. Only models tuned from one base lie in one basin"
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
        f"{_count(size)} parameters, fewer than {_count(SMALL)} (uncalibrated), and the data of all at hand: at about "
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


def _cautions(facts: Facts) -> Iterator[Reason]:
    """What is worth knowing whatever the verdict."""
    if facts.evidence is None and not facts.misfits:
        yield Reason("no weights were read: distances, conflicts and overlaps are unknown", RECIPE)
    for model in facts.models:
        if model.size == 0:
            yield Reason(f"{model.name} is the base itself: leave it out", ARITHMETIC)
        elif model.unchanged > UNCHANGED:
            says = (
                f"{model.unchanged:.0%} of {model.name}'s weights are the base's in bfloat16 (more than "
                f"{UNCHANGED:.0%}, uncalibrated): merge in float32, store with dtype: float32 if the change is lost"
            )
            yield Reason(says, ARITHMETIC)
    for pair in facts.pairs:
        if pair.ratio is not None and pair.ratio > UNEQUAL:
            says = (
                f"of {' and '.join(pair.models)} one task vector is {pair.ratio:.2g} times as long (more than "
                f"{UNEQUAL:g}, uncalibrated) and drowns the other in a plain sum: give it weight {1 / pair.ratio:.2f}"
            )
            yield Reason(says, ARITHMETIC)
    for parent in facts.lineage.parents:
        if parent.foreign and facts.models:
            says = f"{parent.name} goes back to {parent.foreign}, but is near enough to be taken for a descendant"
            yield Reason(says, BASIN)


def _of_merging(facts: Facts) -> Iterator[Reason]:
    """What published evidence says of a merge of this size, and of trusting it."""
    count, size, lineage = len(facts.lineage.parents), facts.size, facts.lineage
    if count > MANY:
        yield Reason(f"returns fall as 1/k, most comes from the first {MANY} models: drop what adds nothing", SCALING)
    if size is not None and size < SMALL and not lineage.same_data:
        says = f"{_count(size)} parameters: below about {_count(SMALL)} merging lost to training on mixed data"
        yield Reason(f"{says} (uncalibrated)", CODE)
    elif size is not None and size < LARGE and not lineage.same_data:
        says = f"{_count(size)} parameters: published results turn between {_count(SMALL)} and {_count(LARGE)}"
        yield Reason(f"{says} (uncalibrated): compare with joint training", CODE)
    elif size is not None and not lineage.same_data:
        yield Reason("methods differ little at this size: begin with the plainest", AT_SCALE)
    if lineage.adapters and not lineage.has_data:
        says = "adapters of unknown data rarely beat one trained on a few hundred rows of the task: train it if you can"
        yield Reason(says, RECYCLING)
    yield Reason("ship a merge only if the gates say that it beats the base and its best parent", SYSTEMATIC)


def _cosine(pair: PairSignals) -> float:
    return 0.0 if pair.cosine is None else pair.cosine


def _count(parameters: float) -> str:
    return f"{parameters / 1e9:.2g}B" if parameters >= 1e9 else f"{parameters / 1e6:.3g}M"
