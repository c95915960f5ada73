"""How numbers are written: shares in percent, their differences in points, times, sizes, all else in four digits."""

from typing import Any

SHARE, BITS, NATS, NUMBER = "share", "bits per byte", "nats", "number"
ABSENT = "-"
_SIZES = ("B", "kB", "MB", "GB", "TB")


def unit_of(metric: str, values: list[float]) -> str:
    """What a score is measured in, by its metric's name and its values."""
    if metric == "bits_per_byte":
        return BITS
    if metric == "kl":
        return NATS
    return SHARE if values and all(0 <= value <= 1 for value in values) else NUMBER


def plain(number: float | None) -> str:
    """Four digits: significant ones from 1 on, decimals below; a number under 0.001 keeps three significant digits."""
    if number is None:
        return ABSENT
    size = abs(number)
    if size == 0 or size >= 10_000:
        return f"{number:,.0f}"
    if size >= 1:
        return f"{number:#.4g}".removesuffix(".")
    return f"{number:.4f}" if size >= 0.001 else f"{number:.3g}"


def value(number: float | None, unit: str) -> str:
    return f"{100 * number:.1f} %" if number is not None and unit == SHARE else plain(number)


def difference(number: float | None, unit: str) -> str:
    """A signed difference; of percentages in points."""
    if number is None:
        return ABSENT
    if unit != SHARE:
        return ("+" if number > 0 else "") + plain(number)
    return "0.0 pp" if abs(number) < 0.0005 else f"{100 * number:+.1f} pp"


def distance(number: float | None, unit: str) -> str:
    """An unsigned difference, such as a margin."""
    return ABSENT if number is None else difference(abs(number), unit).removeprefix("+")


def interval(low: float | None, high: float | None, unit: str) -> str:
    if low is None or high is None:
        return ABSENT
    return f"[{difference(low, unit).removesuffix(' pp')}, {difference(high, unit).removesuffix(' pp')}]"


def span(low: float | None, high: float | None, unit: str) -> str:
    """The interval of a value, not of a difference."""
    return ABSENT if low is None or high is None else f"[{value(low, unit)}, {value(high, unit)}]"


def level(alpha: float) -> str:
    """What an interval with this error rate is called."""
    return f"{100 * (1 - alpha):g} % CI"


def probability(p: float | None) -> str:
    if p is None:
        return ABSENT
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def count(number: Any) -> str:
    return f"{number:,}" if isinstance(number, int) else ABSENT


def percent(part: float | None, whole: float | None = 1.0) -> str:
    """A share with two digits, for shares that are small on purpose."""
    return ABSENT if part is None or not whole else f"{100 * part / whole:.2f} %"


def duration(seconds: float | None) -> str:
    """Seconds in the one or two units that matter."""
    if seconds is None:
        return ABSENT
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes < 10 else f"{round(seconds / 60)} min"


def size(number: float | None) -> str:
    """Bytes in decimal units, three digits."""
    if number is None:
        return ABSENT
    for unit in _SIZES:
        if number < 1000 or unit == _SIZES[-1]:
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.3g} {unit}"
