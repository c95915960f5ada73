"""The parts of an export that have names of their own: `ship.int8`, `ship.chosen`."""

from pipelines.export.config import ExportEntry
from pipelines.quantize.config import GGUF, LEVELS

CHOSEN = "chosen"
"""The part that a choice among levels makes."""
_WHOLE = "safetensors"


def levels(entry: ExportEntry) -> tuple[str, ...]:
    """The quantised formats that are made: those that are shipped, then those that are only tried."""
    tried = entry.quantize.levels if entry.quantize else ()
    return tuple(dict.fromkeys(one for one in (*entry.formats, *tried) if one in (*LEVELS, *GGUF)))


def parts(entry: ExportEntry) -> tuple[str, ...]:
    """What may stand after the dot."""
    return (_WHOLE, *levels(entry), *([CHOSEN] if entry.quantize else []))


def part_id(identity: str, part: str) -> str:
    """The node that makes a part of the export with this id."""
    return identity if part == _WHOLE else f"{identity}.{part}"


def part_of(identity: str) -> str:
    """The part that an id names: int8 of export.ship.int8, nothing of export.ship and of what is no export."""
    section, _, rest = identity.partition(".")
    return rest.partition(".")[2] if section == "export" else ""
