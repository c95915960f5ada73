"""What can be known of an export before anything is made."""

from pipelines.errors import Problem
from pipelines.export.config import ExportConfig
from pipelines.serving.environments import missing


def check(config: ExportConfig) -> list[Problem]:
    """The engines that must read the export, and are not installed."""
    return [problem for engine in config.engines for problem in missing(engine, "engines")]
