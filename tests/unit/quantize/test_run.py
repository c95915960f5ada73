"""Pico exports at every level by llm-compressor itself, and in real vLLM: what is written, told and refused."""

import hashlib
import json
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import MixtralConfig, MixtralForCausalLM

from pipelines.engine.stage import Artifact
from pipelines.errors import UserError
from pipelines.hf.rows import Row, write_rows
from pipelines.quantize.config import GGUF, LEVELS, QuantizeConfig
from pipelines.quantize.made import Made
from pipelines.quantize.run import MAKERS, metrics, run
from pipelines.serving.environments import find
from pipelines.serving.findings import Finding
from pipelines.serving.lint.folder import lint
from tests import pico

compressor = pytest.mark.skipif(not find("llmcompressor"), reason="the environment 'llmcompressor' is not installed")
vllm = pytest.mark.skipif(not find("vllm"), reason="the environment 'vllm' is not installed")
VOCABULARY = 398


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A pico Llama in float32 with weights of 128 and 256 columns, as an export."""
    folder = tmp_path_factory.mktemp("export")
    pico.save_model(folder / "safetensors", 0, hidden_size=128, intermediate_size=256)
    (folder / "safetensors" / "LICENSE").write_text("Apache")
    return Artifact("export.ship", "export", folder, "k", {"folder": "safetensors"})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("dataset")
    (folder / "rows").mkdir()
    draw = random.Random(0)
    rows = [[draw.randrange(VOCABULARY) for _ in range(draw.randrange(20, 64))] for _ in range(80)]
    write_rows(folder / "rows" / "train.parquet", [Row(f"{at}", "s", None, ids, ids) for at, ids in enumerate(rows)])
    return Artifact("data.tickets", "dataset", folder, "k", {})


def made(out: Path, level: str, export: Artifact, dataset: Artifact, **changes: object) -> dict[str, object]:
    out.mkdir()
    config = QuantizeConfig(export=export.name, level=level, calibration=dataset.name, **({"rows": 70} | changes))
    return run(config, {export.name: export, dataset.name: dataset}, out)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_makers_know_every_level():
    assert set(MAKERS) == {*LEVELS, *GGUF}


def test_warnings_are_told_in_one_place(tmp_path: Path, export: Artifact):
    warned = Made([], [Finding("a-rule", "W", "int8", "is told")], 0.1, 1.0, None, None, {})
    assert "is told" not in str(metrics(export.path / "safetensors", tmp_path, warned)), "verification.json has it"


def test_calibrated_level_without_rows_is_refused(tmp_path: Path, export: Artifact, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pipelines.quantize.run.require", lambda name, where: None)
    with pytest.raises(UserError, match=r"int8 is fitted to rows, and no dataset is named. Name calibration.on"):
        run(QuantizeConfig(export=export.name, level="int8"), {export.name: export}, tmp_path)


@compressor
@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "dtype", "tensor"),
    [
        ("fp8", torch.float8_e4m3fn, "weight"),
        ("int8", torch.int8, "weight"),
        ("w4a16_gptq", torch.int32, "weight_packed"),
        ("w4a16_awq", torch.int32, "weight_packed"),
    ],
)
def test_level_is_made_and_checked(
    level: str, dtype: torch.dtype, tensor: str, tmp_path: Path, export: Artifact, dataset: Artifact
):
    metrics = made(tmp_path / "one", level, export, dataset)
    folder = tmp_path / "one" / level
    weights = load_file(folder / "model.safetensors")
    assert weights[f"model.layers.0.mlp.down_proj.{tensor}"].dtype == dtype
    assert weights["model.embed_tokens.weight"].dtype == torch.bfloat16
    assert not any(name.startswith("lm_head") for name in weights)
    assert 0 < metrics["kl"] < 0.1
    assert metrics["agreement"] > 0.8
    assert metrics["folder"] == metrics["level"] == level
    size = (folder / "model.safetensors").stat().st_size
    parameters = sum(one.numel() for one in load_file(export.path / "safetensors" / "model.safetensors").values())
    assert metrics["bits_per_weight"] == 8 * size / parameters
    assert [finding for finding in lint(folder) if finding.severity == "E"] == []
    assert not any(str(tmp_path).encode() in path.read_bytes() for path in (tmp_path / "one").rglob("*.*"))


@compressor
@pytest.mark.slow
def test_level_is_the_same_with_another_number_of_threads(
    tmp_path: Path, export: Artifact, dataset: Artifact, monkeypatch: pytest.MonkeyPatch
):
    once = made(tmp_path / "one", "w4a16_gptq", export, dataset)
    monkeypatch.setenv("OMP_NUM_THREADS", "1" if torch.get_num_threads() > 1 else "2")
    assert made(tmp_path / "two", "w4a16_gptq", export, dataset) == once
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


@compressor
@pytest.mark.slow
def test_level_keeps_the_exports_files_and_says_what_was_done(tmp_path: Path, export: Artifact, dataset: Artifact):
    made(tmp_path / "out", "w4a16_gptq", export, dataset, rows=40)
    folder, own = tmp_path / "out" / "w4a16_gptq", export.path / "safetensors"
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json", "LICENSE"):
        assert (folder / name).read_bytes() == (own / name).read_bytes()
    config = json.loads((folder / "config.json").read_text())
    assert config["quantization_config"]["config_groups"]["group_0"]["weights"]["group_size"] == 128
    assert config["torch_dtype"] == config["dtype"] == "bfloat16"
    assert "Fitted to 40 rows of data.tickets" in (folder / "README.md").read_text()
    serving = json.loads((folder / "SERVING.json").read_text())
    assert serving["vllm"]["command"][:3] == ["vllm", "serve", "."]
    assert serving["files"] == {name: at for name, at in digests(folder).items() if name != "SERVING.json"}
    told = json.loads((tmp_path / "out" / "verification.json").read_text())["warnings"]
    assert "calibration-rows" in {warning["rule"] for warning in told}


@compressor
@pytest.mark.slow
def test_weights_of_no_group_are_refused_before_anything_is_made(tmp_path: Path, dataset: Artifact):
    pico.save_model(tmp_path / "safetensors", 0, hidden_size=48)
    export = Artifact("export.ship", "export", tmp_path, "k", {"folder": "safetensors"})
    with pytest.raises(UserError, match="no group of 128, 64, 32 columns divides its weights"):
        made(tmp_path / "out", "w4a16_gptq", export, dataset)


@compressor
@pytest.mark.slow
def test_weights_that_hold_nan_are_refused(tmp_path: Path, export: Artifact, dataset: Artifact):
    weights = load_file(export.path / "safetensors" / "model.safetensors")
    weights["model.layers.0.mlp.down_proj.weight"][0, 0] = torch.nan
    broken = Artifact("export.ship", "export", tmp_path, "k", {"folder": "safetensors"})
    pico.save_model(tmp_path / "safetensors", 0, hidden_size=128, intermediate_size=256)
    save_file(weights, tmp_path / "safetensors" / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"garbage|cannot do this"):
        made(tmp_path / "out", "int8", broken, dataset)


def save_mixture(folder: Path) -> Artifact:
    """A pico Mixtral of 4 experts, as an export."""
    words = pico.tokenizer()
    torch.manual_seed(0)
    special = {f"{name}_token_id": getattr(words, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    config = MixtralConfig(
        vocab_size=len(words),
        hidden_size=128,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        max_position_embeddings=512,
        initializer_range=0.1,
        **special,
    )
    model = MixtralForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder / "safetensors")
    words.save_pretrained(folder / "safetensors")
    return Artifact("export.ship", "export", folder, "k", {"folder": "safetensors"})


@compressor
@pytest.mark.slow
@pytest.mark.parametrize("level", ["fp8", "w4a16_gptq"])
def test_mixture_of_experts_router_is_left_and_experts_are_not(level: str, tmp_path: Path, dataset: Artifact):
    metrics = made(tmp_path / "out", level, save_mixture(tmp_path), dataset)
    weights = load_file(tmp_path / "out" / level / "model.safetensors")
    routers = [name for name in weights if ".gate." in name]
    assert len(routers) == 2
    assert all(weights[name].dtype == torch.bfloat16 for name in routers)
    assert len([name for name in weights if "experts" in name and name.endswith("weight_scale")]) == 2 * 4 * 3
    assert metrics["agreement"] > 0.2


@compressor
@vllm
@pytest.mark.slow
@pytest.mark.parametrize("level", ["int8"])
def test_level_is_served_by_vllm(level: str, tmp_path: Path, export: Artifact, dataset: Artifact):
    metrics = made(tmp_path / "out", level, export, dataset, serve=True)
    assert metrics["tokens_per_second"] > 0
    assert any(name.startswith("vllm") for name in metrics["environment"])
    assert metrics["environment"]["transformers"] == find("llmcompressor").versions["transformers"]
    checks = json.loads((tmp_path / "out" / "verification.json").read_text())["checks"]
    saw = {check["name"]: check["saw"] for check in checks}
    assert saw["KL in nats a token of vLLM from transformers, over its 20 likeliest tokens"] < 0.01
