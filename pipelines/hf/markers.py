"""Chat templates as text: rendering them, and marking what the assistant's turns emit.

Transformers records where the output of a `{% generation %}` block lies, but few published templates have such
blocks. `add_markers` wraps the body of every loop over the messages in one, for assistant turns only, and leaves the
rest of the template, its whitespace control included, as it was.
"""

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jinja2 import TemplateError, TemplateSyntaxError
from transformers.utils.chat_template_utils import render_jinja_template

from pipelines.errors import wrong

Messages = Sequence[Mapping[str, str]]
"""A conversation: `{"role", "content"}` in order."""

# Rows must not depend on the day they are made; the day is the one that Llama 3's own template falls back on.
DAY = datetime.date(2024, 7, 26)
_TODAY = re.compile(r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""")
_QUOTED = r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\""""
_TAG = re.compile(
    rf"\{{#.*?#\}}|\{{\{{(?:{_QUOTED}|[^'\"])*?\}}\}}|\{{%(?P<left>[-+]?)(?P<code>(?:{_QUOTED}|[^'\"])*?)(?P<right>[-+]?)%\}}",
    re.DOTALL,
)
_LOOP = re.compile(r"for\s+(\w+)\s+in\s+.*messages", re.DOTALL)
_GENERATION = re.compile(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}")


class Marked(NamedTuple):
    """A rendered conversation and the (start, end) characters that the marked blocks emitted, empty ones left out."""

    text: str
    blocks: list[tuple[int, int]]


class _Tag(NamedTuple):
    start: int
    end: int
    left: str
    code: str
    right: str

    @property
    def word(self) -> str:
        return self.code.split(maxsplit=1)[0] if self.code else ""


class _Loop(NamedTuple):
    variable: str
    opened: _Tag
    closed: _Tag


def chat_template(tokenizer: Any) -> str:
    """The tokenizer's chat template, with calls for today's date replaced by a fixed day."""
    if not tokenizer.chat_template:
        raise wrong(
            "base",
            "the model has no chat template",
            fix="Use an instruction-tuned base, or `format: text` for plain text",
        )
    template: str = tokenizer.get_chat_template()
    return _TODAY.sub(lambda call: repr(DAY.strftime(call[2])), template)


def rendered(tokenizer: Any, template: str, messages: Messages, add_generation_prompt: bool = False) -> Marked:
    """The conversation as `template` writes it.

    Raises UserError with the template's own words when it refuses the conversation, as many do for a system turn.
    """
    try:
        texts, blocks = render_jinja_template(
            conversations=[[dict(message) for message in messages]],
            chat_template=template,
            add_generation_prompt=add_generation_prompt,
            return_assistant_tokens_mask=_GENERATION.search(template) is not None,
            **tokenizer.special_tokens_map,
        )
    except TemplateSyntaxError as error:
        fix = "Save the model's template again"
        raise wrong(
            f"chat template, line {error.lineno}", "is not a Jinja template", error.message or "", fix
        ) from error
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise wrong(
            "chat template", f"refuses this conversation: {error}", roles, "Change the roles of the row"
        ) from error
    return Marked(texts[0], [(start, end) for start, end in (blocks[0] if blocks else []) if start < end])


def add_markers(template: str) -> str | None:
    """The template with `{% generation %}` around all that an assistant turn emits; None if it has no loop to mark.

    Markers that the template already has are made inert: they often leave the end-of-turn token out.
    """
    template = _GENERATION.sub(lambda tag: f"{{%{tag[1]} {'endif' if tag[2] else 'if true'} {tag[3]}%}}", template)
    loops = list(_outer_loops(template))
    for variable, opened, closed in reversed(loops):
        body = template[opened.end : closed.start]
        template = (
            template[: opened.end]
            + f"{{% if {variable}['role'] == 'assistant' %}}{{% generation {opened.right}%}}{body}"
            + f"{{%{closed.left} endgeneration %}}{{% else {opened.right}%}}{body}{{%{closed.left} endif %}}"
            + template[closed.start :]
        )
    return template if loops else None


def _outer_loops(template: str) -> Iterator[_Loop]:
    """Loops over the messages that lie in no other such loop and have no `else` of their own."""
    stack: list[_Tag] = []
    with_else: set[_Tag] = set()
    for tag in _block_tags(template):
        if tag.word in ("for", "if"):
            stack.append(tag)
        elif tag.word == "else" and stack:
            with_else.add(stack[-1])
        elif tag.word in ("endfor", "endif") and stack:
            opened = stack.pop()
            loop = _LOOP.match(opened.code)
            if loop and opened not in with_else and not any(_LOOP.match(outer.code) for outer in stack):
                yield _Loop(loop[1], opened, tag)


def _block_tags(template: str) -> Iterator[_Tag]:
    for match in _TAG.finditer(template):
        if match["code"] is not None:
            yield _Tag(*match.span(), match["left"], match["code"].strip(), match["right"])
