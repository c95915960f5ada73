"""What is worth saying of the models of a merge, though none of it is a mistake for sure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PureWindowsPath

from pipelines.engine.stage import Artifact
from pipelines.merge.adapters.adapter import Adapter
from pipelines.merge.plan import Source


def remarks(base: Artifact, members: Sequence[Source], ratios: Sequence[float | None]) -> list[str]:
    """Notes on models that are given twice, broken or add nothing, and on adapters that name another base."""
    told = (_repeated(members), _broken(members, ratios), _idle(base.name, members, ratios), _strangers(base, members))
    return [note for notes in told for note in notes]


def _repeated(members: Sequence[Source]) -> Iterator[str]:
    for key, times in Counter(member.key for member in members).items():
        names = sorted({member.name for member in members if member.key == key})
        if len(names) > 1:
            yield f"{' and '.join(names)} are the same model"
        elif times > 1:
            yield f"{names[0]} is merged {times} times"


def _broken(members: Sequence[Source], ratios: Sequence[float | None]) -> Iterator[str]:
    for name in dict.fromkeys(member.name for member, ratio in zip(members, ratios, strict=True) if ratio is None):
        yield f"{name} holds NaN or infinite values, which only a weight of 0 keeps out of a merge"


def _idle(base: str, members: Sequence[Source], ratios: Sequence[float | None]) -> Iterator[str]:
    same = (member.name for member, ratio in zip(members, ratios, strict=True) if ratio == 0 and member.name != base)
    for name in dict.fromkeys(same):
        yield f"{name} has the same matrices as {base}, so there is next to nothing in it to merge"


def _strangers(base: Artifact, members: Sequence[Source]) -> Iterator[str]:
    """Adapters by what they say of their base: shapes fit many models, and a path may be renamed, so it is a note."""
    known = {_last(base.name), _last(_origin(base))} - {""}
    for member in members:
        named = member.base_named if isinstance(member, Adapter) else ""
        if named and _last(_origin(base)) and _last(named) not in known:
            yield (
                f"{member.name} says that it was trained on {_shown(named)}, and it is merged on {base.name} "
                f"({_origin(base)}): that is right only if both are the same model"
            )


def _origin(base: Artifact) -> str:
    """The folder or repository that a base is from; nothing where it has no name to compare."""
    kind, _, name = str(base.metrics.get("source", "")).partition(" ")
    return name.partition("@")[0] if kind in ("folder", "hub") else ""


def _shown(named: str) -> str:
    """The name without the folders of the machine that it was trained on."""
    path = PureWindowsPath(named)
    return path.name if path.root or named.startswith(".") else named


def _last(named: str) -> str:
    return PureWindowsPath(named).name.casefold()
