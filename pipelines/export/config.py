"""What is shipped, in which format."""

from typing import Literal

from pydantic import Field

from pipelines.engine.stage import Config, ModelRef, Stage


class ExportConfig(Config):
    """Weights in a folder that transformers and vLLM load, reloaded and compared before it is called done."""

    model: ModelRef
    base: ModelRef = Field(ModelRef("base"), description="Model that the export must differ from.")
    formats: tuple[Literal["safetensors"], ...] = ("safetensors",)
    dtype: Literal["keep", "float32", "bfloat16", "float16"] = Field("keep", description="Type of the shipped weights.")
    max_shard_size: int = Field(5_000_000_000, ge=1_000_000, description="Largest file, in bytes.")


STAGE = Stage("export", 1, ExportConfig, run="pipelines.export.run:run", makes="export")
