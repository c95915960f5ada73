"""Choosing rows: quotas by domain, seeded samples, and what is held apart."""

import heapq
from collections.abc import Iterable, Mapping, Sequence

from pipelines.hf.dataset import share


def quotas(sizes: Mapping[str, int], total: int, balance: float) -> dict[str, int]:
    """Rows to take of each domain: proportional to size^balance, never more than there are, `total` in all if possible.

    Largest remainders; what a small domain cannot give is shared among the others.
    """
    left = min(total, sum(sizes.values()))
    full: dict[str, int] = {}
    while True:
        weights = {domain: size**balance for domain, size in sizes.items() if domain not in full}
        scale = (left - sum(full.values())) / max(sum(weights.values()), 1)
        spent = {domain: sizes[domain] for domain, weight in weights.items() if weight * scale >= sizes[domain]}
        if not spent:
            break
        full |= spent
    wanted = {domain: weight * scale for domain, weight in weights.items()}
    taken = full | {domain: int(rows) for domain, rows in wanted.items()}
    by_remainder = sorted(wanted, key=lambda domain: (int(wanted[domain]) - wanted[domain], domain))
    for domain in by_remainder[: left - sum(taken.values())]:
        taken[domain] += 1
    return taken


def sampled(rows: Sequence[tuple[str, str]], size: int, balance: float, seed: int) -> list[int]:
    """Positions, in order, of a seeded sample of (id, domain) rows by quota. Each row's luck is its own hash."""
    domains: dict[str, list[int]] = {}
    for position, (_, domain) in enumerate(rows):
        domains.setdefault(domain, []).append(position)
    quota = quotas({domain: len(members) for domain, members in domains.items()}, size, balance)
    chosen = (
        heapq.nsmallest(quota[domain], members, key=lambda at: (share(f"{seed} {rows[at][0]}"), at))
        for domain, members in domains.items()
    )
    return sorted(position for members in chosen for position in members)


def held_apart(prompts: Iterable[str], part: float, seed: int) -> frozenset[str]:
    """A share of the different prompts, at least one unless `part` is 0 and never all: rows of one stay together."""
    different = sorted(set(prompts), key=lambda prompt: (share(f"{seed} {prompt}"), prompt))
    count = max(1, round(part * len(different))) if part else 0
    return frozenset(different[: min(count, len(different) - 1)])
