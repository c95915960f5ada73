"""The check of a GGUF file that loads it, for `burnish verify`: llama.cpp beside the model it was made from."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pipelines.errors import wrong
from pipelines.hf.models import load_tokenizer
from pipelines.quantize.gguf import opens_with_bos
from pipelines.quantize.gguf_served import checked, look
from pipelines.serving.environments import Environment, find
from pipelines.serving.verify.steps import Asked, Step, attempt

_CHECK = "llama.cpp"


def gguf_steps(asked: Asked) -> Iterator[Step]:
    """Every file of the folder in turn. Its words and answers need something to be compared with: the source."""
    environment = find("gguf")
    if asked.engines == ("none",):
        return
    if environment is None:
        yield Step(_CHECK, "skipped", "not installed: burnish doctor --install gguf")
    elif asked.source is None:
        yield Step(_CHECK, "skipped", "is compared with the model that it was made from: name that with --source")
    else:
        source = asked.source
        for file in sorted(asked.folder.glob("*.gguf")):
            yield attempt(_CHECK, partial(_compared, environment, file, source))


def _compared(environment: Environment, file: Path, source: Path) -> str:
    tokenizer = load_tokenizer(source)
    seen = look(environment, file, source, tokenizer, opens_with_bos(tokenizer))
    checked(seen, "", source, tokenizer)
    # NaN is no distance either.
    if not seen.distance.kl < seen.distance.context:
        got = f"{seen.distance.kl:.3g} nats a token"
        raise wrong(file.name, "says something else than its source", got, "Convert it again")
    near = f"{seen.distance.kl:.2g} nats a token from its source, agreement {seen.distance.agreement:.0%}"
    return f"{file.name}: reads and writes the same tokens; {near}"
