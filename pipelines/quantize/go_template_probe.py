"""The texts that a chat template writes around turns, read off conversations with known contents."""

import os.path
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from pipelines.errors import UserError

Messages = Sequence[Mapping[str, str]]
Rendering = Callable[[Messages, bool], str]
"""A conversation, and whether an answer is asked for, as the model's own template writes it.

UserError where it refuses the conversation; `pipelines.hf.markers.rendered` is one.
"""
SYSTEM, USER, ASSISTANT = "system", "user", "assistant"


class Unfaithful(Exception):
    """No Go template writes what the model's template writes; the argument says why."""


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


def probe(template: Rendering, special: Sequence[str]) -> Texts:
    """The texts around turns, read off conversations whose contents are known. Unfaithful where they vary."""
    start, to_answer, to_question, again, once_more, end = _between(
        template, conversation(USER, ASSISTANT, USER, ASSISTANT, USER)
    )
    if (to_answer, to_question) != (again, once_more) or _between(template, conversation(USER)) != [start, end]:
        raise Unfaithful("it writes the same turn differently at different places")
    after_user = _shared([to_answer, end, _tail(template, USER)], special)
    after_assistant = _shared([to_question, _tail(template, USER, ASSISTANT)], special)
    before = to_question.removeprefix(after_assistant)
    regular = start.endswith(before)
    texts = Texts(
        intro=start.removesuffix(before) if regular else "",
        before_user={"": before if regular else start, ASSISTANT: before, SYSTEM: before},
        after_user=after_user,
        before_assistant=to_answer.removeprefix(after_user),
        after_assistant=after_assistant,
        prompt=end.removeprefix(after_user),
    )
    return _with_system(template, texts, start, [to_answer, to_question, end])


def _with_system(template: Rendering, texts: Texts, start: str, rest: list[str]) -> Texts:
    """The same, with what is written around a system turn, where one is taken."""
    messages = conversation(SYSTEM, USER, ASSISTANT, USER)
    if not takes(template, messages):
        return texts
    text = template(messages, True)
    if text.find(messages[0]["content"]) > text.find(messages[1]["content"]):
        return texts._replace(folded=_folded(template, messages, [start, *rest]))
    opening, to_question, *after = _between(template, messages)
    if after != rest:
        raise Unfaithful("it writes other turns differently after a system turn")
    before = texts.before_user[ASSISTANT]
    split = to_question.endswith(before)
    after_system = to_question.removesuffix(before) if split else to_question
    texts = texts._replace(
        before_system=opening,
        after_system=after_system,
        before_user={**texts.before_user, SYSTEM: before if split else ""},
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
    messages = conversation(*roles)
    return template(messages, False).rpartition(messages[-1]["content"])[2]


def _shared(texts: Sequence[str], special: Sequence[str]) -> str:
    """What all begin with, cut before a control token that it ends inside of."""
    shared = os.path.commonprefix(list(texts))  # noqa: RUF071 - these are no paths
    for token in special:
        for size in range(1, len(token)):
            if shared.endswith(token[:size]) and texts[0].startswith(token[size:], len(shared)):
                return shared[:-size]
    return shared


def conversation(*roles: str) -> Messages:
    """Turns whose contents appear nowhere else, and in no template."""
    return [turn(role, f"Qx{place}{role}xQ") for place, role in enumerate(roles)]


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
