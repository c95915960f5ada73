"""One export in fewer bits, and the choice among several."""

from pydantic import Field

from pipelines.engine.stage import Config, DatasetRef, ExportRef, ScoresRef, Stage
from pipelines.serving.environments import Name

LEVELS = ("fp8", "int8", "w4a16_gptq", "w4a16_awq")
"""What llm-compressor writes and vLLM serves."""
GGUF = ("gguf_f16", "gguf_q8_0", "gguf_q6_k", "gguf_q5_k_m", "gguf_q4_k_m")
CALIBRATED = ("int8", "w4a16_gptq", "w4a16_awq")
"""Levels that look at rows."""


def maker_of(level: str) -> Name:
    """The environment of what makes a level."""
    return "gguf" if level in GGUF else "llmcompressor"


class QuantizeConfig(Config):
    """An export at a level; makes an export."""

    export: ExportRef
    level: str = Field(description="A level of LEVELS or GGUF.")
    calibration: DatasetRef | None = Field(None, description="Dataset whose rows are looked at.")
    rows: int = Field(256, ge=1, description="Rows of its training split, drawn by the seed.")
    max_length: int = Field(512, ge=16, description="Longest row, in tokens; the rest of it is left out.")
    seed: int = 0
    maker: str = Field("", description="What makes it, as name==version; another version makes something else.")
    serve: bool = Field(False, description="The result must be served by vLLM before it is called done.")


class Trial(Config):
    """A level that was made, and its scores as vLLM serves it."""

    export: ExportRef
    scores: ScoresRef


class ChooseConfig(Config):
    """The smallest of several levels whose scores lose no more than is accepted; makes an export."""

    unquantised: Trial = Field(description="The export that the levels were made from.")
    trials: tuple[Trial, ...] = Field(min_length=1)
    max_drop: dict[str, float] = Field(description="Group to the largest loss accepted.")


QUANTIZE = Stage(
    "quantize",
    1,
    QuantizeConfig,
    run="pipelines.quantize.run:run",
    check="pipelines.quantize.check:check",
    makes="export",
)
CHOOSE = Stage("choose", 1, ChooseConfig, run="pipelines.quantize.choose:run", makes="export")
