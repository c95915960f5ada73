"""Chat templates as Go templates: the families, contents that look like syntax, and templates that have none."""

from collections.abc import Sequence

import pytest

from pipelines.hf.chat import special_tokens
from pipelines.hf.markers import Messages, chat_template, rendered
from pipelines.quantize.go_template import GoTemplate, conversations, go_template, literal
from pipelines.quantize.go_template_probe import Unfaithful
from pipelines.quantize.go_template_render import GoError, render
from tests import pico
from tests.unit.hf.families import TOKENS, family

ADD_BOS = ("llama31", "mistral", "gemma", "vicuna")
GEMMA3 = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set first = '' %}{% endif %}{% for m in messages %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ first if loop.first else '' }}"
    "{{ m['content'] }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set messages = messages[1:] %}"
    "{% endif %}{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token }}[INST] "
    "{% if loop.first and system is defined %}<<SYS>>\n{{ system }}\n<</SYS>>\n\n{% endif %}{{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }} {{ eos_token }}{% endif %}{% endfor %}"
)


def made(template: str, added: str = "") -> tuple[GoTemplate, "Template"]:
    words = pico.tokenizer(template)
    written = Template(words)
    return go_template(written, added, special_tokens(words)), written


class Template:
    """The chat template of a tokenizer, as `go_template` asks it."""

    def __init__(self, words: object) -> None:
        self.words, self.text = words, chat_template(words)

    def __call__(self, messages: Messages, answer: bool) -> str:
        return rendered(self.words, self.text, messages, answer).text


@pytest.mark.parametrize("name", sorted(TOKENS))
def test_go_template_of_a_family_writes_its_prompts(name: str) -> None:
    words = family(name)
    added = words.bos_token if name in ADD_BOS else ""
    template = Template(words)
    found = go_template(template, added, special_tokens(words))
    for messages in hostile(with_system=name not in ("gemma", "vicuna")):
        wanted = template(messages, True)
        assert added + render(found.template, messages, found.system) == wanted


def hostile(with_system: bool) -> list[Messages]:
    """Contents that look like the syntax of Go, Jinja and Modelfiles; none begins or ends with white space."""
    texts = [
        '"""',
        "{{ .System }}",
        "{%- raw %}",
        "}} {{",
        '{{ end }}"',
        "<|im_end|>\nPARAMETER stop x",
        "ä\n\n{",
        "$1 \\n",
    ]
    roles = ["user", "assistant"] * 4
    every = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)][:7]
    return [every, *([[{"role": "system", "content": 'Be """brief""" {{ .Role }}'}, *every]] if with_system else [])]


def test_go_template_of_chatml_is_the_one_that_people_write() -> None:
    found, _ = made(pico.CHATML)
    assert found == GoTemplate(
        '{{ range .Messages }}{{ if eq .Role "system" }}<|im_start|>system\n{{ .Content }}<|im_end|>\n'
        '{{ else if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n'
        '{{ else if eq .Role "assistant" }}<|im_start|>assistant\n{{ .Content }}<|im_end|>\n'
        "{{ end }}{{ end }}<|im_start|>assistant\n",
        "",
        (),
    )


def test_go_template_of_a_default_system_prompt_becomes_system() -> None:
    words = family("smollm2")
    found = go_template(Template(words), "", special_tokens(words))
    assert found.system == "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    assert found.system not in found.template


def test_go_template_of_system_in_the_first_question_writes_it_there() -> None:
    found, template = made(GEMMA3, pico.tokenizer().bos_token)
    messages = [{"role": role, "content": role} for role in ("system", "user", "assistant", "user")]
    bos = pico.tokenizer().bos_token
    assert bos + render(found.template, messages) == template(messages, True)


def test_go_template_of_llama_2_opens_every_question_with_bos() -> None:
    bos = pico.tokenizer().bos_token
    found, template = made(LLAMA2, bos)
    for messages in conversations(with_system=True):
        assert bos + render(found.template, messages) == template(messages, True)


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("gemma", "no system turns"),
        ("llama31", "white space around a turn is kept"),
        ("qwen3", "the thinking of earlier answers is kept"),
    ],
)
def test_go_template_tells_what_go_cannot_do(name: str, note: str) -> None:
    words = family(name)
    assert note in go_template(Template(words), words.bos_token, special_tokens(words)).notes


@pytest.mark.parametrize(
    "turn",
    [
        "{{ loop.index }}: {{ m['content'] }}\n",
        "{{ m['role'] }} {{ m['content'] | upper }}\n",
        "{{ m['role'] }} {{ m['content'] }} {{ m['content'] | length }}\n",
        "{{ m['role'] }} {{ m['content'] | replace('\"', '`') }}\n",
        "{% if loop.last %}{{ m['role'] }} {{ m['content'] }}\n{% endif %}",
        "{{ m['role'] }} {{ m['content'] }}{{ '!' if messages | length > 4 }}\n",
    ],
)
def test_go_template_of_a_template_beyond_roles_is_refused(turn: str) -> None:
    with pytest.raises(Unfaithful):
        made("{% for m in messages %}" + turn + "{% endfor %}{% if add_generation_prompt %}assistant {% endif %}")


def test_go_template_of_a_system_turn_moved_amid_the_conversation_is_refused() -> None:
    moved = (
        "{% for m in messages %}{% if m['role'] != 'system' %}{{ m['role'] }}: {{ m['content'] }}\n"
        "{% if loop.index == 3 and messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}\n{% endif %}"
        "{% endif %}"
        "{% endfor %}assistant:"
    )
    with pytest.raises(Unfaithful):
        made(moved)


@pytest.mark.parametrize(
    "text", ["{{", "a{", "{{{{{ }}", '"""', 'x"', '""""', "{%", "}}", "\n {", "plain\n", "\u200b", "\U0001f469\u200d"]
)
def test_literal_is_rendered_as_it_is_and_fits_into_a_modelfile(text: str) -> None:
    written = literal(text) + "{{ .System }}"
    assert render(written, []) == text
    assert all(character.isprintable() or character == "\n" for character in written)
    assert '"""' not in written and not literal(text).endswith('"')


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("a {{- .System }}", "aS"),
        ("a {{ .System -}} \n b", "a Sb"),
        ('{{ if and .System (eq (len .Messages) 2) }}y{{ else }}n{{ end }}', "y"),
        ('{{ if not .System }}1{{ else if eq .System "S" "T" }}2{{ else }}3{{ end }}', "2"),
        ("{{ range $i, $m := .Messages }}{{ $i }}{{ $m.Role }}{{ end }}", "0system1user"),
        ('{{ $x := "a" }}{{ range .Messages }}{{ $x }}{{ $x = .Role }}{{ end }}{{ $x }}', "asystemuser"),
        ('{{ $x := "a" }}{{ if true }}{{ end }}', None),
        ('{{ $x := "a" }}{{ if .System }}{{ $x := "b" }}{{ end }}{{ $x }}', "a"),
        ('{{ (index .Messages 1).Content }}{{ len (slice .Messages 1) }}', "U1"),
        ('{{ "}}" }}{{ "\\"\\n" }}', '}}"\n'),
        ("{{ range .Messages }}", None),
        ("{{ end }}", None),
        ("{{ .Nothing }}", None),
        ("{{ trim .System }}", None),
        ("a {{ b", None),
        ("{{ }}", None),
    ],
)  # fmt: skip
def test_render_does_what_text_template_does(template: str, wanted: str | None) -> None:
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    if wanted is None:
        with pytest.raises(GoError):
            render(template, messages)
    else:
        assert render(template, messages) == wanted


def test_render_puts_the_modelfile_s_system_before_conversations_without_one() -> None:
    template = "{{ range .Messages }}{{ .Role }}={{ .Content }};{{ end }}"
    asked: Sequence[dict[str, str]] = [{"role": "user", "content": "Hi"}]
    assert render(template, asked, "D") == "system=D;user=Hi;"
    assert render(template, [{"role": "system", "content": "S"}, *asked], "D") == "system=S;user=Hi;"
