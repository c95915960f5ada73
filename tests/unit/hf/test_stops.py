"""Where answers end, for templates with and without a token for it."""

import pytest

from pipelines.hf.stops import stopping, turn_end
from tests import pico

NO_END = "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}"
SPACED = "{% for message in messages %}{{ message['content'] + ' \n' + '<|endoftext|>' }}{% endfor %}"


@pytest.mark.parametrize(("template", "token"), [(pico.CHATML, 2), (SPACED, 0), (NO_END, None)])
def test_turn_end_is_the_first_special_token_after_the_answer(template: str, token: int | None):
    assert turn_end(pico.tokenizer(template)) == token


def test_turn_end_without_template_is_none():
    words = pico.tokenizer()
    words.chat_template = None
    assert turn_end(words) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"eos_token_id": 2, "pad_token_id": 2}),
        ({"eos_token_id": 0}, {"eos_token_id": [0, 2], "pad_token_id": 2}),
        ({"eos_token_id": [2, 0], "pad_token_id": 0}, {"eos_token_id": [2, 0], "pad_token_id": 0}),
        ({"temperature": 0.6}, {"eos_token_id": 2, "pad_token_id": 2, "temperature": 0.6}),
    ],
)
def test_stopping_adds_the_end_of_a_turn(before: dict, after: dict):
    assert stopping(before, pico.tokenizer()) == after
