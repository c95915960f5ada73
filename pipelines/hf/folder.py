"""What a model folder must have before anything is loaded from it, read with the standard library alone."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import Problem, UserError, wrong
from pipelines.hf.safetensors import read_header, tensor_map, weight_files

CONFIG, GENERATION, CARD = "config.json", "generation_config.json", "README.md"
TOKENIZER, TOKENIZER_CONFIG, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
TOKENIZER_FILES = (
    TOKENIZER, TOKENIZER_CONFIG, TEMPLATE, "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
    "tokenizer.model",
)  # fmt: skip
CHECKPOINTS = "checkpoints"
"""Folder inside what a training run made: the weights of earlier steps, as step-000040 and so on."""
LICENCE_FILES = re.compile(r"(licen[cs]e|notice|copying|use_policy)(\W.*)?$", re.IGNORECASE)
_POSITIONS = ("max_position_embeddings", "n_positions")
DTYPE_NAMES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "F64": "float64"}


def problems(folder: Path) -> list[Problem]:
    """Everything that makes a folder unfit as a model, without loading it; empty for a sound one."""
    where = str(folder)
    if not folder.is_dir():
        return [Problem(where, "is not a folder" if folder.exists() else "does not exist", "", "Name a model folder")]
    if (folder / "adapter_config.json").is_file() and not (folder / CONFIG).is_file():
        return [Problem(where, "is an adapter, not a model", "", "Where adapters are merged write adapter: for path:")]
    checks = (_config_problems, _tokenizer_problems, _weight_problems, _template_problems)
    found = [problem for check in checks for problem in _told(check, folder)]
    return found or _told(_special_problems, folder)


def _told(check: Callable[[Path], list[Problem]], folder: Path) -> list[Problem]:
    try:
        return check(folder)
    except UserError as error:
        return list(error.problems)


def require_sound(folder: Path) -> None:
    """UserError with every problem of the folder, if there is one."""
    if found := problems(folder):
        raise UserError(*found)


def _config_problems(folder: Path) -> list[Problem]:
    config, where = read_json(folder / CONFIG), str(folder / CONFIG)
    found = []
    if not config.get("model_type"):
        found.append(Problem(where, "names no model_type", "", "Name the folder that save_pretrained wrote"))
    if config.get("is_encoder_decoder"):
        found.append(Problem(where, "is an encoder-decoder model", "", "Use a causal language model"))
    if "auto_map" in config:
        found.append(
            Problem(where, "asks to run code of its own (auto_map)", "", "Use a model that transformers knows")
        )
    if quantised := config.get("quantization_config"):
        method = str(quantised.get("quant_method", "unknown"))
        found.append(Problem(where, "holds quantised weights", method, "Use the unquantised model"))
    return found


def _tokenizer_problems(folder: Path) -> list[Problem]:
    where = str(folder)
    if not (folder / TOKENIZER).is_file():
        other = [name for name in ("tokenizer.model", "vocab.json") if (folder / name).is_file()]
        fix = "Load it with AutoTokenizer and save it here with save_pretrained, which writes tokenizer.json"
        return [Problem(where, "has no tokenizer.json", f"only {other[0]}" if other else "", fix)]
    vocabulary = vocabulary_of(folder)
    if not vocabulary:
        return [Problem(str(folder / TOKENIZER), "has an empty vocabulary", "", "Save the tokenizer again")]
    settings = read_json(folder / TOKENIZER_CONFIG)
    found = []
    if "auto_map" in settings:
        fix = "Use a tokenizer that transformers knows"
        found.append(Problem(str(folder / TOKENIZER_CONFIG), "asks to run code of its own (auto_map)", "", fix))
    for name in ("bos_token", "eos_token", "pad_token"):
        token = token_text(settings.get(name))
        if token is not None and token not in vocabulary:
            found.append(Problem(where, f"the tokenizer's {name} is not in its vocabulary", token, "Save it again"))
    return found


def _weight_problems(folder: Path) -> list[Problem]:
    """One problem for each file that cannot be read, so that all are known at once."""
    found: list[Problem] = []
    for file in weight_files(folder):
        try:
            read_header(file)
        except UserError as error:
            found += error.problems
    if not found:
        tensor_map(folder)
    return found


def _template_problems(folder: Path) -> list[Problem]:
    chat_template(folder)
    return []


def _special_problems(folder: Path) -> list[Problem]:
    """Special ids and tokenizer against the rows of the embedding."""
    rows, largest = vocabulary_size(folder), max(vocabulary_of(folder).values())
    found = []
    if largest >= rows:
        what = f"the tokenizer has ids up to {largest}, the model rows for {rows}"
        found.append(Problem(str(folder), what, "", "Use the tokenizer that belongs to the model"))
    for name in (CONFIG, GENERATION):
        settings = read_json(folder / name) if (folder / name).is_file() else {}
        for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
            for token in id_list(settings.get(key)):
                if not 0 <= token < rows:
                    found.append(
                        Problem(str(folder / name), f"{key} is outside the vocabulary", str(token), "Correct it")
                    )
    return found


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. UserError where the file is missing or is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise wrong(str(path.parent), f"has no {path.name}", "", "Name the folder that save_pretrained wrote") from None
    except ValueError as error:
        raise wrong(str(path), "is not JSON", str(error), "Download or save the file again") from error
    if not isinstance(value, dict):
        raise wrong(str(path), "is not a JSON object", type(value).__name__, "Download or save the file again")
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object as the files of models are written."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def positions(config: Mapping[str, Any]) -> int | None:
    """The longest sequence that a model takes, in tokens, where its config says so."""
    known = [part[name] for part in (config, config.get("text_config") or {}) for name in _POSITIONS if part.get(name)]
    return int(known[0]) if known else None


def vocabulary_of(folder: Path) -> dict[str, int]:
    """Id by token, added tokens included, from `tokenizer.json`."""
    content = read_json(folder / TOKENIZER)
    vocabulary = content.get("model", {}).get("vocab") or {}
    tokens = dict(vocabulary) if isinstance(vocabulary, dict) else {row[0]: at for at, row in enumerate(vocabulary)}
    return tokens | {entry["content"]: entry["id"] for entry in content.get("added_tokens") or []}


def vocabulary_size(folder: Path) -> int:
    """Rows of the embedding, as the config says. UserError where it does not."""
    config = read_json(folder / CONFIG)
    size = config.get("vocab_size", (config.get("text_config") or {}).get("vocab_size"))
    if not isinstance(size, int):
        raise wrong(str(folder / CONFIG), "names no vocab_size", "", "Name the folder that save_pretrained wrote")
    return size


def chat_template(folder: Path) -> str | None:
    """The chat template: `chat_template.jinja`, else the one (or the default one) in `tokenizer_config.json`."""
    if (folder / TEMPLATE).is_file():
        return (folder / TEMPLATE).read_bytes().decode("utf-8")
    inline: Any = read_json(folder / TOKENIZER_CONFIG).get("chat_template")
    if isinstance(inline, list):
        named = {entry["name"]: entry["template"] for entry in inline}
        if "default" not in named:
            raise wrong(str(folder), "has several chat templates and no default", ", ".join(named), f"Add {TEMPLATE}")
        inline = named["default"]
    return inline if isinstance(inline, str) else None


def token_text(value: Any) -> str | None:
    """The text of a special token as tokenizer_config.json holds it: a string, or an object with its content."""
    text = value["content"] if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def id_list(value: Any) -> list[int]:
    """Token ids as a list: configs hold one number, a list, or nothing."""
    return [] if value is None else [value] if isinstance(value, int) else list(value)


def companions(folder: Path) -> list[Path]:
    """The files that travel with weights unchanged: tokenizer and licence."""
    names = {path.name: path for path in folder.iterdir() if path.is_file()}
    return [path for name, path in sorted(names.items()) if name in TOKENIZER_FILES or LICENCE_FILES.match(name)]


def licence_of(folder: Path) -> str | None:
    """The licence that the model card's front matter states."""
    card = folder / CARD
    head = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    front = re.match(r"---\n(.*?)\n---", head.replace("\r\n", "\n"), re.DOTALL)
    stated = re.search(r"^license:\s*['\"]?([\w.+-]+)", front[1], re.MULTILINE) if front else None
    return _SPDX.get(stated[1].lower(), stated[1]) if stated else None


_SPDX = {"apache-2.0": "Apache-2.0", "mit": "MIT", "bsd-3-clause": "BSD-3-Clause", "cc-by-4.0": "CC-BY-4.0"}


def describe(folder: Path) -> dict[str, Any]:
    """Facts of a sound folder: architecture, parameters, dtype, vocabulary, template_sha256, special ids, licence."""
    config, settings, vocabulary = (
        read_json(folder / CONFIG),
        read_json(folder / TOKENIZER_CONFIG),
        vocabulary_of(folder),
    )
    tensors = [place.info for place in tensor_map(folder).values()]
    elements = Counter[str]()
    for info in tensors:
        elements[info.dtype] += info.elements
    template = chat_template(folder)
    generation = read_json(folder / GENERATION) if (folder / GENERATION).is_file() else {}
    tokens = {name: token_text(settings.get(f"{name}_token")) for name in ("bos", "eos", "pad")}
    special = {name: vocabulary[token] for name, token in tokens.items() if token is not None}
    main = elements.most_common(1)[0][0]
    return {
        "architecture": (config.get("architectures") or [config["model_type"]])[0],
        "parameters": sum(elements.values()),
        "dtype": DTYPE_NAMES.get(main, main),
        "vocabulary": vocabulary_size(folder),
        "template_sha256": hashlib.sha256(template.encode()).hexdigest() if template is not None else None,
        "special": special | {"stop": id_list(generation.get("eos_token_id"))},
        "licence": licence_of(folder),
    }
