"""Exports in the engines of other environments: what they read and serve is what transformers says."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.engine.stage import Artifact
from pipelines.errors import UserError
from pipelines.export import engines
from pipelines.export.config import ExportConfig
from pipelines.export.run import run
from pipelines.hf.models import load_model, load_tokenizer
from pipelines.serving.look.fresh import Reloaded
from pipelines.serving.look.parity import logits, plain_ids, prompt_ids
from tests import pico
from tests.needed import needs
from tests.unit.export.test_adapter import HUB, merged, trained


def saw(out: Path) -> dict[str, Any]:
    return {check["name"]: check["saw"] for check in json.loads((out / "verification.json").read_text())["checks"]}


@pytest.mark.slow
def test_engines_serve_the_export_and_its_adapter(tmp_path: Path):
    """vLLM has kernels for heads of 32 and more alone."""
    needs("transformers4")
    needs("vllm")
    base = pico.save_model(tmp_path / "base", 0, hidden_size=128, intermediate_size=128)
    adapter = trained(base, tmp_path / "adapter")
    model, out = merged(base, adapter, tmp_path / "model"), tmp_path / "out"
    out.mkdir()
    inputs = {
        "merge.baked": Artifact("merge.baked", "model", model, "k1"),
        "train.tuned": Artifact("train.tuned", "adapter", adapter, "k2"),
        "base": Artifact("base", "model", base, "k0", HUB),
    }
    config = ExportConfig(
        model="merge.baked", adapter="train.tuned", parent="base", ship_adapter=True, engines=("transformers4", "vllm")
    )
    run(config, inputs, out)
    found = saw(out)
    assert found["max |dlogit| in transformers 4.57.6"] < 1e-4
    assert found["max |dlogprob| in vLLM, in nats"] < 1e-4
    assert found["max |dlogprob| of the adapter by its name in vLLM, in nats"] < 1e-4
    assert found["used in vLLM with the OpenAI client"].startswith("models, completions, chat, ")
    serving = json.loads((out / "safetensors" / "SERVING.json").read_text())
    assert {"torch", "transformers", "transformers4"} < serving["versions"].keys()
    assert any(name.startswith("vllm") for name in serving["versions"])
    assert serving["vllm"]["verified_with"][:2] == ["--dtype", "float32"]
    assert serving["verified"] == found


@pytest.mark.slow
def test_engine_transformers4_that_reads_another_model_is_refused(pico_base: Path, tmp_path: Path):
    needs("transformers4")
    folder = Path(shutil.copytree(pico_base, tmp_path / "folder"))
    settings = folder / "tokenizer_config.json"
    settings.write_text(settings.read_text().replace("TokenizersBackend", "PreTrainedTokenizerFast"))
    words, model = load_tokenizer(folder), load_model(folder, device="cpu")
    prompts = prompt_ids(words)
    facts = {"plain": plain_ids(words), "template": words.chat_template, "dtype": "float32", "tied": True}
    facts |= {"prompts": prompts, "architecture": "LlamaForCausalLM"}
    before = Reloaded(facts, logits(model, prompts))
    assert engines.in_transformers4(folder, before).checks[0].saw < 1e-4
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = torch.full((32,), 1.5)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="transformers 4 computes other logits"):
        engines.in_transformers4(folder, before)
