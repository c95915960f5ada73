"""The checks of an adapter's folder that load it onto its base."""

from collections.abc import Iterator
from pathlib import Path

from pipelines.errors import wrong
from pipelines.hf.folder import describe
from pipelines.hf.models import load_tokenizer
from pipelines.serving.environments import Environment
from pipelines.serving.look.live import Live, live_logits
from pipelines.serving.look.parity import all_logprobs, compare, prompt_ids, scale
from pipelines.serving.verify.steps import Asked, Step, attempt, told, with_engine
from pipelines.serving.vllm.parity import limit
from pipelines.serving.vllm.proof import Adapter, prove
from pipelines.serving.vllm.server import NAME, session

_ADAPTER = "adapter"


def adapter_steps(asked: Asked) -> Iterator[Step]:
    """Put on its base by PEFT, where it must change what the base says; then served beside it by vLLM."""
    if asked.base is None:
        yield Step("reload", "skipped", "an adapter is loaded onto its base: name that with --base")
        return
    base, dtype = asked.base, describe(asked.base)["dtype"]
    prompts = prompt_ids(load_tokenizer(base))
    seen: list[Live] = []
    yield attempt("reload", lambda: _loaded(asked.folder, live_logits(base, asked.folder, prompts, dtype), seen))
    if seen:
        live = seen[0]
        yield from with_engine(asked, "vllm", lambda environment: _in_vllm(environment, asked, live, prompts, dtype))


def _loaded(folder: Path, live: Live, seen: list[Live]) -> str:
    apart = compare(live.parent, live.adapted)
    if apart.largest == 0.0:
        raise wrong(str(folder), "changes nothing: every logit of its base is the same", "", "Train it again")
    seen.append(live)
    return f"PEFT puts it on its base: max |dlogit| {apart.largest:.2g}"


def _in_vllm(environment: Environment, asked: Asked, live: Live, prompts: list[list[int]], dtype: str) -> str:
    assert asked.base is not None
    alone, adapted = (all_logprobs(logits, prompts) for logits in live)
    beside = {_ADAPTER: Adapter(asked.folder, adapted)}
    with told() as log, session(environment, log=log) as running:
        proof = prove(running, environment, asked.base, dtype, prompts, alone, beside, scale(live.adapted))
    apart = f"max |dlogprob| {proof.apart[_ADAPTER]:.2g}, of its base {proof.apart[NAME]:.2g}"
    return f"serves it by name beside its base: {apart}; {limit(dtype, scale(live.adapted)):.2g} allowed in {dtype}"
