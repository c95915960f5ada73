"""Names for pre-tokenizers, and what is told where llama.cpp reads text differently."""

import json
from typing import Any

import pytest
import torch

from pipelines.quantize.gguf import opens_with_bos
from pipelines.quantize.gguf_served import distance
from pipelines.quantize.gguf_words import CONVERSATIONS, Expected, expected, misread, pre_tokenizer
from tests import pico
from tests.unit.hf.families import family

BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
PLAIN = BYTES | {"use_regex": False}
QWEN2 = (
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"
    "|\\s+(?!\\S)|\\s+"
)
LLAMA3 = QWEN2.replace("|\\p{N}|", "|\\p{N}{1,3}|")


def split(regex: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def described(*steps: dict[str, Any], ignore_merges: bool = False, kind: str = "BPE") -> dict[str, Any]:
    step = steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": list(steps)}
    return {"model": {"type": kind, "ignore_merges": ignore_merges}, "pre_tokenizer": step}


@pytest.mark.parametrize(
    ("tokenizer", "name"),
    [
        (described(BYTES), "gpt-2"),
        (described({"type": "Digits", "individual_digits": True}, BYTES), "smollm"),
        (described(split(QWEN2), PLAIN), "qwen2"),
        (described(split(LLAMA3), PLAIN, ignore_merges=True), "llama-bpe"),
        (described(split(LLAMA3), PLAIN), None),
        (described(BYTES, ignore_merges=True), None),
        (described(split(QWEN2), BYTES), None),
        (described(split("\\w+"), PLAIN), None),
        (described(split(QWEN2) | {"behavior": "Removed"}, PLAIN), None),
        (described(split(QWEN2) | {"invert": True}, PLAIN), None),
        (described({"type": "Digits", "individual_digits": False}, BYTES), None),
        (described(BYTES | {"add_prefix_space": True}), None),
        (described({"type": "Whitespace"}), None),
        (described(BYTES, kind="Unigram"), None),
        ({"model": {"type": "BPE"}, "pre_tokenizer": None}, None),
    ],
)
def test_pre_tokenizer_is_named_only_where_llama_cpp_does_the_same(tokenizer: dict[str, Any], name: str | None) -> None:
    assert pre_tokenizer(tokenizer) == name


def test_pre_tokenizer_of_the_pico_tokenizer_is_smollm() -> None:
    assert pre_tokenizer(json.loads(pico.tokenizer().backend_tokenizer.to_str())) == "smollm"


@pytest.fixture(scope="module")
def words() -> Expected:
    return expected(pico.tokenizer(), pico.SPECIAL, None)


def said(words: Expected) -> dict[str, Any]:
    """What llama.cpp answers when it reads everything alike."""
    chats = [{"text": "", "ids": list(ids or [])} for ids in words.chats]
    return {"ids": [list(ids) for ids in words.ids], "opened": [list(ids) for ids in words.opened], "chats": chats}


def test_misread_of_the_same_tokens_finds_nothing(words: Expected) -> None:
    assert misread(words, said(words), "m") == []


@pytest.mark.parametrize("place", ["ids", "opened"])
def test_misread_tells_the_first_text_with_other_tokens(words: Expected, place: str) -> None:
    answer = said(words)
    answer[place][3][0] += 1
    answer[place][5][0] += 1
    (problem,) = misread(words, answer, "m")
    assert words.texts[3][:20] in problem.got and "other tokens" in problem.what


def test_misread_tells_a_prompt_that_differs(words: Expected) -> None:
    answer = said(words)
    answer["chats"][1]["ids"].append(0)
    (problem,) = misread(words, answer, "m")
    assert "another prompt" in problem.what and "user, assistant, user" in problem.got


def test_misread_tells_a_conversation_that_llama_cpp_refuses(words: Expected) -> None:
    answer = said(words)
    answer["chats"][0] = {"refused": "no such filter"}
    (problem,) = misread(words, answer, "m")
    assert "no such filter" in problem.got


def test_expected_leaves_out_conversations_that_the_template_refuses() -> None:
    tokenizer = family("gemma")
    chats = expected(tokenizer, [], None).chats
    systems = [any(message["role"] == "system" for message in messages) for messages in CONVERSATIONS]
    assert [chat is None for chat in chats] == systems


@pytest.mark.parametrize(("name", "opens"), [("llama31", None), ("gemma", None), ("zephyr", False), ("chatml", False)])
def test_opens_with_bos_follows_the_template_where_the_tokenizer_disagrees(name: str, opens: bool | None) -> None:
    assert opens_with_bos(family(name)) is opens


def test_distance_of_full_distributions_is_kl() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.randn(4, 7), torch.randn(4, 7)
    rows = [{str(at): float(value) for at, value in enumerate(row)} for row in theirs.log_softmax(-1)]
    wanted = torch.nn.functional.kl_div(theirs.log_softmax(-1), ours.softmax(-1), reduction="none").sum(-1).mean()
    found = distance([ours], [rows])
    assert found.kl == pytest.approx(float(wanted), rel=1e-5)
    assert found.agreement == float((ours.argmax(-1) == theirs.argmax(-1)).double().mean())


def test_distance_of_the_likeliest_alone_is_never_larger_than_kl() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.randn(4, 50) * 3, torch.randn(4, 50) * 3
    told = theirs.log_softmax(-1)
    full = [{str(at): float(row[at]) for at in range(50)} for row in told]
    some = [{str(int(at)): float(row[at]) for at in row.topk(10).indices} for row in told]
    assert 0 < distance([ours], [some]).kl < distance([ours], [full]).kl
