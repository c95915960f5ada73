"""Every broken folder is refused by its own rule, and nothing is said against a healthy one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoConfig
from transformers.core_model_loading import revert_weight_conversion
from transformers.models.auto import modeling_auto

from pipelines.serving.findings import Finding, errors
from pipelines.serving.lint import skeleton
from pipelines.serving.lint.architecture import served
from pipelines.serving.lint.folder import lint
from pipelines.serving.lint.values import scan
from tests.unit.serving.lint import broken, changes, healthy
from tests.unit.serving.lint.broken import BROKEN
from tests.unit.serving.lint.changes import named

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just(10**30), st.just("../x"),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip
Sound = Callable[[str], Path]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    """A healthy folder by the name of its kind, made once; `-sharded` has it in several files."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            kind, cut = name.removesuffix("-sharded"), name.endswith("-sharded")
            made[name] = healthy.save(kind, tmp_path_factory.mktemp(kind) / "m", "30kB" if cut else "50GB")
        return made[name]

    return get


def all_of(folder: Path) -> list[Finding]:
    """What both say: the values are read only where the files can be."""
    return [*lint(folder), *scan(folder)]


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_lint_broken_folder_is_found_by_its_own_rule(name: str, sound: Sound, tmp_path: Path):
    case = BROKEN[name]
    folder = Path(shutil.copytree(sound(case.of), tmp_path / "m"))
    case.make(folder)
    found = named(all_of(folder) if case.rule != "large-shard" else lint(folder))
    assert found.get(case.rule) == case.severity, found


@pytest.mark.parametrize("name", sorted(healthy.KINDS))
@pytest.mark.parametrize("sharded", ["", "-sharded"])
def test_lint_healthy_folder_has_no_findings(name: str, sharded: str, sound: Sound):
    folder = sound(name + sharded)
    allowed = {"not-in-vllm"} if name in healthy.NOT_IN_VLLM else set()
    assert set(named(all_of(folder))) <= allowed


@pytest.mark.parametrize("name", ["mixtral", "qwen3-moe", "deepseek-v3", "gemma3-wrapped", "gpt2"])
def test_lint_weights_named_as_modules_have_no_errors(name: str, sound: Sound, tmp_path: Path):
    folder = Path(shutil.copytree(sound(name), tmp_path / "m"))
    model = healthy.model(name)
    tied = set(model.all_tied_weights_keys)
    broken.store(folder, {key: tensor for key, tensor in model.state_dict().items() if key not in tied})
    assert errors(lint(folder)) == []


def test_lint_gpt2_names_without_prefix_have_no_errors(sound: Sound, tmp_path: Path):
    folder = Path(shutil.copytree(sound("gpt2"), tmp_path / "m"))
    broken.renamed(folder, lambda name: name.removeprefix("transformer."))
    assert errors(lint(folder)) == []


def test_lint_buffers_of_older_versions_have_no_errors(sound: Sound, tmp_path: Path):
    folder = Path(shutil.copytree(sound("llama"), tmp_path / "m"))
    old = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    broken.store(folder, broken.state(folder) | old)
    assert errors(lint(folder)) == []


def test_lint_missing_expert_is_named_as_the_files_name_it(sound: Sound, tmp_path: Path):
    folder = Path(shutil.copytree(sound("mixtral"), tmp_path / "m"))
    gone = "model.layers.1.block_sparse_moe.experts.2.w3.weight"
    broken.without(folder, gone)
    assert [finding.got for finding in errors(lint(folder))] == [gone]


def test_lint_many_missing_tensors_are_one_finding(sound: Sound, tmp_path: Path):
    folder = Path(shutil.copytree(sound("llama"), tmp_path / "m"))
    broken.without(folder, *(name for name in broken.state(folder) if ".mlp." in name))
    (finding,) = errors(lint(folder))
    assert finding.rule == "missing-weights"
    assert finding.what.startswith("6 tensors")
    assert finding.got.count("mlp") == 3


def test_lint_index_that_names_the_wrong_file_is_not_mended_by_deleting_a_file(sound: Sound, tmp_path: Path):
    folder = Path(shutil.copytree(sound("llama-sharded"), tmp_path / "m"))
    index = broken.weight_map(folder)
    other = next(file for file in sorted(index.values()) if file != index["lm_head.weight"])
    broken.index(folder, index | {"lm_head.weight": other})
    assert [(one.rule, one.got) for one in errors(lint(folder))] == [("index-disagrees", "lm_head.weight")]


@pytest.mark.parametrize("name", ["config_cut", "config_is_a_list", "wrong_kind_of_value", "model_type_unknown"])
def test_lint_broken_config_is_no_reason_to_save_the_tokenizer_again(name: str, sound: Sound, tmp_path: Path):
    folder = Path(shutil.copytree(sound("llama"), tmp_path / "m"))
    BROKEN[name].make(folder)
    assert [one.rule for one in errors(lint(folder))] == [BROKEN[name].rule]


def test_lint_broken_generation_config_is_copied_from_the_base(sound: Sound, tmp_path: Path):
    folder = Path(shutil.copytree(sound("llama"), tmp_path / "m"))
    (folder / "generation_config.json").write_text("{")
    assert errors(lint(folder))[0].fix == "Copy generation_config.json of the model it was trained from"


def test_lint_several_defects_are_found_at_once(sound: Sound, tmp_path: Path):
    folder = Path(shutil.copytree(sound("llama"), tmp_path / "m"))
    for break_it in (broken.linear_missing, broken.bitsandbytes_left, broken.private_file, broken.tokenizer_missing):
        break_it(folder)
    rules = {"missing-weights", "leftover-quantization", "private-files", "no-tokenizer"}
    assert rules == {finding.rule for finding in errors(lint(folder))}


def test_lint_head_stored_twice_and_equal_has_no_findings(sound: Sound, tmp_path: Path):
    folder = Path(shutil.copytree(sound("llama-tied"), tmp_path / "m"))
    tensors = broken.state(folder)
    broken.store(folder, tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()})
    assert lint(folder) == []


@pytest.mark.parametrize("path", ["config.json", "nowhere"])
def test_lint_what_is_no_folder_is_a_finding(path: str, sound: Sound):
    assert [finding.rule for finding in lint(sound("llama") / path)] == ["no-folder"]


def test_lint_empty_folder_is_findings(tmp_path: Path):
    assert {"no-config", "no-weights", "no-tokenizer"} <= set(named(lint(tmp_path)))


def test_lint_without_beside_says_nothing_of_the_licence(sound: Sound, tmp_path: Path):
    folder = Path(shutil.copytree(sound("llama"), tmp_path / "m"))
    broken.licence_missing(folder)
    assert lint(folder, beside=False) == []


def packed_folder(folder: Path, gone: str = "") -> None:
    """A folder as if quantised: Linear weights in parts of the names that compressed-tensors gives, less one matrix."""
    parts: broken.State = {}
    for name, tensor in broken.state(folder).items():
        if "_proj" not in name:
            parts[name] = tensor
        elif name != gone:
            parts |= {f"{name}_packed": torch.ones(4, 4, dtype=torch.int32), f"{name}_scale": torch.ones(4)}
    broken.store(folder, parts)
    changes.settings(folder / "config.json", quantization_config={"quant_method": "other-tensors"})


@pytest.mark.parametrize("kind", ["llama", "mixtral"])
def test_lint_quantised_folder_without_a_matrix_is_refused(kind: str, sound: Sound, tmp_path: Path):
    folder = Path(shutil.copytree(sound(kind), tmp_path / "m"))
    gone = "model.layers.1.self_attn.v_proj.weight"
    packed_folder(folder, gone)
    assert [finding.got for finding in lint(folder) if finding.rule == "missing-weights"] == [gone]


def test_lint_quantised_folder_with_every_matrix_lacks_none(sound: Sound, tmp_path: Path):
    folder = Path(shutil.copytree(sound("llama"), tmp_path / "m"))
    packed_folder(folder)
    assert set(named(lint(folder))) <= {"quantised-unchecked"}


def test_lint_name_that_cannot_be_printed_is_told(sound: Sound, tmp_path: Path):
    folder = Path(shutil.copytree(sound("llama"), tmp_path / "m"))
    changes.settings(folder / "config.json", architectures=["Llama\ud800"])
    assert all(str(finding).encode() for finding in lint(folder))
    assert "not-causal" in named(lint(folder))


@pytest.mark.slow
def test_difference_of_what_save_pretrained_writes_is_none_for_every_architecture():
    """Of every causal language model of transformers whose default config builds one."""
    built, odd = 0, []
    for kind in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        try:
            config = AutoConfig.for_model(kind).to_dict() | {"model_type": kind}
            model = skeleton.build(config, str(skeleton.class_name(config)))
        except Exception:
            continue
        tied, saved = skeleton.ties(model), revert_weight_conversion(model, model.state_dict())
        found = skeleton.difference(
            model, {name: tuple(value.shape) for name, value in saved.items() if name not in tied}
        )
        built, odd = built + 1, odd + ([kind] if found.size or found.renamed else [])
    assert odd == []
    assert built > 150


def test_served_holds_the_usual_architectures_and_no_classifier():
    assert {"LlamaForCausalLM", "Qwen3MoeForCausalLM", "Gemma3ForConditionalGeneration"} <= served()
    assert "LlamaForSequenceClassification" not in served()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_lint_damaged_file_is_never_a_traceback(data: st.DataObject, sound: Sound, tmp_path: Path):
    source, folder = sound("llama-sharded"), tmp_path / "m"
    shutil.copytree(source, folder, dirs_exist_ok=True)
    names = sorted(path.name for path in source.iterdir())
    path = folder / data.draw(st.sampled_from(names))
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, min(len(raw), 4_000) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(raw[: data.draw(st.integers(0, len(raw)))]) if data.draw(st.booleans()) else bytes(raw))
    assert all(isinstance(finding, Finding) for finding in all_of(folder))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES, data=st.data())
def test_lint_any_value_in_a_config_is_never_a_traceback(
    value: object, data: st.DataObject, sound: Sound, tmp_path: Path
):
    source, folder = sound("llama-sharded"), tmp_path / "m"
    shutil.copytree(source, folder, dirs_exist_ok=True)
    name = data.draw(st.sampled_from(["config.json", "model.safetensors.index.json", "generation_config.json"]))
    content = json.loads((folder / name).read_text())
    content[data.draw(st.sampled_from(sorted(content)))] = value
    (folder / name).write_text(json.dumps(content))
    assert all(isinstance(finding, Finding) for finding in all_of(folder))
