"""What the trainer is fed: every forward pass as the numbers of its rows, and their tensors when its turn comes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from datasets import Dataset

from pipelines.train.packing import Row, deal, pack

Blocks = Sequence[tuple[int, ...]]


class Rows(NamedTuple):
    """All rows that may be trained on, `new` of them new and then the replayed ones, with the loss tokens of each."""

    rows: Sequence[Row]
    loss_tokens: Sequence[int]
    new: int

    def tokens(self, blocks: Blocks) -> int:
        return sum(len(self.rows[row].input_ids) for block in blocks for row in block)

    def replayed(self, blocks: Blocks) -> int:
        """Loss tokens of replayed rows."""
        return sum(self.loss_tokens[row] for block in blocks for row in block if row >= self.new)


def forward_passes(rows: Rows, blocks: Blocks, parts: int, micro: int) -> Dataset:
    """One forward pass an entry: its row numbers and the loss tokens of the whole step. `parts` entries make a step.

    Ranks take turns, so entry i goes to rank i modulo their number.
    """
    hands: list[list[int]] = []
    totals: list[int] = []
    for block in blocks:
        dealt = deal([len(rows.rows[row].input_ids) for row in block], parts, micro)
        hands += [[block[place] for place in hand] for hand in dealt]
        totals += [sum(rows.loss_tokens[row] for row in block)] * parts
    return Dataset.from_dict({"rows": hands, "step_tokens": totals})


def collate(rows: Rows, by_rows: bool, share: bool, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The tensors of one forward pass. The layout is given only to attention that goes by rows."""
    (entry,) = entries
    numbers = entry["rows"]
    packed = pack([rows.rows[number] for number in numbers], [number >= rows.new for number in numbers], share)
    tensors = {name: value for name, value in packed._asdict().items() if by_rows or name != "layout"}
    return tensors | {"step_tokens": entry["step_tokens"]}
