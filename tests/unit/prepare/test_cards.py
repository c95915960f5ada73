"""The dataset cards that the project ships."""

from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.prepare.card import card_of, load_card, meaning_of
from pipelines.prepare.config import PrepareConfig
from pipelines.prepare.formats import roles

CARDS = sorted((Path(__file__).parents[3] / "data/cards").glob("*.yaml"))


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_shipped_card_is_whole_and_listed(path):
    card = load_card(path)
    assert card.name == path.stem
    assert set(card.columns) <= set(roles(card.format))
    line = f"| `cards/{path.name}` | {card.licence} | {card.format} |"
    assert line in (path.parents[1] / "README.md").read_text()


def test_recipe_that_names_columns_or_format_overrules_the_card():
    banking = str(next(path for path in CARDS if path.stem == "banking77"))
    source = {"files": "a.csv", "card": banking}
    plain = PrepareConfig(source=source)
    own = PrepareConfig(source=source, format="text", columns={"text": "category"})
    assert meaning_of(plain, card_of(plain)).columns == {"prompt": "text", "completion": "category"}
    assert meaning_of(own, card_of(own)).columns == {"text": "category"}


def test_missing_card_is_a_clear_line(tmp_path):
    with pytest.raises(UserError, match=r"gone.yaml: the dataset card cannot be read"):
        load_card(tmp_path / "gone.yaml")
