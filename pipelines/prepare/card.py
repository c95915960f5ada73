"""Dataset cards: who made a dataset, under which licence, and what its columns mean."""

from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from pipelines.engine.stage import Config
from pipelines.errors import Problem, UserError
from pipelines.prepare.config import Format, PrepareConfig
from pipelines.prepare.formats import Meaning


class Card(Config):
    """One dataset, as a YAML file under data/."""

    name: str = Field(description="Name by which people know the dataset.")
    origin: str = Field(description="Where it is published: owner/name of a repository or hub dataset.")
    licence: str = Field(description="SPDX identifier of its licence.")
    about: str = Field(description="What a row is, in one sentence.")
    format: Format = Field("messages", description="Format for recipes that name neither format nor columns.")
    columns: dict[str, str] = Field({}, description="Columns for recipes that name neither format nor columns.")


def load_card(path: Path) -> Card:
    """Read a card. Raises UserError with every problem in it."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Card.model_validate(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(Problem(path.name, f"the dataset card cannot be read: {error}")) from error
    except ValidationError as error:
        raise UserError(
            *(
                Problem(path.name, f"dataset card: {'.'.join(map(str, item['loc'])) or 'content'}: {item['msg']}")
                for item in error.errors()
            )
        ) from error


def card_of(config: PrepareConfig) -> Card | None:
    """The card that the recipe names."""
    return None if config.source.card is None else load_card(Path(config.source.card))


def meaning_of(config: PrepareConfig, card: Card | None) -> Meaning:
    """The recipe's format and columns; the card's where the recipe leaves both at their defaults."""
    if card is not None and config.format == "messages" and not config.columns:
        return Meaning(card.format, card.columns, config.system)
    return Meaning(config.format, config.columns, config.system)
