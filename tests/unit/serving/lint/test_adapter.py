"""Every rule on adapters finds its folder, and what PEFT makes plainly is served."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from pipelines.serving.findings import errors
from pipelines.serving.lint.adapter import lint_adapter, unservable
from pipelines.serving.lint.adapter_settings import max_lora_rank
from tests import pico
from tests.unit.serving.lint import healthy
from tests.unit.serving.lint.changes import copied, named, settings

Break = Callable[[Path], object]
LINEAR = ["q_proj", "v_proj", "down_proj"]


def make(base: Path, folder: Path, trained: bool = True, **options: object) -> Path:
    """An adapter as PEFT saves it, its B no longer zero."""
    torch.manual_seed(0)
    chosen = {"r": 4, "lora_alpha": 8, "target_modules": LINEAR, "task_type": "CAUSAL_LM"} | options
    model: PeftModel = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**chosen))
    for name, weight in model.named_parameters():
        if trained and "lora_" in name:
            weight.data.normal_(std=0.02)
    model.save_pretrained(folder)
    settings(folder / "adapter_config.json", base_model_name_or_path="pico/base")
    return folder


@pytest.fixture(scope="module")
def sound(pico_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(pico_base, tmp_path_factory.mktemp("adapter") / "adapter")


def says(*drop: str, **values: object) -> Break:
    return lambda folder: settings(folder / "adapter_config.json", drop, **values)


def tensors(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Break:
    def apply(folder: Path) -> None:
        path = folder / "adapter_model.safetensors"
        changed = {name: value.contiguous() for name, value in change(load_file(path)).items()}
        save_file(changed, path)

    return apply


def renamed(old: str, new: str) -> Break:
    return tensors(lambda weights: {name.replace(old, new): value for name, value in weights.items()})


def scaled(ending: str, by: float, only: str = "") -> Break:
    return tensors(lambda weights: {k: v * by if k.endswith(ending) and only in k else v for k, v in weights.items()})


def more(name: str, value: torch.Tensor) -> Break:
    return tensors(lambda weights: weights | {name: value})


def cut(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def own_words(folder: Path) -> None:
    words = pico.tokenizer("{{ messages[-1].content }}<|im_end|>")
    words.add_tokens(["<|tool|>"])
    words.save_pretrained(folder)


A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
BROKEN: list[tuple[str, str, Break]] = [
    ("adapter-config", "E", lambda at: (at / "adapter_config.json").unlink()),
    ("adapter-config", "E", lambda at: (at / "adapter_config.json").write_text("{")),
    ("adapter-config", "E", lambda at: (at / "adapter_config.json").write_text("{}")),
    ("adapter-weights", "E", lambda at: (at / "adapter_model.safetensors").unlink()),
    ("adapter-weights", "E", pickled),
    ("adapter-weights", "E", cut),
    ("adapter-weights", "E", tensors(lambda weights: {})),
    ("adapter-not-lora", "E", says(peft_type="IA3")),
    ("adapter-not-lora", "E", says(peft_type="LOHA")),
    ("adapter-dora", "E", says(use_dora=True)),
    ("adapter-bias", "E", says(bias="all")),
    ("adapter-bias", "E", says(lora_bias=True)),
    ("adapter-trained-tokens", "E", says(trainable_token_indices=[1])),
    ("adapter-alora", "E", says(alora_invocation_tokens=[1, 2])),
    ("adapter-layer-replication", "E", says(layer_replication=[[0, 2]])),
    ("adapter-variant", "E", says(use_qalora=True)),
    ("adapter-variant", "E", says(use_bdlora={"x": 1})),
    ("adapter-variant", "E", says(kasa_config={"beta": 1})),
    ("adapter-variant", "E", says(arrow_config={"top_k": 2})),
    ("adapter-modules-to-save", "E", says(modules_to_save=["lm_head"])),
    ("adapter-fan-in-fan-out", "W", says(fan_in_fan_out=True)),
    *(("adapter-init", "E", says(init_lora_weights=name)) for name in ("pissa", "olora", "corda", "loftq")),
    ("adapter-rank", "E", says("r")),
    ("adapter-rank", "E", says(rank_pattern={"q_proj": 0})),
    ("adapter-alpha", "E", says("lora_alpha")),
    ("adapter-no-op", "E", says(lora_alpha=0)),
    ("adapter-targets", "E", says("target_modules")),
    ("adapter-rank-too-high", "E", says(r=1024)),
    ("adapter-rank-over-default", "W", says(rank_pattern={"q_proj": 33})),
    ("adapter-rank-differs", "E", says(r=8)),
    ("adapter-rank-differs", "E", says(rank_pattern={"q_proj": 2})),
    ("adapter-odd-tensors", "E", renamed("lora_A.weight", "lora_A.default.weight")),
    ("adapter-odd-tensors", "E", more("base_model.model.model.norm.weight", torch.ones(32))),
    ("adapter-odd-tensors", "E", more(A.replace("lora_A.weight", "lora_magnitude_vector"), torch.ones(32))),
    ("adapter-resized", "E", more("base_model.model.model.embed_tokens.base_layer.weight", torch.ones(400, 32))),
    ("adapter-bare-names", "W", renamed("base_model.model.", "")),
    ("adapter-unpaired", "E", tensors(lambda weights: {k: v for k, v in weights.items() if k != A})),
    ("adapter-unused-targets", "W", says(target_modules=[*LINEAR, "gate_proj"])),
    ("adapter-no-such-layer", "E", renamed("layers.1", "layers.7")),
    ("adapter-wrong-prefix", "E", renamed("base_model.model.model.", "base_model.model.model.language_model.")),
    ("adapter-wrong-prefix", "E", renamed("base_model.model.model.", "base_model.model.")),
    ("adapter-no-such-module", "E", renamed("q_proj", "query")),
    ("adapter-shape", "E", tensors(lambda weights: weights | {A: torch.ones(4, 48)})),
    ("adapter-shape", "E", renamed("q_proj", "k_proj")),
    ("adapter-not-finite", "E", scaled("lora_A.weight", float("nan"), "layers.0")),
    ("adapter-not-finite", "E", scaled("lora_B.weight", float("inf"))),
    ("adapter-no-op", "E", scaled("lora_B.weight", 0.0)),
    ("adapter-no-op", "E", scaled("lora_A.weight", 0.0)),
    ("adapter-partly-idle", "W", scaled("lora_B.weight", 0.0, "layers.0")),
    ("adapter-base-path", "W", says(base_model_name_or_path="/home/me/models/base")),
    ("adapter-base-unnamed", "W", says(base_model_name_or_path=None)),
    ("adapter-4-bit-base", "W", says(base_model_name_or_path="unsloth/llama-bnb-4bit")),
    ("adapter-tokenizer", "W", own_words),
    ("adapter-template", "W", own_words),
]
MERGED_INSTEAD = [(rule, change) for rule, severity, change in BROKEN if severity == "E"]


def ids(cases: list[tuple[str, str, Break]]) -> list[str]:
    return [f"{at}-{case[0]}" for at, case in enumerate(cases)]


@pytest.mark.parametrize(("rule", "severity", "change"), BROKEN, ids=ids(BROKEN))
def test_adapter_broken_folder_is_found_with_a_fix(
    rule: str, severity: str, change: Break, sound: Path, pico_base: Path, tmp_path: Path
) -> None:
    folder = copied(sound, tmp_path / "broken")
    change(folder)
    found = lint_adapter(folder, pico_base)
    assert named(found).get(rule) == severity, [str(finding) for finding in found]
    assert all(finding.fix for finding in found)


@pytest.mark.parametrize(
    ("rule", "change"), MERGED_INSTEAD, ids=[f"{at}-{rule}" for at, (rule, _) in enumerate(MERGED_INSTEAD)]
)
def test_unservable_names_a_reason_for_each_error(
    rule: str, change: Break, sound: Path, pico_base: Path, tmp_path: Path
) -> None:
    folder = copied(sound, tmp_path / "broken")
    change(folder)
    assert unservable(folder, pico_base)


PLAIN: dict[str, dict[str, object]] = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "patterns": {"rank_pattern": {"q_proj": 8, "layers.1.mlp.down_proj": 2}, "alpha_pattern": {"v_proj": 32}},
    "head": {"target_modules": ["embed_tokens", "lm_head", "q_proj"]},
    "all-linear": {"target_modules": "all-linear"},
    "regex": {"target_modules": r".*\.layers\.1\..*(q|k)_proj"},
    "one-layer": {"layers_to_transform": [1]},
    "gaussian": {"init_lora_weights": "gaussian"},
}


@pytest.mark.parametrize("name", PLAIN)
def test_adapter_of_peft_is_served(name: str, tmp_path: Path) -> None:
    untied = pico.save_model(tmp_path / "base", seed=0, tie_word_embeddings=False)
    folder = make(untied, tmp_path / "adapter", **PLAIN[name])
    assert lint_adapter(folder, untied) == []
    assert unservable(folder, untied) == []


def test_adapter_on_a_tied_head_is_served(pico_base: Path, tmp_path: Path) -> None:
    folder = make(pico_base, tmp_path / "adapter", target_modules=["embed_tokens", "q_proj"])
    assert errors(lint_adapter(folder, pico_base)) == []


def test_adapter_of_peft_that_was_never_trained_changes_nothing(pico_base: Path, tmp_path: Path) -> None:
    folder = make(pico_base, tmp_path / "adapter", trained=False)
    assert named(lint_adapter(folder, pico_base)) == {"adapter-no-op": "E"}


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        ("adapter-dora", {"use_dora": True}),
        ("adapter-modules-to-save", {"modules_to_save": ["lm_head"]}),
        ("adapter-bias", {"bias": "lora_only"}),
        ("adapter-trained-tokens", {"trainable_token_indices": [3, 4]}),
        ("adapter-init", {"init_lora_weights": "pissa"}),
    ],
)
def test_adapter_of_peft_that_vllm_refuses_is_found(rule: str, options: dict[str, object], tmp_path: Path) -> None:
    untied = pico.save_model(tmp_path / "base", seed=0, tie_word_embeddings=False)
    folder = make(untied, tmp_path / "adapter", **options)
    assert named(lint_adapter(folder, untied)).get(rule) == "E"


def test_adapter_without_a_base_at_hand_is_read_alone(sound: Path, tmp_path: Path) -> None:
    assert named(lint_adapter(sound)) == {"adapter-base-unknown": "W"}
    folder = copied(sound, tmp_path / "broken")
    says(r=8)(folder)
    assert named(lint_adapter(folder)).keys() == {"adapter-rank-differs", "adapter-base-unknown"}


def test_adapter_finds_the_base_that_it_names(sound: Path, pico_base: Path, tmp_path: Path) -> None:
    folder = copied(sound, tmp_path / "broken")
    says(base_model_name_or_path=str(pico_base))(folder)
    assert named(lint_adapter(folder)) == {"adapter-base-path": "W"}
    other = pico.save_model(tmp_path / "other", seed=1, num_hidden_layers=3)
    assert named(lint_adapter(folder, other))["adapter-other-base"] == "E"


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ("adapter-architecture", {"architectures": ["GPT2LMHeadModel"]}),
        ("adapter-vocabulary", {"vocab_size": 262144}),
        ("adapter-4-bit-base", {"quantization_config": {"quant_method": "bitsandbytes"}}),
    ],
)
def test_adapter_on_a_base_that_takes_none_is_unservable(
    rule: str, values: dict[str, object], sound: Path, pico_base: Path, tmp_path: Path
) -> None:
    base = copied(pico_base, tmp_path / "base")
    settings(base / "config.json", **values)
    assert named(lint_adapter(sound, base)).get(rule) == "E"
    assert unservable(sound, base)


def test_adapter_on_a_wrapped_model_with_its_own_names_is_not_refused(
    sound: Path, pico_base: Path, tmp_path: Path
) -> None:
    base, folder = copied(pico_base, tmp_path / "base"), copied(sound, tmp_path / "adapter")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": config}))
    renamed("base_model.model.model.", "base_model.model.model.language_model.")(folder)
    assert named(lint_adapter(folder, base)) == {}
    renamed("language_model.", "text_model.")(folder)
    assert named(lint_adapter(folder, base)) == {"adapter-wrong-prefix": "W"}


@pytest.mark.parametrize(
    ("kind", "found"),
    [("qwen3-moe", {"adapter-fused-experts": "E"}), ("deepseek-v3", {"adapter-fused-experts": "E"}), ("gpt-oss", {})],
)
def test_adapter_on_all_experts_at_once_is_served_where_vllm_takes_it(
    kind: str, found: dict[str, str], tmp_path: Path
) -> None:
    base = healthy.save(kind, tmp_path / "base")
    folder = make(base, tmp_path / "adapter", target_modules="all-linear")
    assert named(lint_adapter(folder, base)) == found


@pytest.mark.parametrize("kind", ["mistral", "qwen2", "gemma2", "phi3", "gpt-neox", "olmo2"])
def test_adapter_of_peft_on_other_architectures_is_served(kind: str, tmp_path: Path) -> None:
    base = healthy.save(kind, tmp_path / "base")
    assert lint_adapter(make(base, tmp_path / "adapter", target_modules="all-linear"), base) == []


def test_max_lora_rank_is_the_next_that_vllm_takes() -> None:
    assert [max_lora_rank(rank) for rank in (1, 2, 12, 64, 257, 512)] == [1, 8, 16, 64, 320, 512]


@pytest.mark.parametrize(
    ("change", "fix"),
    [
        (says(peft_type="IA3"), "Merge it into its base"),
        (says(peft_type="PROMPT_TUNING"), "cannot be merged: train a LoRA"),
        (renamed(".weight", ".default.weight"), "take the adapter's name from the tensors' names"),
    ],
)
def test_adapter_fix_is_to_merge_only_where_that_keeps_what_was_trained(
    change: Break, fix: str, sound: Path, tmp_path: Path
) -> None:
    folder = copied(sound, tmp_path / "adapter")
    change(folder)
    assert fix in errors(lint_adapter(folder, None))[0].fix
