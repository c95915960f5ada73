"""Synthetic support tickets in free text, and the strict JSON that each of them means."""

import json
import random
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self

from pydantic import Field, ValidationError, model_validator

from pipelines.engine.stage import Config
from pipelines.errors import Problem, UserError

BySplit = dict[str, tuple[str, ...]]
_AN = re.compile(r"\b([Aa]) ([aeiou])")


class Settings(Config):
    """What tickets are made of. Families, cues of urgency and cues of calm come apart by split."""

    rows: dict[str, int]
    products: tuple[str, ...] = Field(min_length=1)
    names: tuple[str, ...] = Field(min_length=1)
    openings: tuple[str, ...] = Field(min_length=1)
    closings: tuple[str, ...] = Field(min_length=1)
    asides: tuple[str, ...] = Field(min_length=1)
    urgent: BySplit
    calm: BySplit
    intents: dict[str, BySplit]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for split in self.rows:
            for part, by_split in {"urgent": self.urgent, "calm": self.calm, **self.intents}.items():
                if not by_split.get(split):
                    raise ValueError(f"{part} has nothing for split {split}")
        for family in (
            family for intent in self.intents.values() for families in intent.values() for family in families
        ):
            if "{product}" not in family or "{order}" not in family:
                raise ValueError(f"lacks {{product}} or {{order}}; quote a sentence that holds a #: {family}")
        return self


class Ticket(NamedTuple):
    """A ticket's text, what it means, and the sentence that it was made from."""

    text: str
    meaning: dict[str, Any]
    family: str


def tickets(settings: Mapping[str, Any], seed: int) -> Iterator[dict[str, Any]]:
    """Rows with prompt, completion, split and family: the same for the same settings and seed.

    The answer is compact JSON with the keys intent, product, order and urgent, in this order.
    """
    try:
        made_of = Settings.model_validate(settings)
    except ValidationError as error:
        raise UserError(
            *(
                Problem("source.settings", f"{'.'.join(map(str, item['loc']))}: {item['msg']}")
                for item in error.errors()
            )
        ) from error
    for split, count in made_of.rows.items():
        rng = random.Random(f"{seed} {split}")
        for number in range(count):
            intent = list(made_of.intents)[number % len(made_of.intents)]
            made = _ticket(made_of, split, intent, rng)
            answer = json.dumps(made.meaning, separators=(",", ":"))
            yield {"prompt": made.text, "completion": answer, "split": split, "family": made.family}


def _ticket(made_of: Settings, split: str, intent: str, rng: random.Random) -> Ticket:
    families = made_of.intents[intent][split]
    family = rng.randrange(len(families))
    slots = {
        "product": rng.choice(made_of.products),
        "order": rng.randint(10000, 99999),
        "amount": rng.randint(9, 240),
        "days": rng.randint(2, 21),
        "count": rng.randint(2, 9),
        "name": rng.choice(made_of.names),
    }
    urgent = rng.random() < 0.5
    sentences = [_AN.sub(r"\1n \2", families[family].format(**slots))]
    if urgent or rng.random() < 0.3:
        cue = rng.choice((made_of.urgent if urgent else made_of.calm)[split])
        sentences.insert(rng.randrange(2), cue)
    if rng.random() < 0.3:
        sentences.insert(rng.randrange(len(sentences) + 1), _noisy(rng.choice(made_of.asides).format(**slots), rng))
    if rng.random() < 0.5:
        sentences.insert(0, _noisy(rng.choice(made_of.openings), rng) + rng.choice([",", "!", "."]))
    if rng.random() < 0.4:
        closing = _noisy(rng.choice(made_of.closings), rng)
        sentences.append(rng.choice([f"{closing}, {rng.choice(made_of.names)}", f"{closing}!", closing]))
    text = _styled(" ".join(sentences), rng)
    meaning = {"intent": intent, "product": slots["product"], "order": slots["order"], "urgent": urgent}
    return Ticket(text, meaning, f"{intent}-{split}-{family:02d}")


def _noisy(text: str, rng: random.Random) -> str:
    """A typo now and then: two neighbouring letters change places. Only in words that carry no meaning."""
    places = [at for at in range(1, len(text) - 2) if text[at].isalpha() and text[at + 1].isalpha()]
    if not places or rng.random() < 0.7:
        return text
    at = rng.choice(places)
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def _styled(text: str, rng: random.Random) -> str:
    """The way people type: all lower case, no full stop at the end, exclamation marks, line breaks."""
    style = rng.random()
    if style < 0.12:
        return text.lower()
    if style < 0.22:
        return text.removesuffix(".")
    if style < 0.30:
        return text.replace(". ", "! ")
    if style < 0.38:
        return text.replace(". ", ".\n", 1)
    return text
