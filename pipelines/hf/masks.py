"""Which characters of a rendered conversation the assistant wrote, for any chat template.

Two methods, each tried on probe conversations before it is trusted: markers patched into the template, and rendering
ever longer prefixes of the conversation. What is trained is the text after the generation prompt up to and with the
end-of-turn token: the header belongs to the prompt, and the line break that many templates put after the end-of-turn
token is never generated.
"""

from collections.abc import Iterator
from itertools import takewhile
from typing import Any, Literal, NamedTuple

from pipelines.errors import UserError, wrong
from pipelines.hf.markers import Marked, Messages, add_markers, chat_template, rendered

Kind = Literal["markers", "incremental"]


class Mask(NamedTuple):
    """How to find the assistant's text: made by `choose_mask`, used by `spans`.

    `headers` open an assistant turn, longest first; `stops` are the end-of-turn tokens that close one.
    """

    kind: Kind
    template: str
    headers: tuple[str, ...]
    stops: tuple[str, ...]


class Spans(NamedTuple):
    """A rendered conversation and the (start, end) characters that are trained, one pair an assistant turn."""

    text: str
    trained: list[tuple[int, int]]


class _Unfit(Exception):
    """Why a method does not suit a template."""


def choose_mask(tokenizer: Any) -> Mask:
    """The first method that gives the right characters on every probe. Raises UserError when none does."""
    template = chat_template(tokenizer)
    reasons = []
    for kind in ("markers", "incremental"):
        try:
            return _proved(tokenizer, template, kind)
        except _Unfit as reason:
            reasons.append(f"{kind}: {reason}")
    raise wrong(
        "chat template",
        "cannot tell which tokens the assistant writes, so no loss can be taken on them",
        "; ".join(reasons),
        "Give the model a template that ends each assistant turn with one special token",
    )


def spans(tokenizer: Any, messages: Messages, mask: Mask) -> Spans:
    """Render a conversation and find what is trained in it.

    Raises UserError when the conversation does not come out as the probes did.
    """
    try:
        if mask.kind == "markers":
            text, blocks = rendered(tokenizer, mask.template, messages)
        else:
            text, blocks = _by_prefixes(tokenizer, mask.template, messages)
        turns = sum(message["role"] == "assistant" for message in messages)
        if len(blocks) != turns:
            raise _Unfit(f"{turns} assistant turns came out as {len(blocks)}")
        if messages[-1]["role"] == "assistant" and not _continues(tokenizer, mask.template, messages, text):
            raise _Unfit("the last answer does not follow its generation prompt, or its system turn is lost")
        return Spans(text, [_trimmed(text, block, mask) for block in blocks])
    except _Unfit as reason:
        raise wrong(
            "chat template", f"the row cannot be trained with it: {reason}", fix="Change or remove the row"
        ) from reason


def _continues(tokenizer: Any, template: str, messages: Messages, text: str) -> bool:
    """Whether `text` begins as generation would be prompted: some templates drop a system turn once it is answered."""
    return text.startswith(rendered(tokenizer, template, messages[:-1], add_generation_prompt=True).text)


def _by_prefixes(tokenizer: Any, template: str, messages: Messages) -> Marked:
    """Assistant turns, each from the end of its generation prompt to where the shorter and the full text part."""
    full = rendered(tokenizer, template, messages).text
    blocks = []
    for turn, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = rendered(tokenizer, template, messages[:turn], add_generation_prompt=True).text
        if not full.startswith(before):
            raise _Unfit("the text before a turn changes once the turn is there")
        after = rendered(tokenizer, template, messages[: turn + 1]).text
        blocks.append((len(before), len(_shared(full, after))))
    return Marked(full, blocks)


def _shared(one: str, two: str) -> str:
    """What both texts begin with."""
    return one[: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False)))]


def _trimmed(text: str, block: tuple[int, int], mask: Mask) -> tuple[int, int]:
    """The part of an assistant turn after its header and up to its end-of-turn token."""
    start, end = block
    header = next((header for header in mask.headers if text.startswith(header, start, end)), None)
    if header is None:
        raise _Unfit("a turn does not open with the generation prompt")
    start += len(header)
    stop = max((at + len(stop) for stop in mask.stops if (at := text.rfind(stop, start, end)) >= 0), default=0)
    if not stop:
        raise _Unfit("a turn does not close with an end-of-turn token")
    return start, stop


_SYSTEM = {"role": "system", "content": "Kelp sets the tone."}
_ASKS = [{"role": "user", "content": "Plum asks first."}, {"role": "user", "content": "Quartz asks again."}]
_SAYS = [{"role": "assistant", "content": "Vivid says one."}, {"role": "assistant", "content": "Jumbo says two."}]
_THINKS = {"role": "assistant", "content": "<think>\nweigh it\n</think>\n\nJumbo says two."}
_PADDED = {"role": "assistant", "content": "  Jumbo says two. \n\n"}
_PLAIN = [[_ASKS[0], _SAYS[0]], [_ASKS[0], _SAYS[0], _ASKS[1], _SAYS[1]]]
_PROBES = [
    *_PLAIN,
    [_ASKS[0], _THINKS, _ASKS[1], _THINKS],
    [_ASKS[0], _PADDED, _ASKS[1], _PADDED],
    *([_SYSTEM, *plain] for plain in _PLAIN),
]


def _proved(tokenizer: Any, template: str, kind: Kind) -> Mask:
    """The mask of this kind, if every probe that the template accepts comes out right."""
    marked = add_markers(template) if kind == "markers" else template
    if marked is None:
        raise _Unfit("the template has no loop over the messages")
    probes = [probe for probe in _PROBES if _accepts(tokenizer, template, probe)]
    try:
        mask = Mask(kind, marked, _headers(tokenizer, template, marked, kind), _stops(tokenizer, template))
        for probe in probes:
            _verify(tokenizer, template, probe, mask)
    except UserError as error:
        raise _Unfit(error.problems[0].what) from error
    except SyntaxError as error:
        raise _Unfit("markers do not fit into the template's loop") from error
    return mask


def _accepts(tokenizer: Any, template: str, messages: Messages) -> bool:
    """Whether the template takes the conversation; one with a system turn it may also refuse by losing that turn."""
    try:
        text = rendered(tokenizer, template, messages).text
    except UserError:
        return False
    return messages[0]["role"] != "system" or _continues(tokenizer, template, messages, text)


def _headers(tokenizer: Any, template: str, marked: str, kind: Kind) -> tuple[str, ...]:
    """What the generation prompt shares with each assistant turn of the probes, longest first.

    Turns differ where a template drops the thinking of all but the last.
    """
    if kind == "incremental":
        return ("",)
    text, blocks = rendered(tokenizer, marked, _PLAIN[0])
    prompt = rendered(tokenizer, template, _PLAIN[0][:1], add_generation_prompt=True).text
    if len(blocks) != 1 or not text.startswith(prompt) or len(prompt) < blocks[0][0]:
        raise _Unfit("an answer does not follow the generation prompt")
    header = text[blocks[0][0] : len(prompt)]
    two, turns = rendered(tokenizer, marked, _PLAIN[1]) if _accepts(tokenizer, template, _PLAIN[1]) else (text, blocks)
    shared = {header, *(_shared(header, two[start:end]) for start, end in turns)}
    return tuple(sorted(shared, key=len, reverse=True))


def _stops(tokenizer: Any, template: str) -> tuple[str, ...]:
    """The added tokens that follow the answers of the probes, each the first after its answer."""
    found = {}
    for probe in _PLAIN:
        if _accepts(tokenizer, template, probe):
            text = rendered(tokenizer, template, probe).text
            for answer in (message["content"] for message in probe if message["role"] == "assistant"):
                if answer not in text:
                    raise _Unfit("the template does not write the assistant's words")
                found[_first_added(tokenizer, text[text.index(answer) + len(answer) :])] = True
    return tuple(found)


def _first_added(tokenizer: Any, tail: str) -> str:
    """The added token that `tail` begins with, white space apart."""
    tail = tail.lstrip()
    stops = [token for token in _added(tokenizer) if tail.startswith(token)]
    if not stops:
        raise _Unfit("no end-of-turn token follows an answer, so the model would not learn to stop")
    return max(stops, key=len)


def _added(tokenizer: Any) -> Iterator[str]:
    """Added tokens that are not mere white space, which some vocabularies hold too."""
    return (token.content for token in tokenizer.added_tokens_decoder.values() if token.content.strip())


def _verify(tokenizer: Any, template: str, probe: Messages, mask: Mask) -> None:
    """Raise unless the text is byte for byte the original template's and each span is one answer and its stop."""
    text, trained = spans(tokenizer, probe, mask)
    if text != rendered(tokenizer, template, probe).text:
        raise _Unfit("the text with markers differs from the text without")
    answers = [message["content"] for message in probe if message["role"] == "assistant"]
    others = [message["content"] for message in probe if message["role"] != "assistant"]
    for answer, (start, end) in zip(answers, trained, strict=True):
        said, wanted = text[start:end], answer.rpartition("</think>")[2].strip()
        if wanted not in said or any(other in said for other in others):
            raise _Unfit("the wrong text would be trained")
        if said[said.rindex(wanted) + len(wanted) :].strip() not in mask.stops:
            raise _Unfit("something other than the end-of-turn token follows an answer")
