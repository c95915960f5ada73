"""Whether an answer to a canary prompt holds: it has all that it must have and nothing that it must not."""

import re
from typing import Any


def held(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """`must` and `must_not` are regular expressions, searched for anywhere in the answer, in upper or lower case."""
    has = all(re.search(pattern, results[0], re.IGNORECASE) for pattern in doc["must"])
    lacks = not any(re.search(pattern, results[0], re.IGNORECASE) for pattern in doc["must_not"])
    return {"held": float(has and lacks)}
