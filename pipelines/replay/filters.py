"""Which of the answers that a model wrote are fit to be trained on again."""

from collections.abc import Sequence

from pipelines.hf.dataset import normalised

_DISTINCT = 0.6


def unfit(answer: str, tokens: int, min_tokens: int, special: Sequence[str]) -> tuple[str, str] | None:
    """(reason, detail) for an answer that is not to be kept; None for a good one."""
    if tokens < min_tokens or not answer:
        return "too_short", f"{tokens} tokens, at least {min_tokens}"
    if "\ufffd" in answer:
        return "broken_text", "bytes that are not UTF-8"
    token = next((token for token in special if token in answer), None)
    if token is not None:
        return "special_token", f"holds {token}"
    distinct = distinct_trigrams(answer)
    if distinct < _DISTINCT:
        return "repetition", f"{distinct:.0%} of its word trigrams are distinct"
    return None


def distinct_trigrams(text: str) -> float:
    """Share of the text's word trigrams that differ; 1 for texts of fewer than three words."""
    words = normalised(text).split()
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(trigrams)) / len(trigrams) if trigrams else 1.0
