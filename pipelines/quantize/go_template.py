"""A chat template as Ollama's Go template: found by rendering, and proven by rendering.

Ollama maps Jinja templates that it knows to Go templates of its own, and any other to a wrong default without a word.
So the texts around the turns are read off conversations with known contents, written as a Go template, and that is
rendered on other conversations and must make the same prompts.
"""

import json
import os.path
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from pipelines.errors import UserError
from pipelines.quantize.go_template_render import render

Messages = Sequence[Mapping[str, str]]
Rendering = Callable[[Messages, bool], str]
"""A conversation, and whether an answer is asked for, as the model's own template writes it.

UserError where it refuses the conversation; `pipelines.hf.markers.rendered` is one.
"""
_SYSTEM, _USER, _ASSISTANT = "system", "user", "assistant"
_CONTENTS = ("Which way?", "Straightahead", 'A "quoted" {word}', "two\n\nlines", "{{ .Content }} {% if x %}", '"""')
_AROUND = "  space around  "
_THOUGHT = "<think>\nWhy?\n</think>\n\nBecause."
_SYNTAX = re.compile(r'\{\{+|\{+$|"{3,}|"+$')
_UNUSUAL = re.compile(r"[^\x20-\x7e\n\r\t]")


class Unfaithful(Exception):
    """No Go template writes what the model's template writes; the argument says why."""


class GoTemplate(NamedTuple):
    """TEMPLATE and SYSTEM of a Modelfile, and how Ollama's prompts differ where they do all the same."""

    template: str
    system: str
    notes: tuple[str, ...]


class Texts(NamedTuple):
    """What a chat template writes around the contents of turns.

    `intro` opens a conversation without a system turn; `before_user` is by the role of the turn before, "" for none;
    `folded` stands between a system turn and the last user's turn, where the template moves the one into the other,
    and then `before_system` and `after_system` are not used; both are None where it refuses system turns.
    """

    intro: str
    before_user: Mapping[str, str]
    after_user: str
    before_assistant: str
    after_assistant: str
    prompt: str
    before_system: str | None = None
    after_system: str | None = None
    folded: str | None = None
    system: str = ""


def go_template(template: Rendering, added: str, special: Sequence[str]) -> GoTemplate:
    """The Go template of a chat template. Unfaithful where there is none.

    `added` is what the engine writes before every prompt by itself, BOS or nothing; `special` are the texts of control
    tokens, which are not cut in two.
    """

    def without(messages: Messages, answer: bool) -> str:
        return template(messages, answer).removeprefix(added)

    texts = probe(without, special)
    written = GoTemplate(compose(texts), texts.system, ())
    notes = [] if takes(without, [_turn(_SYSTEM, "Rules"), _turn(_USER, "Go")]) else ["no system turns"]
    for messages in conversations(takes(without, _conversation(_SYSTEM, _USER, _ASSISTANT, _USER))):
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
                roles = [_SYSTEM] * system + [_USER, _ASSISTANT, _USER, _ASSISTANT, _USER][:turns]
                found.append([_turn(role, content) for role, content in zip(roles, contents, strict=False)])
    return found


def _differences(written: GoTemplate, template: Rendering) -> list[str]:
    """Go templates cannot change a content; chat templates may."""
    asked = {
        "white space around a turn is kept": [_turn(_USER, _AROUND), _turn(_ASSISTANT, _AROUND), _turn(_USER, "Go")],
        "the thinking of earlier answers is kept": [
            _turn(_USER, "Go"), _turn(_ASSISTANT, _THOUGHT), _turn(_USER, "On")
        ],
    }  # fmt: skip
    return [
        note
        for note, messages in asked.items()
        if render(written.template, messages, written.system) != template(messages, True)
    ]


def probe(template: Rendering, special: Sequence[str]) -> Texts:
    """The texts around turns, read off conversations whose contents are known. Unfaithful where they vary."""
    start, to_answer, to_question, again, once_more, end = _between(
        template, _conversation(_USER, _ASSISTANT, _USER, _ASSISTANT, _USER)
    )
    if (to_answer, to_question) != (again, once_more) or _between(template, _conversation(_USER)) != [start, end]:
        raise Unfaithful("it writes the same turn differently at different places")
    after_user = _shared([to_answer, end, _tail(template, _USER)], special)
    after_assistant = _shared([to_question, _tail(template, _USER, _ASSISTANT)], special)
    before = to_question.removeprefix(after_assistant)
    regular = start.endswith(before)
    texts = Texts(
        intro=start.removesuffix(before) if regular else "",
        before_user={"": before if regular else start, _ASSISTANT: before, _SYSTEM: before},
        after_user=after_user,
        before_assistant=to_answer.removeprefix(after_user),
        after_assistant=after_assistant,
        prompt=end.removeprefix(after_user),
    )
    return _with_system(template, texts, start, [to_answer, to_question, end])


def _with_system(template: Rendering, texts: Texts, start: str, rest: list[str]) -> Texts:
    """The same, with what is written around a system turn, where one is taken."""
    messages = _conversation(_SYSTEM, _USER, _ASSISTANT, _USER)
    if not takes(template, messages):
        return texts
    text = template(messages, True)
    if text.find(messages[0]["content"]) > text.find(messages[1]["content"]):
        return texts._replace(folded=_folded(template, messages, [start, *rest]))
    opening, to_question, *after = _between(template, messages)
    if after != rest:
        raise Unfaithful("it writes other turns differently after a system turn")
    before = texts.before_user[_ASSISTANT]
    split = to_question.endswith(before)
    after_system = to_question.removesuffix(before) if split else to_question
    texts = texts._replace(
        before_system=opening,
        after_system=after_system,
        before_user={**texts.before_user, _SYSTEM: before if split else ""},
    )
    return _with_default(texts, opening, after_system)


def _with_default(texts: Texts, opening: str, after_system: str) -> Texts:
    """A template that opens with a system turn of its own says so as SYSTEM, which users know how to change."""
    inside = len(opening) + len(after_system)
    if texts.intro.startswith(opening) and texts.intro.endswith(after_system) and len(texts.intro) > inside:
        default = texts.intro[len(opening) : len(texts.intro) - len(after_system)]
        return texts._replace(intro="", system=default)
    return texts


def _folded(template: Rendering, messages: Messages, expected: list[str]) -> str:
    """What stands between the system turn and the last user's turn that holds it."""
    system, first, answer, last = (message["content"] for message in messages)
    found = _between(template, messages, [first, answer, system, last])
    if [*found[:3], found[4]] != expected:
        raise Unfaithful("it moves the system turn to a place that Ollama cannot")
    return found[3]


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
            f'eq .Role "{_USER}" }}}}',
            _before_user(texts) if varied else literal(texts.before_user[""]),
            _system_inside(texts.folded) if texts.folded is not None else "",
            "{{ .Content }}" + literal(texts.after_user),
            f'{{{{ else if eq .Role "{_ASSISTANT}" }}}}',
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
    condition = f'{{{{ if ne (index .Messages 0).Role "{_SYSTEM}" }}}}'
    return condition + literal(texts.intro) + "{{ end }}"


def _system_turn(texts: Texts) -> str:
    """The branch of a system turn, up to the condition of the next one."""
    if texts.before_system is None or texts.after_system is None:
        return "{{ if "
    turn = literal(texts.before_system) + "{{ .Content }}" + literal(texts.after_system)
    return f'{{{{ if eq .Role "{_SYSTEM}" }}}}{turn}{{{{ else if '


def _before_user(texts: Texts) -> str:
    first, system, other = (literal(texts.before_user[role]) for role in ("", _SYSTEM, _ASSISTANT))
    conditions = '{{ if eq $previous "" }}', f'{{{{ else if eq $previous "{_SYSTEM}" }}}}', "{{ else }}"
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


def takes(template: Rendering, messages: Messages) -> bool:
    """Whether the template writes such a conversation, and what was said in it."""
    try:
        text = template(messages, True)
    except UserError:
        return False
    return all(message["content"] in text for message in messages)


def _between(template: Rendering, messages: Messages, order: Sequence[str] = ()) -> list[str]:
    """The texts before, between and after the contents, which must each stand there once and in order."""
    text = template(messages, True)
    found = []
    for content in order or [message["content"] for message in messages]:
        before, inside, text = text.partition(content)
        if not inside:
            raise Unfaithful("it leaves turns out, or changes their order")
        found.append(before)
    return [*found, text]


def _tail(template: Rendering, *roles: str) -> str:
    """What follows the last turn where no answer is asked for."""
    messages = _conversation(*roles)
    return template(messages, False).rpartition(messages[-1]["content"])[2]


def _shared(texts: Sequence[str], special: Sequence[str]) -> str:
    """What all begin with, cut before a control token that it ends inside of."""
    shared = os.path.commonprefix(list(texts))  # noqa: RUF071 - these are no paths
    for token in special:
        for size in range(1, len(token)):
            if shared.endswith(token[:size]) and texts[0].startswith(token[size:], len(shared)):
                return shared[:-size]
    return shared


def _conversation(*roles: str) -> Messages:
    """Turns whose contents appear nowhere else, and in no template."""
    return [_turn(role, f"Qx{place}{role}xQ") for place, role in enumerate(roles)]


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
