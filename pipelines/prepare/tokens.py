"""What becomes of each row once it is tokens: it stays, it is cut, or it is dropped with a reason."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from pipelines.errors import Problem, UserError
from pipelines.hf.chat import IGNORED, Encoded, encode_spans, encode_texts, special_tokens
from pipelines.hf.masks import Mask, Spans, spans
from pipelines.prepare.sift import Placed


class Fate(NamedTuple):
    """A row and its tokens, or the reason why it is dropped."""

    row: Placed
    encoded: Encoded | None
    reason: str = ""
    detail: str = ""
    truncated: bool = False


def fates(
    tokenizer: Any, rows: Sequence[Placed], mask: Mask | None, max_length: int, truncate: bool, problems: list[Problem]
) -> list[Fate]:
    """Tokenise rows, plain texts without a `mask`. Rows that the template refuses go to `problems`."""
    if mask is None:
        found = encode_texts(tokenizer, [row.text or "" for row in rows])
        return [_fitted(row, encoded, max_length, truncate) for row, encoded in zip(rows, found, strict=True)]
    special = special_tokens(tokenizer)
    result, whole, texts = [], [], []
    for row in rows:
        turns = row.messages or []
        token = next((token for token in special for turn in turns if token in turn["content"]), None)
        if token is not None:
            result.append(
                Fate(row, None, "special_token", f"a turn holds {token}, which the tokenizer takes as control")
            )
            continue
        text = _spans(tokenizer, row, mask, problems)
        if text is not None:
            whole.append(row)
            texts.append(text)
    encoded = encode_spans(tokenizer, texts) if texts else []
    return result + [_fitted(row, found, max_length, truncate) for row, found in zip(whole, encoded, strict=True)]


def _spans(tokenizer: Any, row: Placed, mask: Mask, problems: list[Problem]) -> Spans | None:
    try:
        return spans(tokenizer, row.messages or [], mask)
    except UserError as error:
        problems += (
            problem._replace(where=row.where, what=f"{problem.where} {problem.what}") for problem in error.problems
        )
        return None


def _fitted(row: Placed, encoded: Encoded, max_length: int, truncate: bool) -> Fate:
    """A row within the length: kept, cut at its end, or dropped. A cut row must still have something to learn."""
    length = len(encoded.input_ids)
    if length > max_length and not truncate:
        return Fate(row, None, "too_long", f"{length} tokens, at most {max_length}")
    cut = Encoded(encoded.input_ids[:max_length], encoded.labels[:max_length])
    if all(label == IGNORED for label in cut.labels[1:]):
        return Fate(row, None, "all_masked", f"no token to learn within {max_length} of {length}")
    return Fate(row, cut, truncated=length > max_length)
