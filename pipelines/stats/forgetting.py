"""What is kept of earlier abilities: after one tuning, and over a chain of generations.

A chain is a table R: R[t][i] is the score on task i after stage t, the stage that trained task t; None where it was not
measured. Differences with an end that was not measured are left out of a mean, and a mean of nothing is None. All
scores are ones of which more is better.
"""

from collections.abc import Iterable, Sequence

Row = Sequence[float | None]
Table = Sequence[Row]

MOST = 1.2
"""Where retention is cut: more says nothing about keeping."""


def retention(base: float, candidate: float, chance: float, stderr: float) -> float | None:
    """Share of the ability above chance that is left: clip((candidate - c) / (base - c), 0, 1.2).

    None where the base is not more than 3 standard errors above chance: what was not there cannot be kept.
    """
    if base - chance <= 3 * stderr:
        return None
    return min(MOST, max(0.0, (candidate - chance) / (base - chance)))


def general_delta(base: Row, last: Row) -> float | None:
    """Mean change on general tasks, (1/M) sum_j (R_(T,j) - R_(0,j)): the General Ability Delta of TRACE.

    Wang et al. 2023, arXiv 2310.06762.
    """
    return _mean(_change(after, before) for before, after in zip(base, last, strict=True))


def accuracy(table: Table) -> float | None:
    """Mean score over the T tasks after the last stage, (1/T) sum_i R_(T,i).

    ACC of Lopez-Paz and Ranzato 2017, Gradient Episodic Memory, arXiv 1706.08840.
    """
    return _mean(table[-1][i] for i in range(len(table)))


def backward_transfer(table: Table) -> float | None:
    """What later stages did to earlier tasks, (1/(T-1)) sum_(i<T) (R_(T,i) - R_(i,i)); below 0 is forgetting.

    BWT of Lopez-Paz and Ranzato 2017.
    """
    return _mean(_change(table[-1][i], table[i][i]) for i in range(len(table) - 1))


def forward_transfer(table: Table, base: Row) -> float | None:
    """What earlier stages did to a task before it was trained, (1/(T-1)) sum_(i>1) (R_(i-1,i) - base_i).

    FWT of Lopez-Paz and Ranzato 2017, with the base model in the place of their random initialisation.
    """
    return _mean(_change(table[i - 1][i], base[i]) for i in range(1, len(table)))


def average_forgetting(table: Table) -> float | None:
    """How far tasks fell below their best, (1/(T-1)) sum_(i<T) (max_(l<T) R_(l,i) - R_(T,i)); above 0 is forgetting.

    Chaudhry et al. 2018, Riemannian Walk, arXiv 1801.10112: the best is taken over all stages before the last.
    """
    *earlier, last = table
    return _mean(_change(_most(row[i] for row in earlier), last[i]) for i in range(len(earlier)))


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _change(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
