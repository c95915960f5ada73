"""Whether llama.cpp reads text as the model's own tokenizer does: which pre-tokenizer it has to use, and the proof.

The converter knows pre-tokenizers by a hash over the tokens of one text, so it knows published vocabularies and no
retrained ones. What a tokenizer does before BPE stands in tokenizer.json, and llama.cpp has names for the common ones.
"""
# ruff: noqa: RUF001 - letters that look like others are what tokenizers are tried with.

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jinja2 import TemplateError

from pipelines.errors import Problem

_CASELESS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_DEEPSEEK = (
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
)
_GPT2 = ("bytes", "words")
_PLAIN = ("bytes",)
_KNOWN: dict[tuple[tuple[str, ...], ...], str] = {
    (_GPT2,): "gpt-2",
    (("digits", "single"), _GPT2): "smollm",
    (("split", rf"{_CASELESS}|{_WORDS}|\p{{N}}|{_REST}"), _PLAIN): "qwen2",
    (("split", rf"{_CASELESS}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}"), _PLAIN): "llama-bpe",
    (("split", r"\p{N}{1,3}"), ("split", "[一-龥぀-ゟ゠-ヿ]+"), ("split", _DEEPSEEK), _PLAIN): "deepseek-v3",
}
_WHOLE_WORDS = ("llama-bpe",)
"""Those for which llama.cpp takes a word that is in the vocabulary without merging."""

TEXTS = (
    "Hello world",
    " one space,  two and   three ",
    "lines\nand\n\nmore\n\n\nwith\ttabs\t\tand\r\nreturns\n",
    "0 12 345 6789 3.14159 1,000,000 0x7f 2026-11-23 x2y3z 10km",
    "I'm sure you're right; WE'LL see, they'd said: IT'S Bob's. 'quoted' \"twice\"",
    "......!!!??? ///\\\\ ===>>> --- ~~ ** (a)[b]{c}<d>|e| `code` ``x``",
    'def f(x: int) -> dict:\n    """Doc."""\n    return {"a": [x**2, None], \'b\': x // 3}  # ok\n',
    "https://example.org/a/b?c=d&e=%20f#g user@example.org #tag @name $5 €7 50%",
    "Zoë naïve façade Ünïcödé straße İstanbul ŁÓDŹ Æther",
    "Привет мир! Γειά σου Κόσμε. שלום עולם مرحبا بالعالم नमस्ते दुनिया สวัสดีชาวโลก",
    "日本語のテキスト 中文文本，标点。한국어 텍스트 １２３ ４５",
    "🚀 ok 😶‍🌫️ 👩‍👩‍👧‍👦 🏳️‍🌈 🇫🇷 ✅",
    "non\u00a0breaking em\u2003space zero\u200bwidth \u2028line \ufeffmark",
    "½ ² ٣٤٥ Ⅷ ⁴ x₂ e=mc²",
    "\n",
    "   ",
)
DECOMPOSED = "Zoe\u0308 nai\u0308ve cafe\u0301"
CONVERSATIONS: tuple[list[dict[str, str]], ...] = (
    [{"role": "user", "content": "What is the capital of France?"}],
    [
        {"role": "user", "content": "Count to 3."},
        {"role": "assistant", "content": "1, 2, 3."},
        {"role": "user", "content": 'Again, as {"json": [1]}\n\nand in "quotes".'},
    ],
    [{"role": "system", "content": "Answer in one word."}, {"role": "user", "content": "Is 7 prime?"}],
    [
        {"role": "system", "content": "Du bist höflich."},
        {"role": "user", "content": "Grüß Gott 🚀"},
        {"role": "assistant", "content": "Grüß Gott!"},
        {"role": "user", "content": "Und jetzt?"},
    ],
)


class Expected(NamedTuple):
    """What the model's tokenizer makes of texts: their ids, the same with what it adds, and those of conversations.

    A conversation that the chat template refuses is None.
    """

    texts: list[str]
    ids: list[list[int]]
    opened: list[list[int]]
    chats: list[list[int] | None]


def pre_tokenizer(tokenizer: Mapping[str, Any]) -> str | None:
    """llama.cpp's name for what a tokenizer.json does before BPE; None where it has none that is known here."""
    model, step = tokenizer["model"], tokenizer.get("pre_tokenizer")
    if model.get("type") != "BPE" or step is None:
        return None
    steps = step["pretokenizers"] if step["type"] == "Sequence" else [step]
    name = _KNOWN.get(tuple(_described(step) for step in steps))
    return name if bool(model.get("ignore_merges")) == (name in _WHOLE_WORDS) else None


def _described(step: Mapping[str, Any]) -> tuple[str, ...]:
    kind = step["type"]
    if kind == "ByteLevel" and not step.get("add_prefix_space"):
        return _GPT2 if step.get("use_regex", True) else _PLAIN
    if kind == "Digits":
        return ("digits", "single" if step.get("individual_digits") else "runs")
    if kind == "Split" and step.get("behavior") == "Isolated" and not step.get("invert"):
        return ("split", str(step["pattern"].get("Regex")))
    return (kind,)


def expected(tokenizer: Any, special: Sequence[str], add_bos: bool | None) -> Expected:
    """The fixed texts and those with control tokens in them, as the tokenizer reads them; `add_bos` False: as if it
    opened no text with BOS."""
    inside = [f"a{token}b {token}\n{token}{token} c" for token in special[:8]]
    texts = [*TEXTS, *inside, "".join(special[:8])]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    opened = ids if add_bos is False else [tokenizer(text)["input_ids"] for text in texts]
    return Expected(texts, ids, opened, [_chat(tokenizer, messages) for messages in CONVERSATIONS])


def _chat(tokenizer: Any, messages: list[dict[str, str]]) -> list[int] | None:
    if not tokenizer.chat_template:
        return None
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except TemplateError:
        return None
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def misread(wanted: Expected, told: Mapping[str, Any], where: str) -> list[Problem]:
    """What llama.cpp reads differently: the first text of each kind, with what it made of it."""
    found = []
    for what, ours, theirs in (("text", wanted.ids, told["ids"]), ("opened text", wanted.opened, told["opened"])):
        for text, one, other in zip(wanted.texts, ours, theirs, strict=False):
            if one != other:
                got = f"{other[:12]} for {one[:12]} of {text[:30]!r}"
                fix = "Use a tokenizer whose pre_tokenizer llama.cpp knows, such as the base's"
                found.append(Problem(where, f"llama.cpp reads {what} as other tokens", got, fix))
                break
    for messages, chat, answer in zip(CONVERSATIONS, wanted.chats, told["chats"], strict=True):
        if chat is not None and chat != answer.get("ids"):
            roles = ", ".join(message["role"] for message in messages)
            got = f"{roles}: {answer.get('text', answer.get('refused'))[-120:]!r}"
            fix = "Give the model a chat template of plain Jinja loops and conditions"
            found.append(Problem(where, "llama.cpp writes another prompt than the chat template", got, fix))
            break
    return found
