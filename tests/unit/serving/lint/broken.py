"""Folders broken in one way each: what an export can do wrong, by the name of the rule that refuses or tells it.

The first are those of which it was tried what engines do; `vllm` and `transformers` say it where it is known.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from pipelines.hf.safetensors import INDEX, SINGLE
from pipelines.serving.findings import Severity
from tests.unit.serving.lint.changes import settings

State = dict[str, torch.Tensor]
CONFIG = "config.json"


class Broken(NamedTuple):
    """A way to break a healthy folder: the rule that finds it, on which healthy kind, and what engines do with it."""

    says: str
    rule: str
    severity: Severity
    of: str
    vllm: str
    transformers: str
    make: Callable[[Path], None]


BROKEN: dict[str, Broken] = {}


def breaks(
    rule: str, severity: Severity = "E", of: str = "llama", vllm: str = "", transformers: str = ""
) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """List a builder, which breaks the folder it is given in place, under its own name."""

    def listed(make: Callable[[Path], None]) -> Callable[[Path], None]:
        BROKEN[make.__name__] = Broken(make.__doc__ or "", rule, severity, of, vllm, transformers, make)
        return make

    return listed


def state(folder: Path) -> State:
    return load_file(folder / SINGLE)


def store(folder: Path, tensors: State, name: str = SINGLE) -> None:
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / name, metadata={"format": "pt"})
    (folder / name).chmod(0o644)


def without(folder: Path, *names: str) -> None:
    store(folder, {name: tensor for name, tensor in state(folder).items() if name not in names})


def renamed(folder: Path, name: Callable[[str], str]) -> None:
    store(folder, {name(key): value for key, value in state(folder).items()})


def fill(folder: Path, name: str, value: float) -> None:
    tensors = state(folder)
    tensors[name].fill_(value)
    store(folder, tensors)


def index(folder: Path, weight_map: dict[str, str], total: int | None = None) -> None:
    content = json.loads((folder / INDEX).read_text())
    content["weight_map"] = weight_map
    if total is not None:
        content["metadata"]["total_size"] = total
    (folder / INDEX).write_text(json.dumps(content))


def weight_map(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / INDEX).read_text())["weight_map"]
    return found


def with_header(path: Path, change: Callable[[dict[str, dict[str, list[int]]]], None]) -> None:
    """The same data behind a changed header."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])


def adapter(folder: Path) -> None:
    """An adapter to the model of a folder, in place of the model."""
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder), LoraConfig(target_modules=["q_proj"]))
    shutil.rmtree(folder)
    model.save_pretrained(folder, save_embedding_layers=False)
    for file in folder.iterdir():
        file.chmod(0o644)


# What engines do with these was tried.


@breaks("missing-weights", vllm="serves uninitialised memory", transformers="random weights and a warning")
def linear_missing(folder: Path) -> None:
    """A Linear weight is in no file."""
    without(folder, "model.layers.1.self_attn.o_proj.weight")


@breaks("missing-weights", vllm="serves uninitialised memory", transformers="random weights and a warning")
def embedding_missing(folder: Path) -> None:
    """The embedding is in no file."""
    without(folder, "model.embed_tokens.weight")


@breaks("no-head", vllm="serves NaN: always token 0", transformers="random weights and a warning")
def head_missing(folder: Path) -> None:
    """The head is in no file, and the config does not tie it to the embedding."""
    without(folder, "lm_head.weight")


@breaks("missing-weights", vllm="does not start", transformers="ones and a warning")
def norm_missing(folder: Path) -> None:
    """The weight of a norm is in no file."""
    without(folder, "model.norm.weight")


@breaks("two-weight-sets", of="llama-sharded", vllm="serves the old shards", transformers="serves the new file")
def stale_shards(folder: Path) -> None:
    """New weights were saved as one file beside the shards and the index of the old ones."""
    tensors: State = {}
    for name in set(weight_map(folder).values()):
        tensors |= load_file(folder / name)
    store(folder, {name: tensor + 1 for name, tensor in tensors.items()})


@breaks("tied-head-differs", of="llama-tied", vllm="ignores the head", transformers="ignores the head")
def head_tied_and_trained(folder: Path) -> None:
    """The config ties the head to the embedding, and the files hold another head."""
    tensors = state(folder)
    store(folder, tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"] + 1})


@breaks("not-finite", vllm="serves token 0", transformers="NaN")
def nan_weight(folder: Path) -> None:
    """One value of a weight is NaN."""
    tensors = state(folder)
    tensors["model.layers.0.mlp.up_proj.weight"][3, 5] = float("nan")
    store(folder, tensors)


@breaks("tokenizer-too-big", vllm="loads, and fails on the first such token", transformers="an index error on use")
def tokens_without_rows(folder: Path) -> None:
    """Tokens were added to the tokenizer, and the embedding has no rows for them."""
    content = json.loads((folder / "tokenizer.json").read_text())
    first = max(content["model"]["vocab"].values()) + 1
    template = dict(content["added_tokens"][0])
    content["added_tokens"] += [template | {"id": first + i, "content": f"<|new{i}|>"} for i in range(200)]
    (folder / "tokenizer.json").write_text(json.dumps(content))


@breaks("wrapper-prefix", vllm="does not start", transformers="loads random weights")
def adapter_prefix(folder: Path) -> None:
    """Every tensor has the prefix that PEFT gives the model it wraps."""
    renamed(folder, lambda name: f"base_model.model.{name}")


@breaks("extra-weights", vllm="does not start", transformers="a warning")
def unknown_tensor(folder: Path) -> None:
    """A tensor is in the files that no module has."""
    store(folder, state(folder) | {"model.layers.0.mlp.extra.weight": torch.ones(4, 4)})


@breaks("vocab-size", vllm="fails with a bare AssertionError", transformers="does not load")
def vocabulary_too_small(folder: Path) -> None:
    """vocab_size is less than the rows of the embedding."""
    settings(folder / CONFIG, vocab_size=len(state(folder)["model.embed_tokens.weight"]) - 8)


@breaks("leftover-quantization", vllm="does not start", transformers="does not load")
def bitsandbytes_left(folder: Path) -> None:
    """The quantization_config of the training run is left on plain weights."""
    settings(folder / CONFIG, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})


@breaks("missing-shard", of="llama-sharded", vllm="does not start", transformers="does not load")
def shard_missing(folder: Path) -> None:
    """A shard that the index names is not there."""
    (folder / sorted(weight_map(folder).values())[0]).unlink()


@breaks("peft-architecture", vllm="does not start", transformers="loads")
def peft_architecture(folder: Path) -> None:
    """The config names PEFT's class as the architecture."""
    settings(folder / CONFIG, architectures=["PeftModelForCausalLM"])


@breaks("adapter-as-model", vllm="does not start", transformers="loads the base that the adapter names")
def adapter_given_as_model(folder: Path) -> None:
    """The folder is that of an adapter."""
    adapter(folder)


@breaks("no-tokenizer", vllm="does not start", transformers="loads the model")
def tokenizer_missing(folder: Path) -> None:
    """There is no tokenizer."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


@breaks("no-chat-template", "W", vllm="answers chats with HTTP 400", transformers="loads")
def template_missing(folder: Path) -> None:
    """There is no chat template."""
    (folder / "chat_template.jinja").unlink()
    settings(folder / "tokenizer_config.json", drop=["chat_template"])


@breaks("no-generation-config", "W", vllm="samples at temperature 1.0", transformers="loads")
def generation_config_missing(folder: Path) -> None:
    """There is no generation_config.json."""
    (folder / "generation_config.json").unlink()


@breaks("pickled-weights", vllm="loads", transformers="loads")
def only_pickles(folder: Path) -> None:
    """The weights are in pytorch_model.bin alone."""
    torch.save(state(folder), folder / "pytorch_model.bin")
    (folder / SINGLE).unlink()


@breaks("no-architectures", "W", vllm="loads", transformers="loads")
def architectures_missing(folder: Path) -> None:
    """The config names no architecture."""
    settings(folder / CONFIG, drop=["architectures"])


@breaks("mixed-types", "W", vllm="loads", transformers="loads")
def mixed_types(folder: Path) -> None:
    """One matrix has another type than the others."""
    tensors, name = state(folder), "model.layers.0.mlp.up_proj.weight"
    store(folder, tensors | {name: tensors[name].to(torch.float16)})


# Of our own: files.


@breaks("weights-broken")
def truncated(folder: Path) -> None:
    """The weight file was cut short."""
    os.truncate(folder / SINGLE, (folder / SINGLE).stat().st_size - 100)


@breaks("weights-broken")
def overlong(folder: Path) -> None:
    """The weight file has more bytes than its header says."""
    with (folder / SINGLE).open("ab") as file:
        file.write(b"\0" * 64)


@breaks("weights-broken")
def empty_file(folder: Path) -> None:
    """The weight file is empty."""
    os.truncate(folder / SINGLE, 0)


@breaks("weights-broken")
def pointer_file(folder: Path) -> None:
    """The weight file is the pointer that git-lfs leaves in its place."""
    (folder / SINGLE).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1234\n")


@breaks("weights-broken")
def overlapping_tensors(folder: Path) -> None:
    """Two tensors of a file share bytes."""

    def overlap(header: dict[str, dict[str, list[int]]]) -> None:
        first, second = (header[f"model.layers.{layer}.mlp.up_proj.weight"] for layer in (0, 1))
        second["data_offsets"] = first["data_offsets"]

    with_header(folder / SINGLE, overlap)


@breaks("weights-broken")
def size_not_of_shape(folder: Path) -> None:
    """A header gives a tensor another shape than it has bytes for."""

    def reshape(header: dict[str, dict[str, list[int]]]) -> None:
        header["model.norm.weight"]["shape"] = [7]

    with_header(folder / SINGLE, reshape)


@breaks("duplicate-tensors", of="llama-sharded")
def tensor_twice(folder: Path) -> None:
    """Two shards hold a tensor of the same name."""
    first, last = sorted(set(weight_map(folder).values()))[:: len(set(weight_map(folder).values())) - 1]
    held = load_file(folder / first)
    store(folder, load_file(folder / last) | dict([next(iter(held.items()))]), last)


@breaks("index-disagrees", of="llama-sharded")
def index_points_elsewhere(folder: Path) -> None:
    """The index says of a tensor that it is in another shard than it is."""
    places = weight_map(folder)
    names = sorted(places)
    places[names[0]] = next(file for file in places.values() if file != places[names[0]])
    index(folder, places)


@breaks("total-size", "W", of="llama-sharded")
def total_size_wrong(folder: Path) -> None:
    """total_size of the index is not the size of the tensors."""
    index(folder, weight_map(folder), total=1)


@breaks("index-broken", of="llama-sharded")
def index_cut(folder: Path) -> None:
    """The index was cut short."""
    text = (folder / INDEX).read_text()
    (folder / INDEX).write_text(text[: len(text) // 2])


@breaks("no-index", of="llama-sharded")
def index_missing(folder: Path) -> None:
    """There are shards and no index."""
    (folder / INDEX).unlink()


@breaks("two-weight-sets")
def consolidated_beside(folder: Path) -> None:
    """The weights of the base are there too, in the file that Mistral's own tools read."""
    store(folder, state(folder), "consolidated.safetensors")


@breaks("two-weight-sets")
def backup_beside(folder: Path) -> None:
    """Another safetensors file lies beside the weights."""
    store(folder, state(folder), "model_before.safetensors")


@breaks("adapter-beside")
def adapter_beside(folder: Path) -> None:
    """The adapter that was merged lies beside the model."""
    copy = Path(shutil.copytree(folder, folder.parent / f"{folder.name}-adapter"))
    adapter(copy)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(copy / name, folder)
    shutil.rmtree(copy)


@breaks("private-files")
def private_file(folder: Path) -> None:
    """Only the owner may read the weights: so does safetensors write them."""
    (folder / SINGLE).chmod(0o600)


@breaks("dangling-link")
def dangling_link(folder: Path) -> None:
    """The weights are a link to a cache that is not there."""
    (folder / SINGLE).unlink()
    (folder / SINGLE).symlink_to("../blobs/0123456789abcdef")


@breaks("no-weights")
def weights_missing(folder: Path) -> None:
    """There are no weights."""
    (folder / SINGLE).unlink()


@breaks("pickles-beside", "W")
def pickles_beside(folder: Path) -> None:
    """The weights lie there a second time as a pickle."""
    torch.save(state(folder), folder / "pytorch_model.bin")


@breaks("training-leftovers", "W")
def optimizer_beside(folder: Path) -> None:
    """The state of the optimizer lies beside the weights."""
    torch.save({}, folder / "optimizer.pt")


@breaks("partial-files", "W")
def download_unfinished(folder: Path) -> None:
    """A download into the folder did not end."""
    (folder / "model-00002-of-00002.safetensors.incomplete").write_bytes(b"\0" * 10)


@breaks("no-licence", "W")
def licence_missing(folder: Path) -> None:
    """No licence is stated."""
    (folder / "README.md").write_text("# Pico\n")


@breaks("large-shard", "W")
def large_shard(folder: Path) -> None:
    """A single file has more than 50 GB."""
    os.truncate(folder / SINGLE, 50_000_000_001)


@breaks("weights-broken")
def pointer_of_git_lfs(folder: Path) -> None:
    """The repository was cloned without Git LFS."""
    (folder / SINGLE).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 90248\n")


# Of our own: names and shapes.


@breaks("peft-leftovers")
def adapter_not_merged(folder: Path) -> None:
    """The model was saved with its adapter's modules in it."""
    tensors, name = state(folder), "model.layers.0.self_attn.q_proj"
    moved = {f"{name}.base_layer.weight": tensors.pop(f"{name}.weight"), f"{name}.lora_A.default.weight": torch.ones(2)}
    store(folder, tensors | moved)


@breaks("wrapper-prefix")
def compiled_prefix(folder: Path) -> None:
    """Every tensor has the prefix of torch.compile."""
    renamed(folder, lambda name: f"_orig_mod.{name}")


@breaks("no-prefix", of="llama-tied")
def inner_model_saved(folder: Path) -> None:
    """The model inside the language model was saved, so that every name lacks its first part."""
    renamed(folder, lambda name: name.removeprefix("model."))


@breaks("missing-weights")
def layer_missing(folder: Path) -> None:
    """The config names more layers than the files hold."""
    settings(folder / CONFIG, num_hidden_layers=3, layer_types=None)


@breaks("extra-weights")
def layer_too_many(folder: Path) -> None:
    """The config names fewer layers than the files hold."""
    settings(folder / CONFIG, num_hidden_layers=1, layer_types=None)


@breaks("weight-shapes")
def width_wrong(folder: Path) -> None:
    """intermediate_size is not that of the weights."""
    settings(folder / CONFIG, intermediate_size=48)


@breaks("weight-shapes")
def transposed(folder: Path) -> None:
    """A weight was saved transposed."""
    tensors, name = state(folder), "model.layers.0.mlp.up_proj.weight"
    store(folder, tensors | {name: tensors[name].T})


@breaks("missing-weights", of="mixtral")
def expert_missing(folder: Path) -> None:
    """One matrix of one expert is in no file."""
    name = next(name for name in sorted(state(folder)) if ".experts.2." in name)
    without(folder, name)


@breaks("missing-weights", of="deepseek-v3")
def shared_expert_missing(folder: Path) -> None:
    """The shared expert of a layer is in no file."""
    without(folder, *(name for name in state(folder) if ".shared_experts." in name))


@breaks("missing-weights", of="qwen3-moe")
def router_missing(folder: Path) -> None:
    """The router of a layer is in no file."""
    without(folder, "model.layers.0.mlp.gate.weight")


@breaks("router-unnamed", of="deepseek-v3")
def router_unnamed(folder: Path) -> None:
    """The config of a DeepSeek-V3 does not say how its experts are chosen, as save_pretrained of transformers 5."""
    content = json.loads((folder / CONFIG).read_text())
    for key in ("topk_method", "scoring_func"):
        del content[key]
    (folder / CONFIG).write_text(json.dumps(content))


@breaks("no-quantization-config")
def quantised_without_config(folder: Path) -> None:
    """Weights are packed, and the config does not say how."""
    tensors, name = state(folder), "model.layers.0.mlp.up_proj"
    packed = {f"{name}.qweight": torch.ones(4, 4, dtype=torch.int32), f"{name}.scales": torch.ones(4)}
    tensors.pop(f"{name}.weight")
    store(folder, tensors | packed)


@breaks("no-quantization-config")
def integers_without_config(folder: Path) -> None:
    """A weight holds integers, and the config does not say what they stand for."""
    tensors, name = state(folder), "model.layers.0.mlp.up_proj.weight"
    store(folder, tensors | {name: torch.ones(tensors[name].shape, dtype=torch.int8)})


# Of our own: the config.


@breaks("architecture-differs")
def architecture_of_another_type(folder: Path) -> None:
    """The config names the class of another model_type, whose weights have the same names and other norms."""
    settings(folder / CONFIG, architectures=["GemmaForCausalLM"])


@breaks("no-config")
def config_missing(folder: Path) -> None:
    """There is no config.json."""
    (folder / CONFIG).unlink()


@breaks("unreadable-file")
def config_cut(folder: Path) -> None:
    """config.json was cut short."""
    (folder / CONFIG).write_text((folder / CONFIG).read_text()[:200])


@breaks("unreadable-file")
def config_is_a_list(folder: Path) -> None:
    """config.json holds a list."""
    (folder / CONFIG).write_text("[1, 2]")


@breaks("no-model-type")
def model_type_missing(folder: Path) -> None:
    """The config names no model_type."""
    settings(folder / CONFIG, drop=["model_type"])


@breaks("unknown-model-type")
def model_type_unknown(folder: Path) -> None:
    """The config names a model_type that transformers does not know."""
    settings(folder / CONFIG, model_type="llama9")


@breaks("not-causal")
def inner_architecture(folder: Path) -> None:
    """The config names the model inside the language model, which generates no text."""
    settings(folder / CONFIG, architectures=["LlamaModel"])


@breaks("not-causal")
def classifier(folder: Path) -> None:
    """The config names a classifier."""
    settings(folder / CONFIG, architectures=["LlamaForSequenceClassification"])


@breaks("not-causal")
def encoder_decoder(folder: Path) -> None:
    """The config is that of an encoder-decoder model."""
    settings(folder / CONFIG, is_encoder_decoder=True)


@breaks("remote-code")
def code_of_its_own(folder: Path) -> None:
    """The model is known to the code in its own folder alone."""
    settings(folder / CONFIG, model_type="own", auto_map={"AutoModelForCausalLM": "modeling_own.OwnForCausalLM"})


@breaks("remote-code", "W")
def code_not_needed(folder: Path) -> None:
    """The config asks to run code of its own for a model that transformers knows."""
    settings(folder / CONFIG, auto_map={"AutoModelForCausalLM": "modeling_own.OwnForCausalLM"})


@breaks("sizes")
def heads_do_not_divide(folder: Path) -> None:
    """hidden_size is no multiple of the number of heads."""
    settings(folder / CONFIG, drop=["head_dim"], num_attention_heads=5)


@breaks("sizes")
def groups_do_not_divide(folder: Path) -> None:
    """The number of heads is no multiple of that of key-value heads."""
    settings(folder / CONFIG, num_key_value_heads=3)


@breaks("sizes")
def absurd_layers(folder: Path) -> None:
    """The config names a billion layers."""
    settings(folder / CONFIG, num_hidden_layers=1_000_000_000)


@breaks("config-unbuildable")
def wrong_kind_of_value(folder: Path) -> None:
    """hidden_size is a word."""
    settings(folder / CONFIG, hidden_size="large")


@breaks("config-unbuildable")
def unknown_activation(folder: Path) -> None:
    """The config names an activation that there is not."""
    settings(folder / CONFIG, hidden_act="sliu")


@breaks("tie-flags", of="gemma3-wrapped")
def tie_flags_disagree(folder: Path) -> None:
    """The config ties the head to the embedding, and its text_config does not."""
    text = json.loads((folder / CONFIG).read_text())["text_config"]
    settings(folder / CONFIG, tie_word_embeddings=True, text_config=text | {"tie_word_embeddings": False})


@breaks("no-max-length", "W")
def length_missing(folder: Path) -> None:
    """The config names no longest sequence."""
    settings(folder / CONFIG, drop=["max_position_embeddings"])


@breaks("max-length", "W")
def length_absurd(folder: Path) -> None:
    """The longest sequence is 10**30 tokens."""
    settings(folder / CONFIG, max_position_embeddings=10**30)


# Of our own: values.


@breaks("not-finite")
def infinite_weight(folder: Path) -> None:
    """One value of a weight is infinite."""
    tensors = state(folder)
    tensors["model.norm.weight"][0] = float("inf")
    store(folder, tensors)


@breaks("exploded-weights")
def exploded_weight(folder: Path) -> None:
    """A weight holds values that only bytes read as another type have."""
    fill(folder, "model.layers.0.mlp.up_proj.weight", 1e30)


@breaks("zero-weights")
def zero_embedding(folder: Path) -> None:
    """The embedding is all zero."""
    fill(folder, "model.embed_tokens.weight", 0)


@breaks("zero-outputs", "W")
def zero_block(folder: Path) -> None:
    """What a block adds is all zero, as in one that was added and never trained."""
    fill(folder, "model.layers.1.mlp.down_proj.weight", 0)


@breaks("float16-overflow", "W")
def float16_overflow(folder: Path) -> None:
    """A weight holds values that float16 has not."""
    tensors = state(folder)
    tensors["model.layers.0.mlp.up_proj.weight"][0, 0] = 1e5
    store(folder, tensors)


@breaks("float32-weights", "W")
def float32_weights(folder: Path) -> None:
    """The weights are in float32."""
    store(folder, {name: tensor.float() for name, tensor in state(folder).items()})
