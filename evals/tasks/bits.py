"""What lm-eval has for whole documents only: bits per byte of an answer, given its prompt."""

import math
from typing import Any


def bits_per_byte(doc: dict[str, Any], results: list[tuple[float, bool]]) -> dict[str, float]:
    """Negative log-likelihood of the completion in bits, over its length in UTF-8 bytes; lower is better."""
    nats = -results[0][0]
    return {"bits_per_byte": nats / math.log(2) / len(doc["completion"].encode())}
