"""Numbers as the report writes them."""

import pytest

from pipelines.report.markdown.charts import forest, sparkline
from pipelines.report.numbers import (
    BITS,
    NATS,
    NUMBER,
    SHARE,
    count,
    difference,
    distance,
    interval,
    percent,
    probability,
    unit_of,
    value,
)  # fmt: skip


@pytest.mark.parametrize(
    ("number", "unit", "text"),
    [
        (0.384, SHARE, "38.4 %"), (1.0, SHARE, "100.0 %"), (1.0058, BITS, "1.006"), (0.083, NATS, "0.0830"),
        (0.0, NATS, "0"), (0.00012345, NATS, "0.000123"), (12345.6, NUMBER, "12,346"), (1234.4, NUMBER, "1234"),
        (None, SHARE, "-"),
    ],
)  # fmt: skip
def test_value_of_each_unit_has_its_digits(number: float | None, unit: str, text: str) -> None:
    assert value(number, unit) == text


@pytest.mark.parametrize(
    ("number", "unit", "text"),
    [
        (0.36, SHARE, "+36.0 pp"), (-0.006, SHARE, "-0.6 pp"), (-0.0001, SHARE, "0.0 pp"), (0.10049, SHARE, "+10.0 pp"),
        (0.0, BITS, "0"), (0.0131, BITS, "+0.0131"), (-1.5, BITS, "-1.500"), (None, BITS, "-"),
    ],
)  # fmt: skip
def test_difference_of_each_unit_has_its_sign(number: float | None, unit: str, text: str) -> None:
    assert difference(number, unit) == text


def test_smaller_numbers_have_their_forms() -> None:
    assert distance(-0.02, SHARE) == "2.0 pp"
    assert interval(-0.019, 0.007, SHARE) == "[-1.9, +0.7]"
    assert interval(None, 0.1, SHARE) == "-"
    assert [probability(p) for p in (0.0004, 0.0314, None)] == ["<0.001", "0.031", "-"]
    assert [count(n) for n in (1234567, None)] == ["1,234,567", "-"]
    assert [percent(0.0503), percent(3, 200), percent(3, 0)] == ["5.03 %", "1.50 %", "-"]


@pytest.mark.parametrize(
    ("metric", "values", "unit"),
    [
        ("exact_match", [0.0, 1.0], SHARE), ("bits_per_byte", [0.9, 0.8], BITS), ("kl", [0.0, 0.1], NATS),
        ("word_perplexity", [31.0], NUMBER), ("acc", [], NUMBER),
    ],
)  # fmt: skip
def test_unit_of_a_metric_follows_its_name_and_values(metric: str, values: list[float], unit: str) -> None:
    assert unit_of(metric, values) == unit


def test_sparkline_of_a_falling_curve_falls() -> None:
    line = sparkline([float(100 - step) for step in range(100)])
    assert len(line) == 24 and line[0] == "\u2588" and line[-1] == "\u2581"
    assert list(line) == sorted(line, reverse=True)


def test_sparkline_of_few_or_equal_values_is_as_long_as_they_are() -> None:
    assert [sparkline([]), sparkline([2.0]), sparkline([2.0, 2.0])] == ["", "\u2581", "\u2581\u2581"]


@pytest.mark.parametrize(
    ("arguments", "picture"),
    [
        ((0.6, 0.2, 0.8, 1.0), "·····┊──●─·"), ((-0.2, -0.4, 0.4, 1.0), "···─●┼──···"),
        ((0.0, None, None, 0.0), "·····●·····"),
        ((9.0, None, None, 1.0), "·····┊····●"),
    ],
)  # fmt: skip
def test_forest_places_the_dot_between_its_bounds(arguments: tuple[float, ...], picture: str) -> None:
    assert forest(*arguments, width=11) == picture
