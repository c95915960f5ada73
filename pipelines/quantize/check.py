"""What can be known of a quantisation before anything is made."""

from pipelines.errors import Problem
from pipelines.quantize.config import GGUF, QuantizeConfig
from pipelines.serving.environments import Name, missing


def check(config: QuantizeConfig) -> list[Problem]:
    """The environments that it needs, and that are not there."""
    needed: list[Name] = ["gguf" if config.level in GGUF else "llmcompressor"]
    if config.serve:
        needed.append("vllm")
    return [problem for name in needed for problem in missing(name, "formats")]
