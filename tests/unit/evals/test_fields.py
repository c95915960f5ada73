"""Field F1 of JSON answers: what counts as a field, what is lenient and what is not."""

import pytest

from tests.unit.evals import beside

field_f1 = beside.load("fields").field_f1
PRETTY = """```json
{"order": 48213, "intent": "refund",
 "items": [{"name": "desk"}, {"name": "lamp"}], "urgent": true}
```"""
EXPECTED = '{"intent":"refund","order":48213,"urgent":true,"items":[{"name":"desk"},{"name":"lamp"}]}'


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        (EXPECTED, 1.0),
        (PRETTY, 1.0),
        (f"Here it is [as asked]: {EXPECTED} I hope it helps.", 1.0),
        (EXPECTED.replace("48213", "48213.0"), 1.0),
        (EXPECTED.replace("refund", "return"), 0.8),  # 4 of 5 and 4 of 5
        (EXPECTED.replace("48213", '"48213"'), 0.8),
        (EXPECTED.replace("true", "1"), 0.8),
        (EXPECTED.replace("desk", "lamp").replace('lamp"}]', 'desk"}]'), 0.6),  # the order of a list matters
        (EXPECTED.replace('"urgent":true,', ""), 8 / 9),  # 4 of 4 and 4 of 5
        (EXPECTED.replace('"urgent":true,', '"urgent":true,"more":1,'), 10 / 11),
        (EXPECTED[:-1], 0.0),  # cut short: the first value that decodes is not the object
        ("[" * 1_000_000, 0.0),
        ("[" * 900 + "]" * 900, 0.0),
        ('{"a":' * 3000 + "1" + "}" * 3000, 0.0),
        ("refund", 0.0),
        ("{}", 0.0),
        ("", 0.0),
    ],
)
def test_field_f1_counts_fields_in_both_over_fields_of_both(answer, score):
    assert field_f1([EXPECTED], [answer]) == pytest.approx(score)


@pytest.mark.parametrize(
    ("expected", "answer", "score"), [("{}", " {} ", 1), ("[]", "{}", 0), ("5", "5", 1), ("5", "5 or 6", 0)]
)
def test_field_f1_of_values_without_fields(expected, answer, score):
    assert field_f1([expected], [answer]) == score


def test_field_f1_refuses_an_expected_text_that_is_no_json():
    with pytest.raises(ValueError, match="Expecting value"):
        field_f1(["refund"], ["refund"])
