"""The mask of each family of chat templates against spans written down by hand."""

import pytest

from pipelines.errors import UserError
from pipelines.hf.chat import IGNORED, encode, encode_texts, render
from pipelines.hf.markers import add_markers, chat_template, rendered
from pipelines.hf.masks import _proved, choose_mask, spans
from tests import pico
from tests.unit.hf.families import TOKENS, family

ASK, SAY = {"role": "user", "content": "ask?"}, {"role": "assistant", "content": "yes, Zoë."}
AGAIN, END = {"role": "user", "content": "more"}, {"role": "assistant", "content": "two\nlines"}
SYSTEM = {"role": "system", "content": "Be kind."}
TWO_TURNS = [ASK, SAY, AGAIN, END]
# The whole text of TWO_TURNS; what is trained stands in [[double brackets]].
TEXTS = {
    "chatml": "<|im_start|>user\nask?<|im_end|>\n<|im_start|>assistant\n[[yes, Zoë.<|im_end|>]]\n"
    "<|im_start|>user\nmore<|im_end|>\n<|im_start|>assistant\n[[two\nlines<|im_end|>]]\n",
    "smollm2": "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\nask?<|im_end|>\n<|im_start|>assistant\n[[yes, Zoë.<|im_end|>]]\n"
    "<|im_start|>user\nmore<|im_end|>\n<|im_start|>assistant\n[[two\nlines<|im_end|>]]\n",
    "llama31": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
    "Today Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nask?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n[[yes, Zoë.<|eot_id|>]]"
    "<|start_header_id|>user<|end_header_id|>\n\nmore<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n[[two\nlines<|eot_id|>]]",
    "mistral": "<s>[INST] ask?[/INST][[ yes, Zoë.</s>]][INST] more[/INST][[ two\nlines</s>]]",
    "gemma": "<bos><start_of_turn>user\nask?<end_of_turn>\n<start_of_turn>model\n[[yes, Zoë.<end_of_turn>]]\n"
    "<start_of_turn>user\nmore<end_of_turn>\n<start_of_turn>model\n[[two\nlines<end_of_turn>]]\n",
    "qwen3": "<|im_start|>user\nask?<|im_end|>\n<|im_start|>assistant\n[[yes, Zoë.<|im_end|>]]\n"
    "<|im_start|>user\nmore<|im_end|>\n<|im_start|>assistant\n[[<think>\n\n</think>\n\ntwo\nlines<|im_end|>]]\n",
    "phi": "<|user|>\nask?<|end|>\n<|assistant|>\n[[yes, Zoë.<|end|>]]\n"
    "<|user|>\nmore<|end|>\n<|assistant|>\n[[two\nlines<|end|>]]\n<|endoftext|>",
    "zephyr": "<|user|>\nask?</s>\n<|assistant|>\n[[yes, Zoë.</s>]]\n"
    "<|user|>\nmore</s>\n<|assistant|>\n[[two\nlines</s>]]\n",
    "vicuna": "<s>USER: ask? ASSISTANT:[[ yes, Zoë.</s>]]USER: more ASSISTANT:[[ two\nlines</s>]]",
}
PREFIX_KEEPING = ["chatml", "smollm2", "llama31", "gemma", "phi", "zephyr", "vicuna"]


def bracketed(text, trained):
    for start, end in reversed(trained):
        text = f"{text[:start]}[[{text[start:end]}]]{text[end:]}"
    return text


@pytest.mark.parametrize("name", TOKENS)
def test_spans_of_each_family_match_the_hand_written_ones(name):
    words = family(name)
    mask = choose_mask(words)
    assert mask.kind == "markers"
    assert bracketed(*spans(words, TWO_TURNS, mask)) == TEXTS[name]


@pytest.mark.parametrize("name", PREFIX_KEEPING)
def test_incremental_rendering_finds_the_same_spans(name):
    words = family(name)
    mask = _proved(words, chat_template(words), "incremental")
    assert bracketed(*spans(words, TWO_TURNS, mask)) == TEXTS[name]


@pytest.mark.parametrize("name", TOKENS)
def test_markers_leave_every_byte_of_the_text(name):
    words = family(name)
    marked = add_markers(chat_template(words))
    padded = [ASK, {"role": "assistant", "content": " \n padded {{ x }} \n"}, AGAIN, SAY]
    for messages in (TWO_TURNS, TWO_TURNS[:2], padded):
        plain = words.apply_chat_template(messages, chat_template=chat_template(words), tokenize=False)
        assert rendered(words, marked, messages).text == plain


@pytest.mark.parametrize("name", TOKENS)
def test_encoded_labels_are_the_tokens_of_the_spans_and_bos_is_not_doubled(name):
    words = family(name)
    encoded = encode(words, TWO_TURNS, choose_mask(words))
    assert words("x")["input_ids"][0] == words.bos_token_id
    assert encoded.input_ids == words(render(words, TWO_TURNS), add_special_tokens=False)["input_ids"]
    assert encoded.input_ids[:2] != [words.bos_token_id] * 2
    trained = words.decode([label for label in encoded.labels if label != IGNORED])
    assert trained == "".join(part.split("]]")[0] for part in TEXTS[name].split("[[")[1:])
    assert all(label in (IGNORED, token) for token, label in zip(*encoded, strict=True))


def test_system_turn_is_never_trained():
    for name in ("chatml", "smollm2", "llama31", "qwen3", "phi", "zephyr"):
        words = family(name)
        text, trained = spans(words, [SYSTEM, *TWO_TURNS], choose_mask(words))
        assert "Be kind." in text
        assert [text[start:end].lstrip()[:3] for start, end in trained] in (["yes", "two"], ["yes", "<th"])


def test_system_turn_that_the_template_drops_once_answered_is_refused():
    words = family("mistral")
    with pytest.raises(UserError, match="system turn is lost"):
        encode(words, [SYSTEM, ASK, SAY], choose_mask(words))


@pytest.mark.parametrize("name", ["gemma", "vicuna"])
def test_system_turn_refused_by_the_template_is_a_clear_error(name):
    words = family(name)
    with pytest.raises(UserError, match="system") as error:
        encode(words, [SYSTEM, ASK, SAY], choose_mask(words))
    assert len(str(error.value).splitlines()) == 1


def test_qwen3_keeps_only_the_last_thinking_and_trains_what_is_left():
    words = family("qwen3")
    thinks = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nok"}
    text, trained = spans(words, [ASK, thinks, AGAIN, thinks], choose_mask(words))
    assert [text[start:end] for start, end in trained] == ["ok<|im_end|>", "<think>\nhm\n</think>\n\nok<|im_end|>"]


def test_template_that_leaves_its_loop_falls_back_to_incremental():
    words = pico.tokenizer(
        "{% for m in messages %}{% if m.role == 'tool' %}{% continue %}{% endif %}"
        "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    mask = choose_mask(words)
    assert mask.kind == "incremental"
    text, trained = spans(words, TWO_TURNS, mask)
    assert [text[start:end] for start, end in trained] == ["yes, Zoë.<|im_end|>", "two\nlines<|im_end|>"]


def test_markers_of_the_template_itself_that_miss_the_stop_are_replaced():
    words = pico.tokenizer(
        "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' }}{%- if m.role == 'assistant' %}"
        "{%- generation %}{{- m.content }}{%- endgeneration %}{%- else %}{{- m.content }}{%- endif %}"
        "{{- '<|im_end|>\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
    )
    text, trained = spans(words, TWO_TURNS, choose_mask(words))
    assert [text[start:end] for start, end in trained] == ["yes, Zoë.<|im_end|>", "two\nlines<|im_end|>"]


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", "end-of-turn"),
        (
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}",
            "generation prompt",
        ),
    ],
)
def test_template_without_a_sure_mask_is_refused(template, reason):
    with pytest.raises(UserError, match=reason) as error:
        choose_mask(pico.tokenizer(template))
    assert len(str(error.value).splitlines()) == 1


def test_missing_template_is_refused():
    words = pico.tokenizer()
    words.chat_template = None
    with pytest.raises(UserError, match="no chat template"):
        choose_mask(words)


def test_token_across_the_border_is_not_trained():
    words = pico.tokenizer(
        "{% for m in messages %}{{ '<|im_start|>' + m.role + ':' + (' th' if m.role == 'assistant' else '') }}"
        "{{ m.content + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant: th{% endif %}"
    )
    encoded = encode(words, [ASK, {"role": "assistant", "content": "e quick"}], choose_mask(words))
    assert words.decode([label for label in encoded.labels if label != IGNORED]) == " quick<|im_end|>"


def test_plain_text_is_trained_whole_and_closed_once():
    words = family("chatml")
    one, two = encode_texts(words, ["hello", "hello<|im_end|>"])
    assert one.labels == one.input_ids
    assert one.input_ids[-1] == words.eos_token_id
    assert two.input_ids == one.input_ids
