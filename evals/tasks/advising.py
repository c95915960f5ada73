"""The tables of the advising data, as a column of its documents."""

from pathlib import Path
from typing import Any


def with_schema(documents: Any) -> Any:
    """A Hugging Face dataset with advising.sql as `schema` in every row."""
    schema = Path(__file__).with_name("advising.sql").read_text(encoding="utf-8")
    return documents.add_column("schema", [schema] * len(documents))
