"""The rule that the tokenizer which transformers loads splits text as `tokenizer.json` says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from pipelines.hf.folder import TOKENIZER_CONFIG
from pipelines.hf.models import changed_parts
from pipelines.serving.findings import Finding
from pipelines.serving.lint.vocabulary import Words

_PROBES = (
    "The capital of France is Paris, isn't it? We'll see; they've gone.",
    "12345 + 678 = 13023; 3.14159, 1,000,000 and 0x1F",
    "  two  spaces\n\n\tand a tab\r\n    def add(a, b):\n        return a + b\n",
    "Gr\u00fc\u00dfe, na\u00efve \u00e9t\u00e9, \u4f60\u597d\u4e16\u754c, \u041f\u0440\u0438\u0432\u0435\u0442, \u263a",
    '{"intent": "refund", "urgent": true}\u00a0\u2014 e\u0301 \ufb01',
)


def rules(folder: Path, asked: Words) -> list[Finding]:
    """A class of transformers that refuses the folder, or that replaces its splitting by one of its own."""
    where = str(folder / TOKENIZER_CONFIG)
    try:
        loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        # Whatever it raises, vLLM does not start: it loads the tokenizer so.
        what, fix = "does not load in transformers", "Save the tokenizer again with save_pretrained"
        return [Finding("tokenizer-does-not-load", "E", where, what, f"{type(error).__name__}: {error}"[:200], fix)]
    if not getattr(loaded, "is_fast", False):
        return []
    return list(_replaced(folder, asked.tokenizer, loaded))


def _replaced(folder: Path, asked: Tokenizer, loaded: Any) -> Iterator[Finding]:
    where, own, name = str(folder / TOKENIZER_CONFIG), loaded.backend_tokenizer, type(loaded).__name__
    fix = 'Set "tokenizer_class": "PreTrainedTokenizerFast" in tokenizer_config.json'
    if any(_ids(asked, text) != _ids(own, text) for text in _PROBES):
        what = f"its class {name} makes other tokens of a text than tokenizer.json"
        yield Finding("tokenizer-ignores-file", "E", where, what, ", ".join(changed_parts(folder, loaded)), fix)
    elif any(_pieces(asked, text) != _pieces(own, text) for text in _PROBES):
        what = f"its class {name} cuts text into other pieces than tokenizer.json, which may make other tokens of it"
        yield Finding("tokenizer-cuts-otherwise", "W", where, what, ", ".join(changed_parts(folder, loaded)), fix)


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def _pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    plain = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
    return [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(plain)] if tokenizer.pre_tokenizer else []
