"""Whether an answer comes to the right number, however the number is written."""

import re
from fractions import Fraction
from typing import Any

_REWRITE = (("\u2212", "-"), (r"\\[dt]?frac\{(\d+)\}\{(\d+)\}", r"\1/\2"), (r"(?<=\d),(?=\d{3}(?!\d))", ""))
"""A minus sign, a fraction and thousands, as _NUMBER reads them."""
_NUMBER = re.compile(
    r"(?P<minus>(?<![\w)])-)?[$\u00a3\u20ac]?\s?(?P<inner>(?<=[$\u00a3\u20ac])-)?"  # not the dash of 3-4
    r"(?:(?P<whole>\d+)\s+(?=\d+/\d))?(?P<value>\d+(?:\.\d+)?|\.\d+)(?:\s?/\s?(?P<below>0*[1-9]\d*))?(?P<percent>\s?\\?%)?"
)
_LONGEST = 1000
"""Signs of a number; Python turns no more than 4300 digits into one, and a model may never stop writing them."""


def numeric_match(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """1 where the number of the answer is that of the completion, exactly: 1,234 = 1234.0 = $1,234, and 1 1/2 = 1.5 but
    0.33 is not 1/3. A percent sign is a unit or means hundredths, whichever fits: 50% is right for 50 and for 0.5.
    """
    expected, answered = _readings(doc["completion"]), _readings(results[0])
    if not expected:
        raise ValueError(f"the completion of a document has no number: {doc['completion']!r}")
    return {"numeric_match": float(bool(expected & answered))}


def _readings(text: str) -> set[Fraction]:
    """What the number of an answer can be: the first one after the last ####, else the last one; none without any."""
    for pattern, plain in _REWRITE:
        text = re.sub(pattern, plain, text)
    after = _NUMBER.search(text.rpartition("####")[2]) if "####" in text else None
    numbers = [after] if after else list(_NUMBER.finditer(text))[-1:]
    return {reading for number in numbers if len(number[0]) <= _LONGEST for reading in _read(number)}


def _read(number: re.Match[str]) -> set[Fraction]:
    value = Fraction(number["value"]) / int(number["below"] or 1) + int(number["whole"] or 0)
    signed = -value if number["minus"] or number["inner"] else value
    return {signed, signed / 100} if number["percent"] else {signed}
