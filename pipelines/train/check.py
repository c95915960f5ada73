"""What can be wrong with a training entry before anything is read."""

from pipelines.errors import Problem
from pipelines.train.config import Checkpoints, TrainConfig


def check(config: TrainConfig) -> list[Problem]:
    """Problems of the config by itself. How many processes a launcher brings is known only when it has started them."""
    found = batch_problems(config, config.launch.processes or 1)
    if config.checkpoints and config.max_steps:
        found += checkpoint_problems(config.checkpoints, config.max_steps)
    return found


def batch_problems(config: TrainConfig, processes: int) -> list[Problem]:
    """A step must split into whole forward passes of the same number of rows on every process."""
    rows = processes * (config.micro_batch_size or 1)
    if config.batch_size % rows == 0:
        return []
    what = f"does not split evenly over {processes} process{'es' if processes > 1 else ''}"
    if config.micro_batch_size:
        what += f" with micro_batch_size {config.micro_batch_size}"
    return [Problem("batch_size", what, str(config.batch_size), f"Use a multiple of {rows}")]


def checkpoint_problems(wanted: Checkpoints, steps: int) -> list[Problem]:
    """The first of the checkpoints must come after a step."""
    if (wanted.last - 1) * wanted.every < steps:
        return []
    what = f"a run of {steps} steps is too short for {wanted.last} checkpoints {wanted.every} steps apart"
    most = (steps - 1) // (wanted.last - 1)
    fix = f"Set every to at most {most}" if most else f"Set last to at most {steps}"
    return [Problem("checkpoints", what, "", fix)]
