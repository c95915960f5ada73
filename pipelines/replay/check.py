"""What can be wrong with a replay buffer before anything is started: its seed prompts."""

from pathlib import Path

from pipelines.errors import Problem, UserError
from pipelines.replay.config import ReplayConfig, SelfWritten
from pipelines.replay.prompts import read_prompts


def check(config: ReplayConfig) -> list[Problem]:
    """Problems of the seed prompts, and of asking a greedy writer for more answers than there are prompts."""
    if not isinstance(config.policy, SelfWritten):
        return []
    try:
        prompts = read_prompts(None if config.policy.prompts is None else Path(config.policy.prompts))
    except UserError as error:
        return list(error.problems)
    if config.policy.temperature == 0 and config.size > len(prompts):
        fix = f"Lower size to {len(prompts)}, give more prompts or set a temperature"
        return [Problem("size", "greedy decoding answers each prompt in one way only", str(config.size), fix)]
    return []
