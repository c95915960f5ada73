"""What the maker of a level hands back."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipelines.serving.findings import Check, Finding


class Made(NamedTuple):
    """A folder at a level: what held, what is told, and what was measured; None is what was not.

    `kl`: nats a token from the export it was made from; `agreement`: share of tokens whose likeliest next one is the
    same; `memory_bytes` that serving takes beside keys and values; `environment`: version by name of what made it.
    """

    checks: Sequence[Check]
    warnings: Sequence[Finding]
    kl: float | None
    agreement: float | None
    tokens_per_second: float | None
    memory_bytes: int | None
    environment: Mapping[str, str]
