"""What is merged into what, told from configs, tokenizers and headers alone; all that does not fit is said at once."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pipelines.engine.stage import Artifact
from pipelines.errors import Problem, UserError, few
from pipelines.hf.folder import CONFIG, TOKENIZER, chat_template, read_json
from pipelines.hf.rewrite import CODES
from pipelines.hf.shards import Weights, open_folder
from pipelines.merge.adapters.adapter import Adapter
from pipelines.merge.adapters.open_adapter import open_adapter
from pipelines.merge.schedule import depth_of, layer_of, value_at
from pipelines.merge.tied import embedding_name, head_name, is_tied, tie_flag
from pipelines.merge.tuned import Tuned

T = TypeVar("T")
Source = Tuned | Adapter

MERGED = ("F32", "F16", "BF16")
"""Types that are merged; tensors of any other must be the same in all models."""
_HARMLESS = {
    "_attn_implementation", "_name_or_path", "architectures", "attention_dropout", "attn_pdrop", "dtype", "embd_pdrop",
    "id2label", "initializer_range", "keys_to_ignore_at_inference", "label2id", "max_position_embeddings",
    "max_window_layers", "output_attentions", "output_hidden_states", "output_router_logits", "pretraining_tp",
    "problem_type", "resid_pdrop",
    "return_dict", "rope_scaling", "rope_theta", "router_aux_loss_coef", "tie_word_embeddings", "torch_dtype",
    "transformers_version", "use_cache",
}  # fmt: skip
_SAME_BASE = "Merge models that were tuned from one base"


class Plan(NamedTuple):
    """A merge that is possible.

    `weights` may be schedules over the `layers` of the model. `dtypes` holds the tensors whose stored type changes.
    `canonical` maps a stored copy of the embedding (a tied head) to the embedding. `notes` are worth a reader's
    attention but no mistakes.
    """

    base: Weights
    base_name: str
    base_folder: Path
    members: tuple[Source, ...]
    weights: tuple[Any, ...]
    layers: int
    dtypes: Mapping[str, str]
    canonical: Mapping[str, str]
    notes: tuple[str, ...]

    def dtype(self, tensor: str) -> str:
        """The type that a tensor is stored in afterwards."""
        return self.dtypes.get(tensor, self.base.info(tensor).dtype)

    def depth(self, tensor: str) -> float:
        """Where in the model a tensor is, from 0 to 1."""
        return depth_of(tensor, self.layers)

    def weights_at(self, tensor: str) -> list[float]:
        """The weights of the members at a tensor."""
        return [value_at(weight, tensor, self.depth(tensor), 1.0) for weight in self.weights]


def plan(base: Artifact, members: Sequence[Artifact], weights: Sequence[Any], dtype: str) -> Plan:
    """Open and compare everything. UserError with all the reasons when it cannot be merged. No weights are read."""
    problems: list[Problem] = []
    config = _attempt(problems, read_json, base.path / CONFIG)
    tensors = _attempt(problems, open_folder, base.path)
    if config is None or tensors is None:
        raise UserError(*problems)
    problems += _quantised(base.name, config)
    shared = _shared(config, tensors)
    opened: list[Source] = []
    for member in members:
        if member.kind == "adapter":
            source: Source | None = _attempt(
                problems, open_adapter, member.name, member.key, member.path, tensors, frozenset(shared)
            )
        else:
            source = _attempt(problems, _open_tuned, member, base, config, tensors, shared)
        problems += _attempt(problems, _vocabulary_problems, member, base) or []
        opened += [source] if source else []
    if problems:
        raise UserError(*dict.fromkeys(problems))
    for opened_weights in (tensors, *(source.weights for source in opened)):
        opened_weights.map()
    head, embedding = head_name(shared), embedding_name(shared)
    return Plan(
        base=tensors,
        base_name=base.name,
        base_folder=base.path,
        members=tuple(opened),
        weights=tuple(weights),
        layers=1 + max((layer_of(name) or 0 for name in tensors.tensors), default=0),
        dtypes=_dtypes(tensors, dtype),
        canonical={head: embedding} if head and embedding else {},
        notes=tuple(note for member in members for note in _notes(member, base)),
    )


def _attempt(problems: list[Problem], open_: Callable[..., T], *arguments: Any) -> T | None:
    """The opened thing, or None with its problems added."""
    try:
        return open_(*arguments)
    except UserError as error:
        problems.extend(error.problems)
        return None


def _dtypes(tensors: Weights, dtype: str) -> dict[str, str]:
    if dtype == "keep":
        return {}
    return {name: CODES[dtype] for name, place in tensors.tensors.items() if place.info.dtype in MERGED}


def _shared(config: Mapping[str, Any], tensors: Weights) -> set[str]:
    """Names of the tensors that embedding and head share: none, one or, stored twice, two."""
    if not is_tied(config, tensors.tensors):
        return set()
    return {name for name in (embedding_name(tensors.tensors), head_name(tensors.tensors)) if name}


def _open_tuned(
    member: Artifact, base: Artifact, config: Mapping[str, Any], tensors: Weights, shared: set[str]
) -> Tuned:
    """A model and the base compared: config, tensor names, shapes, types, tying."""
    own_config, own = read_json(member.path / CONFIG), open_folder(member.path)
    problems = _quantised(member.name, own_config) + _config_problems(member.name, own_config, base.name, config)
    flags = tie_flag(config), tie_flag(own_config)
    if None not in flags and flags[0] != flags[1]:
        got = f"tie_word_embeddings {flags[1]}, {base.name} has {flags[0]}"
        problems.append(Problem(member.name, "ties its embeddings otherwise than the base", got, "Save both alike"))
    embedding, head = embedding_name(own.tensors), head_name(own.tensors) or head_name(tensors.tensors)
    tied = bool(shared) and is_tied(own_config, own.tensors)
    aliases = {head: embedding} if tied and head and embedding else {}
    wanted, names = set(tensors.tensors) - aliases.keys(), set(own.tensors) - aliases.keys()
    problems += _names_problems(member.name, names, wanted)
    problems += _tensor_problems(member.name, sorted(names & wanted), own, tensors)
    if problems:
        raise UserError(*problems)
    return Tuned(member.name, member.key, own, aliases)


def _quantised(name: str, config: Mapping[str, Any]) -> list[Problem]:
    if "quantization_config" not in config:
        return []
    return [Problem(name, "holds quantised weights, which cannot be averaged", "", "Use the unquantised model")]


def _config_problems(name: str, own: Mapping[str, Any], base_name: str, base: Mapping[str, Any]) -> list[Problem]:
    """Settings that both configs state and that give the same weights another meaning."""
    own, base = _flat(own), _flat(base)
    keys = sorted(key for key in own.keys() & base.keys() if key not in _HARMLESS and not key.endswith("_token_id"))
    return [
        Problem(
            name,
            f"is another architecture than the base: {key}",
            f"{own[key]}, {base_name} has {base[key]}",
            _SAME_BASE,
        )
        for key in keys
        if own[key] != base[key]
    ]


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config with the rotary settings where transformers 5 has them."""
    rope = dict(config.get("rope_parameters") or {})
    if "rope_theta" in config:
        scaling = dict(config.get("rope_scaling") or {})
        kind = scaling.pop("type", "default")
        rope = {"rope_theta": config["rope_theta"], "rope_type": kind} | scaling | rope
    return dict(config) | ({"rope_parameters": rope} if rope else {})


def _names_problems(member: str, names: set[str], wanted: set[str]) -> list[Problem]:
    found = []
    for odd, what in ((sorted(wanted - names), "lacks"), (sorted(names - wanted), "has")):
        if odd:
            text = f"{what} {_tensors(odd)} that the base {'has' if what == 'lacks' else 'lacks'}"
            found.append(Problem(member, text, few(odd), _SAME_BASE))
    return found


def _tensors(odd: Sequence[str]) -> str:
    return f"{len(odd)} tensor{'s' * (len(odd) > 1)}"


def _tensor_problems(member: str, names: Sequence[str], own: Weights, base: Weights) -> list[Problem]:
    """A line for all shapes and one for all types: a model of another size differs in every tensor."""
    shapes, types = [], []
    for name in names:
        ours, theirs = own.info(name), base.info(name)
        if ours.shape != theirs.shape:
            shapes.append(f"{name} {list(ours.shape)}, the base's is {list(theirs.shape)}")
        elif ours.dtype != theirs.dtype and not {ours.dtype, theirs.dtype} <= set(MERGED):
            types.append(f"{name} {ours.dtype}, the base's is {theirs.dtype}")
    found = []
    if shapes:
        found.append(Problem(member, f"has another shape than the base in {_tensors(shapes)}", few(shapes), _SAME_BASE))
    if types:
        what = f"has a type that cannot be merged in {_tensors(types)}"
        found.append(Problem(member, what, few(types), "Save both in bfloat16 or float32"))
    return found


def _vocabulary_problems(member: Artifact, base: Artifact) -> list[Problem]:
    """The same id must mean the same token. A folder without a tokenizer has nothing to compare."""
    own, theirs = member.path / TOKENIZER, base.path / TOKENIZER
    if not own.is_file() or not theirs.is_file() or own.read_bytes() == theirs.read_bytes():
        return []
    parts = [_token_parts(read_json(path)) for path in (own, theirs)]
    different = [key for key in parts[0] if parts[0][key] != parts[1][key]]
    if not different:
        return []
    what = f"has another tokenizer than {base.name}, so its rows stand for other tokens"
    return [Problem(member.name, what, ", ".join(different), "Merge models of one tokenizer")]


def _token_parts(tokenizer: Mapping[str, Any]) -> dict[str, Any]:
    """What gives text its ids; padding, truncation and the flags of added tokens do not."""
    model = tokenizer.get("model") or {}
    return {
        "vocabulary": model.get("vocab"),
        "merges": [" ".join(merge) if isinstance(merge, list) else merge for merge in model.get("merges") or []],
        "added tokens": {entry["id"]: entry["content"] for entry in tokenizer.get("added_tokens") or []},
        "pre-tokenizer": tokenizer.get("pre_tokenizer"),
        "normalizer": tokenizer.get("normalizer"),
    }


def _notes(member: Artifact, base: Artifact) -> list[str]:
    if not (member.path / "tokenizer_config.json").is_file() or not (base.path / "tokenizer_config.json").is_file():
        return []
    if chat_template(member.path) == chat_template(base.path):
        return []
    return [f"{member.name} has another chat template than {base.name}; the merged model gets that of {base.name}"]
