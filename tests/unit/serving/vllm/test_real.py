"""Real vLLM, imported once for this file: parity with transformers and PEFT, a round trip, refusals, and its end."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from pipelines.errors import UserError
from pipelines.hf.models import load_model, load_tokenizer
from pipelines.serving.environments import find
from pipelines.serving.look.parity import folder_logits, logits, logprobs, prompt_ids
from pipelines.serving.vllm.ask import memory, prompt_logprobs, round_trip, speed
from pipelines.serving.vllm.flags import flags
from pipelines.serving.vllm.parity import FLOAT32, HALF, largest
from pipelines.serving.vllm.server import NAME, Session, session
from tests import pico
from tests.unit.serving.vllm.fake import are_gone

ENVIRONMENT = find("vllm")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(ENVIRONMENT is None, reason="no environment with vLLM: burnish doctor --install vllm"),
]
CONTEXT = 256
SERVED = ["chat", "completion", "metrics", "models"]


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    assert ENVIRONMENT
    with session(ENVIRONMENT, log=tmp_path_factory.mktemp("vllm") / "log") as found:
        yield found


def model(folder: Path, **changes: object) -> Path:
    """Heads of 32, which vLLM's kernels take."""
    return pico.save_model(folder, 0, hidden_size=128, intermediate_size=128, **changes)


def adapter(base: Path, folder: Path) -> Path:
    torch.manual_seed(1)
    asked = LoraConfig(r=12, lora_alpha=24, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(load_model(base, "float32"), asked).save_pretrained(folder)
    return folder


def serve(live: Session, folder: Path, dtype: str = "float32", **adapters: Path):
    assert ENVIRONMENT
    return live.serve(folder, flags(ENVIRONMENT, dtype, 4, CONTEXT), adapters)


def prompts(folder: Path) -> list[list[int]]:
    return prompt_ids(load_tokenizer(folder))


def expected(folder: Path, dtype: str = "float32") -> list[list[float]]:
    asked = prompts(folder)
    return [logprobs(said, ids) for said, ids in zip(folder_logits(folder, asked, dtype), asked, strict=True)]


def test_model_and_its_adapter_are_served_as_transformers_and_peft_have_them(live, tmp_path):
    assert ENVIRONMENT
    base, asked = model(tmp_path / "base"), prompts(tmp_path / "base")
    tuned = PeftModel.from_pretrained(load_model(base, "float32"), adapter(base, tmp_path / "adapter")).eval()
    with_adapter = [logprobs(said, ids) for said, ids in zip(logits(tuned, asked), asked, strict=True)]
    with serve(live, base, tuned=tmp_path / "adapter") as client:
        plain, adapted = (prompt_logprobs(client, name, asked) for name in (NAME, "tuned"))
        seen = round_trip(ENVIRONMENT, client, NAME, ["tuned"])
        assert speed(client, NAME) > 1
        assert 10**7 < (memory(live, client) or 0) < 10**9
    assert largest(plain, expected(base)) < FLOAT32
    assert largest(adapted, with_adapter) < FLOAT32
    assert largest(adapted, plain) > 0.1
    assert sorted(seen) == SERVED and seen["models"] == [NAME, "tuned"]
    assert {"vllm:kv_cache_usage_perc", "vllm:num_requests_running"} <= set(seen["metrics"])
    for name in (NAME, "tuned"):
        assert seen["completion"][name]["tokens"] > 0 and seen["chat"][name]["finish_reason"] in ("stop", "length")


def test_next_model_of_the_session_is_served_in_bfloat16(live, tmp_path):
    folder = model(tmp_path / "half", dtype=torch.bfloat16)
    with serve(live, folder, "bfloat16") as client:
        found = prompt_logprobs(client, NAME, prompts(folder))
    assert 0 < largest(found, expected(folder, "bfloat16")) < HALF


def test_folder_without_a_norm_is_refused_in_one_line_and_without_its_log(live, tmp_path):
    folder = model(tmp_path / "broken")
    change(folder, lambda weights: weights.pop("model.norm.weight"))
    with pytest.raises(UserError) as error, serve(live, folder):
        pass
    assert str(error.value).startswith("broken: vLLM ended (got ValueError: Following weights") and "\n" not in str(
        error.value
    )
    assert "norm" in str(error.value)


def test_weights_that_are_nan_are_told_as_no_numbers(live, tmp_path):
    folder = model(tmp_path / "nan")
    change(folder, lambda weights: weights["model.layers.1.mlp.up_proj.weight"].fill_(float("nan")))
    with pytest.raises(UserError, match="log-probabilities that are no numbers"), serve(live, folder) as client:
        prompt_logprobs(client, NAME, prompts(folder))


def change(folder: Path, how) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    how(weights)
    save_file(weights, path, {"format": "pt"})


def test_nothing_is_left_of_a_stage_that_is_killed(tmp_path):
    folder = model(tmp_path / "base")
    stage = f"""
from pathlib import Path
from pipelines.serving.environments import find
from pipelines.serving.vllm.server import session
with session(find("vllm")) as live, live.serve(Path({str(folder)!r}), ["--dtype", "float32", "--enforce-eager"]):
    print(live.process.pid, flush=True)
    time.sleep(600)
"""
    killed = subprocess.Popen([sys.executable, "-c", stage], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert killed.stdout is not None
    known = family(int(killed.stdout.readline()))
    assert len(known) >= 5
    killed.kill()
    killed.wait()
    assert are_gone(known, 30)


def family(parent: int) -> list[int]:
    """A process and all that came of it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found, before = {parent}, 0
    while len(found) > before:
        before = len(found)
        found |= {pid for pid, known in parents.items() if known in found}
    return sorted(found)
