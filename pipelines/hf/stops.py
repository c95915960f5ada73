"""Where an answer ends: the token that closes an assistant's turn, and a generation config that stops there."""

from typing import Any

from pipelines.hf.chat import render
from pipelines.hf.folder import id_list

_QUESTION, _ANSWER = "Which way?", "Straightahead"


def turn_end(tokenizer: Any) -> int | None:
    """Id of the added token that the chat template writes after an answer; None without a template or such a token."""
    if not tokenizer.chat_template:
        return None
    turns = [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _ANSWER}]
    after = render(tokenizer, turns).rpartition(_ANSWER)[2]
    added = tokenizer.added_tokens_decoder
    return next((token for token in tokenizer(after, add_special_tokens=False)["input_ids"] if token in added), None)


def stopping(generation: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    """A generation config that also stops at the end of a turn, and pads where it did not say with what.

    A model that is asked in its template and does not stop at the template's own token talks on to the length limit.
    """
    ends = [*id_list(generation.get("eos_token_id")), tokenizer.eos_token_id, turn_end(tokenizer)]
    unique = list(dict.fromkeys(token for token in ends if token is not None))
    changes: dict[str, Any] = {}
    if unique:
        changes["eos_token_id"] = unique[0] if len(unique) == 1 else unique
    if generation.get("pad_token_id") is None and tokenizer.pad_token_id is not None:
        changes["pad_token_id"] = tokenizer.pad_token_id
    return dict(sorted((generation | changes).items()))
