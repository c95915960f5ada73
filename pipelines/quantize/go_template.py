"""A chat template as Ollama's Go template: found by rendering, and proven by rendering.

Ollama maps Jinja templates that it knows to Go templates of its own, and any other to a wrong default without a word.
So the texts around the turns are read off conversations with known contents, written as a Go template, and that is
rendered on other conversations and must make the same prompts.
"""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from pipelines.quantize.go_template_probe import (
    ASSISTANT,
    SYSTEM,
    USER,
    Messages,
    Rendering,
    Texts,
    Unfaithful,
    conversation,
    probe,
    takes,
    turn,
)
from pipelines.quantize.go_template_render import render

_CONTENTS = ("Which way?", "Straightahead", 'A "quoted" {word}', "two\n\nlines", "{{ .Content }} {% if x %}", '"""')
_AROUND = "  space around  "
_THOUGHT = "<think>\nWhy?\n</think>\n\nBecause."
_SYNTAX = re.compile(r'\{\{+|\{+$|"{3,}|"+$')
_UNUSUAL = re.compile(r"[^\x20-\x7e\n\r\t]")


class GoTemplate(NamedTuple):
    """TEMPLATE and SYSTEM of a Modelfile, and how Ollama's prompts differ where they do all the same."""

    template: str
    system: str
    notes: tuple[str, ...]


def go_template(template: Rendering, added: str, special: Sequence[str]) -> GoTemplate:
    """The Go template of a chat template. Unfaithful where there is none.

    `added` is what the engine writes before every prompt by itself, BOS or nothing; `special` are the texts of control
    tokens, which are not cut in two.
    """

    def without(messages: Messages, answer: bool) -> str:
        return template(messages, answer).removeprefix(added)

    texts = probe(without, special)
    written = GoTemplate(compose(texts), texts.system, ())
    notes = [] if takes(without, [turn(SYSTEM, "Rules"), turn(USER, "Go")]) else ["no system turns"]
    for messages in conversations(takes(without, conversation(SYSTEM, USER, ASSISTANT, USER))):
        if render(written.template, messages, written.system) != without(messages, True):
            raise Unfaithful("it writes turns in a way that depends on more than their roles")
    notes += _differences(written, without)
    return written._replace(notes=tuple(notes))


def conversations(with_system: bool) -> list[Messages]:
    """Those on which both templates must make the same prompt: each ends with a question."""
    found: list[Messages] = []
    for system in (False, True) if with_system else (False,):
        for at in range(len(_CONTENTS)):
            contents = [*_CONTENTS[at:], *_CONTENTS[:at]]
            for turns in (1, 3, 5):
                roles = [SYSTEM] * system + [USER, ASSISTANT, USER, ASSISTANT, USER][:turns]
                found.append([turn(role, content) for role, content in zip(roles, contents, strict=False)])
    return found


def _differences(written: GoTemplate, template: Rendering) -> list[str]:
    """Go templates cannot change a content; chat templates may."""
    asked = {
        "white space around a turn is kept": [turn(USER, _AROUND), turn(ASSISTANT, _AROUND), turn(USER, "Go")],
        "the thinking of earlier answers is kept": [
            turn(USER, "Go"), turn(ASSISTANT, _THOUGHT), turn(USER, "On")
        ],
    }  # fmt: skip
    return [
        note
        for note, messages in asked.items()
        if render(written.template, messages, written.system) != template(messages, True)
    ]


def compose(texts: Texts) -> str:
    """The Go template that writes these texts."""
    varied = len(set(texts.before_user.values())) > 1
    folded = texts.folded is not None
    return "".join(
        [
            _opening(texts),
            '{{ $previous := "" }}' if varied else "",
            "{{ range $place, $_ := .Messages }}" if folded else "{{ range .Messages }}",
            _system_turn(texts),
            f'eq .Role "{USER}" }}}}',
            _before_user(texts) if varied else literal(texts.before_user[""]),
            _system_inside(texts.folded) if texts.folded is not None else "",
            "{{ .Content }}" + literal(texts.after_user),
            f'{{{{ else if eq .Role "{ASSISTANT}" }}}}',
            literal(texts.before_assistant) + "{{ .Content }}" + literal(texts.after_assistant),
            "{{ end }}",
            "{{ $previous = .Role }}" if varied else "",
            "{{ end }}",
            literal(texts.prompt),
        ]
    )


def _opening(texts: Texts) -> str:
    if not texts.intro or texts.before_system is None:
        return literal(texts.intro)
    condition = f'{{{{ if ne (index .Messages 0).Role "{SYSTEM}" }}}}'
    return condition + literal(texts.intro) + "{{ end }}"


def _system_turn(texts: Texts) -> str:
    """The branch of a system turn, up to the condition of the next one."""
    if texts.before_system is None or texts.after_system is None:
        return "{{ if "
    turn = literal(texts.before_system) + "{{ .Content }}" + literal(texts.after_system)
    return f'{{{{ if eq .Role "{SYSTEM}" }}}}{turn}{{{{ else if '


def _before_user(texts: Texts) -> str:
    first, system, other = (literal(texts.before_user[role]) for role in ("", SYSTEM, ASSISTANT))
    conditions = '{{ if eq $previous "" }}', f'{{{{ else if eq $previous "{SYSTEM}" }}}}', "{{ else }}"
    return f"{conditions[0]}{first}{conditions[1]}{system}{conditions[2]}{other}{{{{ end }}}}"


def _system_inside(separator: str) -> str:
    condition = "{{ if and $.System (eq (len (slice $.Messages $place)) 1) }}"
    return condition + "{{ $.System }}" + literal(separator) + "{{ end }}"


def literal(text: str) -> str:
    """Text that Go does not take for its own, nor a Modelfile, which drops what cannot be printed."""
    written = _SYNTAX.sub(lambda found: f"{{{{ {json.dumps(found[0])} }}}}", text)
    return _UNUSUAL.sub(lambda found: found[0] if found[0].isprintable() else _escaped(found[0]), written)


def _escaped(character: str) -> str:
    return f'{{{{ "\\U{ord(character):08x}" }}}}'
