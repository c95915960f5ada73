"""What is shipped, in which formats."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from pipelines.engine.stage import Config, DatasetRef, ModelRef, Stage, WeightsRef

Level = Literal[
    "fp8", "int8", "w4a16_gptq", "w4a16_awq", "gguf_f16", "gguf_q8_0", "gguf_q6_k", "gguf_q5_k_m", "gguf_q4_k_m"
]
Format = Literal["safetensors", "adapter", Level]
Engine = Literal["transformers4", "vllm"]
Dtype = Literal["keep", "float32", "bfloat16", "float16"]

_DTYPE = "Type of the shipped weights."
_SHARD = "Largest file, in bytes."
_ENGINES = "Engines of environments of their own that must read the export, and agree, before it is called done."


class Calibration(Config):
    """Rows that a quantisation is calibrated on: the text that the model will see."""

    on: DatasetRef | None = Field(None, description="Dataset; default: the only one of the recipe's data section.")
    rows: int = Field(256, ge=1, description="Rows of its training split, drawn by the seed.")
    max_length: int = Field(512, ge=16, description="Longest row, in tokens; the rest of it is left out.")
    seed: int = 0


class Quantize(Config):
    """Several levels are made and measured as vLLM serves them; the smallest inside the stated losses is shipped."""

    levels: tuple[Literal["fp8", "int8", "w4a16_gptq", "w4a16_awq"], ...] = Field(
        ("fp8", "int8", "w4a16_gptq", "w4a16_awq"), min_length=1, description="Levels that are tried."
    )
    suite: str = Field("dev", description="Suite that they are measured on; not one that a gate judges.")
    max_drop: dict[str, Annotated[float, Field(ge=0)]] | None = Field(
        None,
        description="Group of the suite to the largest loss of any of its scores, in the score's own unit, that is "
        "accepted against the weights not quantised; default: 0.01 in target and in general, as far as it has them.",
        min_length=1,
    )


def _spelt_out(value: Any) -> Any:
    """The word `auto` asks for the defaults."""
    return {} if value == "auto" else value


Choice = Annotated[
    Quantize | None, BeforeValidator(_spelt_out, json_schema_input_type=Literal["auto"] | Quantize | None)
]


class Hub(Config):
    """A repository of the Hugging Face hub that `burnish run --yes` pushes the export to, once the gates pass."""

    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="As owner/name.")
    private: bool = Field(True, description="Make the repository private, where it is made.")
    branch: str = "main"


class ExportEntry(Config):
    """Weights to ship: what they are made from, and in which formats."""

    model: ModelRef
    base: ModelRef = Field(ModelRef("base"), description="Model that the export must differ from.")
    formats: tuple[Format, ...] = Field(
        ("safetensors",), min_length=1, description="A folder each; the quantised ones are made from safetensors."
    )
    dtype: Dtype = Field("keep", description=_DTYPE)
    max_shard_size: int = Field(5_000_000_000, ge=1_000_000, description=_SHARD)
    engines: tuple[Engine, ...] = Field((), description=_ENGINES)
    calibration: Calibration = Calibration()
    quantize: Choice = Field(
        None, description="Choose a quantised format by measuring several; `auto` with the defaults, on suite dev."
    )
    hub: Hub | None = None


class ExportConfig(Config):
    """Weights in a folder that transformers and vLLM load, reloaded and compared before it is called done."""

    model: ModelRef
    base: ModelRef = Field(ModelRef("base"), description="Model that the export must differ from.")
    adapter: WeightsRef | None = Field(None, description="Adapter that `model` is the base with, to ship beside it.")
    parent: ModelRef | None = Field(None, description="Model that the adapter was trained from.")
    ship_adapter: bool = Field(False, description="Ship the adapter in a folder of its own, where vLLM can serve it.")
    dtype: Dtype = Field("keep", description=_DTYPE)
    max_shard_size: int = Field(5_000_000_000, ge=1_000_000, description=_SHARD)
    engines: tuple[Engine, ...] = Field((), description=_ENGINES)


STAGE = Stage(
    "export", 2, ExportConfig, run="pipelines.export.run:run", check="pipelines.export.check:check", makes="export"
)
