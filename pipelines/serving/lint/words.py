"""Rules on what turns text into tokens and back: the tokenizer's files, its special tokens, its chat template.

What each engine does with a folder that breaks one stands in `docs/serving.md`.
"""

from pathlib import Path

from pipelines.hf.folder import GENERATION, TOKENIZER, TOKENIZER_CONFIG
from pipelines.serving.findings import Finding
from pipelines.serving.lint import words_generation, words_ids, words_split, words_template, words_versions
from pipelines.serving.lint.opened import unreadable
from pipelines.serving.lint.vocabulary import Words, read_words

_OTHERS = ("tokenizer.model", "vocab.json", "tekken.json")


def rules(folder: Path) -> list[Finding]:
    """Everything that is wrong with the words of a model folder. Weights are not read."""
    words = read_words(folder)
    found = [*_files(folder, words), *words_generation.rules(folder), *words_versions.rules(folder)]
    if words is None:
        return found
    if not words.ids:
        fix = "Save the tokenizer again with save_pretrained"
        return [*found, Finding("empty-vocabulary", "E", str(folder / TOKENIZER), "has no tokens", "", fix)]
    return [
        *found,
        *words_ids.rules(folder, words),
        *words_template.rules(folder, words),
        *words_split.rules(folder, words),
    ]


def _files(folder: Path, words: Words | None) -> list[Finding]:
    again = "Save the tokenizer again with save_pretrained"
    copied = f"Copy {GENERATION} of the model it was trained from"
    if not (folder / TOKENIZER).is_file():
        return [_no_tokenizer(folder)]
    found = [
        finding
        for name in (TOKENIZER, TOKENIZER_CONFIG, GENERATION, "special_tokens_map.json", "added_tokens.json")
        for finding in unreadable(folder / name, "unreadable-file", again if name != GENERATION else copied)
    ]
    if not (folder / TOKENIZER_CONFIG).is_file():
        what = "has no tokenizer_config.json: engines do not know its special tokens"
        found.append(Finding("no-tokenizer-config", "E", str(folder), what, "", again))
    if not found and words is None:
        what = "is no tokenizer that the tokenizers library reads"
        found.append(Finding("unreadable-tokenizer", "E", str(folder / TOKENIZER), what, "", again))
    return found


def _no_tokenizer(folder: Path) -> Finding:
    other = next((name for name in _OTHERS if (folder / name).is_file()), "")
    if other:
        what = "has no tokenizer.json, only the files of a slow tokenizer"
        fix = "Load it with AutoTokenizer and save it here with save_pretrained, which writes tokenizer.json"
        return Finding("no-fast-tokenizer", "W", str(folder), what, other, fix)
    what, fix = "has no tokenizer: vLLM does not start", "Copy the tokenizer files of the model it was trained from"
    return Finding("no-tokenizer", "E", str(folder), what, "", fix)
