"""What advice rests on: the facts that rules look at, the thresholds, and the papers.

The thresholds are this project's own and uncalibrated, whatever paper the direction comes from.
"""

from typing import NamedTuple

from pipelines.merge.advice.config import Lineage
from pipelines.merge.advice.signals import Curve, Evidence, ModelSignals, PairSignals

STRANGE = 0.5
"""|tau| / |theta_base| from which on a model of unknown descent is taken for no descendant of the base."""
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
KEPT = 0.9
"""Share of the gained loss that counts as most of it."""
MANY = 4
"""Experts up to which another one still adds much."""

BASIN = "Neyshabur et al. 2020, arXiv 2008.11687"
CONNECTED = "Frankle et al. 2020, arXiv 1912.05671"
WISE_FT = "Wortsman et al. 2021, arXiv 2109.01903"
COCKTAIL = "Xiao et al. 2023, LM-Cocktail, arXiv 2311.13534"
SOUPS = "Wortsman et al. 2022, arXiv 2203.05482"
TASK_VECTORS = "Ilharco et al. 2022, arXiv 2212.04089"
DARE = "Yu et al. 2023, arXiv 2311.03099"
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


class Reason(NamedTuple):
    """A statement and what it rests on."""

    says: str
    source: str


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


def count(parameters: float) -> str:
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if parameters >= unit:
            return f"{parameters / unit:.3g}{letter}"
    return f"{parameters:.0f}"
