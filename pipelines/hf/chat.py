"""From conversations and texts to token ids and labels."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from pipelines.errors import wrong
from pipelines.hf.markers import Messages, chat_template, rendered
from pipelines.hf.masks import Mask, Spans, spans

IGNORED = -100
"""The label of a position where no loss is taken."""


class Encoded(NamedTuple):
    """Token ids and, position by position and not shifted, their labels."""

    input_ids: list[int]
    labels: list[int]


def render(tokenizer: Any, messages: Messages, add_generation_prompt: bool = False) -> str:
    """The conversation in the tokenizer's own chat template. It carries its own BOS: tokenise it without adding one."""
    return rendered(tokenizer, chat_template(tokenizer), messages, add_generation_prompt).text


def encode(tokenizer: Any, messages: Messages, mask: Mask) -> Encoded:
    """Tokens of one conversation; the labels hold the assistant's tokens and -100 everywhere else."""
    return encode_spans(tokenizer, [spans(tokenizer, messages, mask)])[0]


def encode_spans(tokenizer: Any, rows: Sequence[Spans]) -> list[Encoded]:
    """Tokens of rendered conversations, each text tokenised once and as a whole.

    A token is trained when it begins in a span. A token that reaches into a span from before it, such as line breaks
    of the header and of the answer merged into one, begins in the prompt and is not trained.
    """
    if not tokenizer.is_fast:
        what = "the tokenizer cannot say where its tokens lie in the text"
        raise wrong("base", what, type(tokenizer).__name__, "Use a model folder with a tokenizer.json")
    batch = tokenizer([row.text for row in rows], add_special_tokens=False, return_offsets_mapping=True)
    return [
        Encoded(ids, _labels(ids, offsets, row.trained))
        for ids, offsets, row in zip(batch["input_ids"], batch["offset_mapping"], rows, strict=True)
    ]


def encode_texts(tokenizer: Any, texts: Sequence[str]) -> list[Encoded]:
    """Tokens of plain documents, all trained, each opened and closed as the tokenizer does, and with EOS at the end."""
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    batch = tokenizer(list(texts))["input_ids"]
    closed = [ids if ids[-1:] == end else ids + end for ids in batch]
    return [Encoded(ids, list(ids)) for ids in closed]


def _labels(ids: list[int], offsets: list[tuple[int, int]], trained: list[tuple[int, int]]) -> list[int]:
    """A span ends in a stop token, which no other token reaches across; one that swallows white space ends after it."""
    labels = [IGNORED] * len(ids)
    position = 0
    for start, end in trained:
        while position < len(ids) and offsets[position][0] < start:
            position += 1
        first = position
        while position < len(ids) and offsets[position][0] < end:
            if offsets[position][0] < offsets[position][1]:
                labels[position] = ids[position]
            position += 1
        if first == position or labels[position - 1] == IGNORED or offsets[position - 1][1] < end:
            raise wrong(
                "base", "the tokenizer does not say where an end-of-turn token lies", fix="Use another tokenizer"
            )
    return labels


def special_tokens(tokenizer: Any) -> tuple[str, ...]:
    """The texts that the tokenizer turns into control tokens wherever they stand; in a turn they would break it up."""
    added = tokenizer.added_tokens_decoder.values()
    return tuple(token.content for token in added if token.special and token.content.strip())
