"""Every rule on tokenizers and templates finds its folder, and no sound folder is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from pipelines.hf.stops import stopping
from pipelines.serving.findings import errors
from pipelines.serving.lint.words import rules
from tests import pico
from tests.unit.hf.families import TOKENS, family
from tests.unit.serving.lint.changes import at, copied, named, settings

Break = Callable[[Path], object]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pico model written for both versions of transformers: nothing is to be said of it."""
    folder = pico.save_model(tmp_path_factory.mktemp("sound") / "model", seed=0)
    template = (folder / "chat_template.jinja").read_text()
    changes = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template}
    settings(folder / "tokenizer_config.json", **changes)
    return folder


def config(**values: object) -> Break:
    return lambda folder: settings(folder / "config.json", **values)


def tokens(*drop: str, **values: object) -> Break:
    return lambda folder: settings(folder / "tokenizer_config.json", drop, **values)


def generation(*drop: str, **values: object) -> Break:
    return lambda folder: settings(folder / "generation_config.json", drop, **values)


def write(name: str, text: str) -> Break:
    return lambda folder: (folder / name).write_text(text)


def without(*names: str) -> Break:
    return lambda folder: [(folder / name).unlink() for name in names]


def template(text: str) -> Break:
    def change(folder: Path) -> None:
        (folder / "chat_template.jinja").write_text(text)
        settings(folder / "tokenizer_config.json", chat_template=text)

    return change


def adds_bos(folder: Path) -> None:
    """The tokenizer puts <|endoftext|>, which is made its BOS, before plain text."""
    entry = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
    processor = {
        "type": "TemplateProcessing",
        "single": [entry, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
    }
    at(folder / "tokenizer.json", "post_processor", value=processor)
    settings(folder / "tokenizer_config.json", bos_token="<|endoftext|>")


def adds_bos_and_writes_it(folder: Path) -> None:
    adds_bos(folder)
    template("{{ bos_token }}" + pico.CHATML)(folder)


def writes_bos_twice(folder: Path) -> None:
    adds_bos(folder)
    template("{{ bos_token }}{{ bos_token }}" + pico.CHATML)(folder)


def ignores_its_file(folder: Path) -> None:
    """GPT2Tokenizer of transformers 5 joins digits, of which this tokenizer.json makes a token each."""
    settings(folder / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    free = content["model"]["vocab"].pop("\u0120hunters", None) or 397
    content["model"]["vocab"] = {t: i for t, i in content["model"]["vocab"].items() if i != free} | {"12": free}
    kept = [pair for pair in content["model"]["merges"] if "".join(pair) in content["model"]["vocab"]]
    content["model"]["merges"] = [*kept, ["1", "2"]]
    path.write_text(json.dumps(content))


def other_added(folder: Path) -> None:
    (folder / "added_tokens.json").write_text(json.dumps({"<|im_end|>": 77}))


def other_vocabulary(folder: Path) -> None:
    words = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    (folder / "vocab.json").write_text(json.dumps({text: token + 1 for text, token in words.items()}))


LATER = (
    "{% for m in messages %}{% if not loop.first %}{{ MORE }}{% endif %}"
    "<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
)
BROKEN: dict[str, list[tuple[str, str, Break]]] = {
    "files": [
        ("no-tokenizer", "E", without("tokenizer.json", "tokenizer_config.json")),
        ("no-fast-tokenizer", "W", lambda at: (at / "tokenizer.json").rename(at / "tokenizer.model")),
        ("no-tokenizer-config", "E", without("tokenizer_config.json")),
        ("unreadable-file", "E", write("tokenizer.json", "{")),
        ("unreadable-file", "E", write("tokenizer_config.json", "[]")),
        ("unreadable-file", "E", write("generation_config.json", "")),
        ("unreadable-tokenizer", "E", write("tokenizer.json", '{"model": 1}')),
        ("tokenizer-does-not-load", "E", tokens(tokenizer_class="T5Tokenizer")),
        ("tokenizer-ignores-file", "E", ignores_its_file),
        ("tokenizer-cuts-otherwise", "W", tokens(tokenizer_class="GPT2Tokenizer")),
    ],
    "ids": [
        ("tokenizer-too-big", "E", config(vocab_size=300)),
        ("special-token-unknown", "E", tokens(eos_token="<|nowhere|>")),
        ("id-outside-vocabulary", "E", config(eos_token_id=100000)),
        ("id-outside-vocabulary", "W", generation(pad_token_id=-1)),
        ("id-no-number", "E", generation(eos_token_id="<|im_end|>")),
        ("special-ids-disagree", "W", config(bos_token_id=5)),
    ],
    "template": [
        ("no-chat-template", "W", lambda at: [without("chat_template.jinja")(at), tokens("chat_template")(at)]),
        ("no-default-template", "E", lambda at: [
            without("chat_template.jinja")(at), tokens(chat_template=[{"name": "rag", "template": "x"}])(at)]),
        ("templates-differ", "E", write("chat_template.jinja", pico.CHATML + "!")),
        ("template-in-one-place", "W", tokens("chat_template")),
        ("template-broken", "E", template("{% for message in messages %}")),
        ("template-broken", "E", template("{{ messages[0].content + 1 }}")),
        ("template-broken", "E", template("{{ raise_exception('no') }}")),
        ("template-broken", "E", write("chat_template.jinja", "")),
        ("template-drops-words", "E", template("<|im_start|>{{ messages[0].role }}<|im_end|>")),
        ("template-drops-words", "E", template("<|im_start|>{{ messages[-1].content }}<|im_end|>")),
        ("template-single-turn", "E", template(LATER.replace("{{ MORE }}", "{{ 1 + m.role }}"))),
        ("template-single-turn", "W", template(LATER.replace("{{ MORE }}", "{{ raise_exception('one turn') }}"))),
        ("template-drops-system", "W", template(pico.CHATML.replace("in messages", "in messages if m_role"
                                                .replace("m_role", "message.role != 'system'")))),
        ("template-refuses-system", "W", template(
            "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + pico.CHATML)),
        ("never-stops", "E", lambda at: [
            generation(eos_token_id=0)(at), tokens(eos_token="<|endoftext|>", pad_token="<|endoftext|>")(at)]),
        ("turn-end-not-in-generation", "W", generation(eos_token_id=0)),
        ("turn-end-in-pieces", "E", template(pico.CHATML.replace("<|im_end|>", "<|turn_end|>"))),
        ("no-turn-end", "W", template(pico.CHATML.replace("<|im_end|>", ""))),
        ("marker-in-pieces", "W", template(pico.CHATML.replace("<|im_start|>", "<|turn|>"))),
        ("double-bos", "E", writes_bos_twice),
        ("double-bos-outside-chat", "W", adds_bos_and_writes_it),
        ("chat-without-bos", "W", adds_bos),
    ],
    "generation": [
        ("no-generation-config", "W", without("generation_config.json")),
        ("sampling-defaults", "W", generation(do_sample=True, temperature=0.6, top_p=0.9)),
        ("sampling-refused", "E", generation(top_p=1.5)),
        ("sampling-refused", "E", generation(repetition_penalty="high")),
        ("sampling-conflict", "W", generation(temperature=0.6)),
        ("sampling-conflict", "W", generation(do_sample=True, temperature=0.0)),
    ],
    "versions": [
        ("tokenizer-class-of-5", "W", tokens(tokenizer_class="TokenizersBackend")),
        ("extra-special-tokens-list", "W", tokens(extra_special_tokens=["<|im_start|>"])),
        ("no-length-limit", "W", tokens(model_max_length=10**30)),
        ("no-length-limit", "W", tokens("model_max_length")),
        ("length-limit-too-long", "W", tokens(model_max_length=4096)),
        ("length-limit-too-short", "W", tokens(model_max_length=64)),
        ("tokenizer-runs-code", "W", tokens(auto_map={"AutoTokenizer": ["code.Words", None]})),
        ("special-tokens-map-differs", "E", write("special_tokens_map.json", '{"eos_token": "<|endoftext|>"}')),
        ("added-tokens-differ", "W", other_added),
        ("added-tokens-unknown", "E", write("added_tokens.json", '{"<|new|>": 398}')),
        ("added-tokens-differ", "W", tokens(added_tokens_decoder={"9": {"content": "<|im_end|>"}})),
        ("vocabularies-differ", "W", other_vocabulary),
    ],
}  # fmt: skip
CASES = [(rule, severity, change) for cases in BROKEN.values() for rule, severity, change in cases]


def test_words_of_a_folder_for_both_versions_find_nothing(sound: Path) -> None:
    assert rules(sound) == []


@pytest.mark.parametrize(
    ("rule", "severity", "change"), CASES, ids=[f"{at}-{case[0]}" for at, case in enumerate(CASES)]
)
def test_words_broken_folder_is_found_with_a_fix(
    rule: str, severity: str, change: Break, sound: Path, tmp_path: Path
) -> None:
    folder = copied(sound, tmp_path / "broken")
    change(folder)
    found = rules(folder)
    assert named(found).get(rule) == severity, [str(finding) for finding in found]
    assert all(finding.fix for finding in found)


@pytest.mark.parametrize("name", TOKENS)
def test_words_of_every_family_refuse_nothing(name: str, tmp_path: Path) -> None:
    words = family(name)
    special = {f"{role}_token_id": getattr(words, f"{role}_token_id") for role in ("bos", "eos", "pad")}
    folder = pico.save_model(tmp_path / "model", seed=0, vocab_size=len(words), **special)
    words.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps(stopping(special, words)))
    assert errors(rules(folder)) == []


def test_words_of_an_empty_folder_are_one_finding(tmp_path: Path) -> None:
    assert named(rules(tmp_path)) == {"no-tokenizer": "E", "no-generation-config": "W"}


def test_words_tells_all_at_once(sound: Path, tmp_path: Path) -> None:
    folder = copied(sound, tmp_path / "broken")
    config(vocab_size=300)(folder)
    generation(top_p=2)(folder)
    template("{% if %}")(folder)
    assert {"tokenizer-too-big", "sampling-refused", "template-broken"} <= named(rules(folder)).keys()
