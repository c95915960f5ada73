"""Whether a merge of checkpoints names a training run that keeps them."""

from pipelines.engine.stage import Config
from pipelines.errors import Problem
from pipelines.merge.config import MergeConfig
from pipelines.merge.kinds import CheckpointAverage
from pipelines.recipe.mistakes import at
from pipelines.recipe.names import Names
from pipelines.recipe.recipe import Entry, Recipe
from pipelines.recipe.shape import Path
from pipelines.train.config import TrainConfig


def kept_problems(recipe: Recipe, names: Names, path: Path, merge: MergeConfig) -> list[Problem]:
    """What stands against the average of checkpoints at `path`; nothing for another method."""
    method = merge.method
    if not isinstance(method, CheckpointAverage):
        return []
    found = []
    for place, member in enumerate(merge.models):
        entry = names.entry(member.use)
        if entry and entry.config and (told := _told(entry, method.last)):
            where = (*path, "models", place, "use")
            found.append(at(recipe.origin(where), where, *told))
    return found


def _told(entry: Entry, last: int | None) -> tuple[str, str, str] | None:
    """What is wrong with the member, what was found there and what would be right."""
    config: Config = entry.config
    if not isinstance(config, TrainConfig):
        return f"'{entry.name}' is no training run, so it has no checkpoints", "", "Name an entry of train"
    kept = config.checkpoints.last if config.checkpoints else 1
    wanted = last or 2
    if wanted <= kept:
        return None
    add = f"checkpoints: {{every: N, last: {wanted}}}"
    if config.checkpoints is None:
        return f"'{entry.name}' keeps no checkpoints to average", "", f"Add to {entry.id}: {add}"
    return f"'{entry.name}' keeps fewer checkpoints than last: {wanted}", str(kept), f"Set in {entry.id}: {add}"
