"""The nodes that an entry of the export section asks for."""

from pipelines.engine.graph import Node
from pipelines.export.config import STAGE as EXPORT
from pipelines.export.config import ExportConfig, ExportEntry


def exports(identity: str, entry: ExportEntry) -> list[Node]:
    """The export itself. References of `entry` are ids of nodes already."""
    config = ExportConfig(
        model=entry.model,
        base=entry.base,
        dtype=entry.dtype,
        max_shard_size=entry.max_shard_size,
        engines=entry.engines,
    )
    return [Node(identity, EXPORT, config)]
