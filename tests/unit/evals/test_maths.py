"""The number of an answer: which one it is, and when two numbers are the same."""

import pytest

from tests.unit.evals import beside

maths = beside.load("maths")


@pytest.mark.parametrize(
    ("expected", "answer"),
    [
        ("#### 1234", "1,234"),
        ("#### 1,234", "That makes $1234.00."),
        ("#### 1234", "$ 1,234."),
        ("#### 1234567", "1,234,567 people"),
        ("#### 18", "16 - 3 - 4 = <<16-3-4=9>>9, and 9 * 2 = <<9*2=18>>18"),
        ("#### 18", "#### 18 eggs, 5 a box"),
        ("#### 18", "12\n#### none\n#### 18"),
        ("#### 18", "So it is 18 ####"),
        ("#### 0.75", "3/4"),
        ("#### 0.75", r"\boxed{\frac{3}{4}}"),
        ("#### 1.5", "It takes 1 1/2 hours"),
        ("#### .5", "0.50"),
        ("#### -5", "-5"),
        ("#### -5", "\u22125"),
        ("#### -5", "-$5 and $-5"),
        ("#### 5", "10-5"),
        ("#### 5", "(3)-5"),
        ("#### 50", "50%"),
        ("#### 50%", "50"),
        ("#### 0.5", "50 %"),
        ("#### 12.5%", "0.125"),
    ],
)
def test_same_number_written_otherwise_matches(expected, answer):
    assert maths.numeric_match({"completion": expected}, [answer]) == {"numeric_match": 1.0}


@pytest.mark.parametrize(
    ("expected", "answer"),
    [
        ("#### 1234", "123"),
        ("#### 1234", "1234.5"),
        ("#### 1234", "-1234"),
        ("#### 1234", "1,234 is not it, 5 is"),
        ("#### 18", "18\n#### 17"),
        ("#### 0.33", "1/3"),
        ("#### 50", "0.5"),
        ("#### 5", "1/0"),
        ("#### 5", "five"),
        ("#### 5", ""),
        ("#### 5", "5" * 10_000),
        ("#### 5", "1/" + "5" * 10_000),
    ],
)
def test_other_number_does_not_match(expected, answer):
    assert maths.numeric_match({"completion": expected}, [answer]) == {"numeric_match": 0.0}


def test_completion_without_a_number_is_refused():
    with pytest.raises(ValueError, match="has no number: 'none'"):
        maths.numeric_match({"completion": "none"}, ["5"])
