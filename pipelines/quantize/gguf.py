"""An export as one GGUF file for llama.cpp and Ollama, proven by serving it with llama.cpp."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.hf.folder import CONFIG, TOKENIZER, read_json
from pipelines.hf.models import load_tokenizer
from pipelines.hf.shards import require_space
from pipelines.hf.stops import turn_end
from pipelines.quantize.checked import judged
from pipelines.quantize.gguf_folder import findings, ollama, write_folder
from pipelines.quantize.gguf_outside import converted
from pipelines.quantize.gguf_served import Served, added_bos, checked, look
from pipelines.quantize.gguf_words import DECOMPOSED, pre_tokenizer
from pipelines.quantize.made import Made
from pipelines.quantize.mixture import DEFAULTS, Shape, mixture
from pipelines.serving.environments import require
from pipelines.serving.findings import Finding

_BITS = {"F32": 32.0, "F16": 16.0, "Q8_0": 8.5, "Q6_K": 6.5625, "Q5_K": 5.5, "Q4_K": 4.5, "Q5_1": 6.0, "Q5_0": 5.5}


def convert(folder: Path, level: str, out: Path) -> Made:
    """Write the export in `folder` as a GGUF file of `level` into `out`, with what llama.cpp and Ollama need beside it.

    UserError where llama.cpp does not know the model or its tokenizer, or serves something else than the export.
    """
    environment = require("gguf", "formats")
    tokenizer, config = load_tokenizer(folder), read_json(folder / CONFIG)
    out.mkdir(parents=True, exist_ok=True)
    add_bos = opens_with_bos(tokenizer)
    known = {"pre": pre_tokenizer(read_json(folder / TOKENIZER)), "eot": _end_of_turn(tokenizer), "add_bos": add_bos}
    listed = converted(environment, folder, known | {"out": None, "name": "", "file_type": "MOSTLY_F16", "types": {}})
    types = planned(level, listed)
    require_space(out, _bytes(listed["tensors"], types))
    name, kind = f"{config['model_type']}-{_size(listed['tensors'])}", level.removeprefix("gguf_").upper()
    file = out / f"{name}-{kind}.gguf"
    asked = known | {"out": str(file.absolute()), "name": name, "file_type": f"MOSTLY_{kind}", "types": types}
    converted(environment, folder, asked)
    seen = look(environment, file, folder, tokenizer, add_bos)
    held = checked(seen, level, folder, tokenizer)
    warnings = [*judged(seen.distance, level), *told(level, types, seen, add_bos, tokenizer)]
    modelfile = ollama(folder, file, tokenizer, seen.stops, added_bos(seen, tokenizer))
    write_folder(folder, file, modelfile, {check.name: check.saw for check in held}, environment.versions)
    return Made(
        checks=held,
        warnings=[*warnings, *findings(modelfile)],
        kl=seen.distance.kl,
        agreement=seen.distance.agreement,
        tokens_per_second=seen.answer["tokens_per_second"],
        memory_bytes=seen.answer["memory_bytes"],
        environment=dict(environment.versions),
    )


def planned(level: str, listed: Mapping[str, Any]) -> dict[str, str]:
    """The type of each tensor that loses bits; those that the converter keeps in float32 stay so."""
    if level not in DEFAULTS:
        return {name: "F16" for name in listed["tensors"] if name not in listed["kept"]}
    counts = listed["model"]
    model = Shape(
        listed["architecture"],
        counts["expert_count"],
        counts["block_count"],
        counts["attention.head_count"],
        counts["attention.head_count_kv"],
    )
    types = mixture(level, listed["tensors"], model)
    return {name: kind for name, kind in types.items() if name not in listed["kept"]}


def opens_with_bos(tokenizer: Any) -> bool | None:
    """False where the tokenizer opens texts with BOS and its chat template does not; None where they agree.

    llama.cpp opens chats as it opens texts. A chat is what the model was trained on, so the chat decides.
    """
    bos = tokenizer.bos_token_id
    if bos is None or not tokenizer.chat_template or tokenizer("a")["input_ids"][:1] != [bos]:
        return None
    turn = [{"role": "user", "content": "a"}]
    return None if tokenizer.apply_chat_template(turn, tokenize=False).startswith(tokenizer.bos_token) else False


def told(level: str, types: Mapping[str, str], seen: Served, add_bos: bool | None, tokenizer: Any) -> list[Finding]:
    """What holds of the file and may surprise."""
    found = []
    misfits = sum(kind in ("Q5_0", "Q5_1", "F16") for kind in types.values())
    if misfits and level in DEFAULTS:
        what = f"{misfits} of {len(types)} tensors have rows that {DEFAULTS[level]} does not take, and a larger type"
        found.append(Finding("gguf-rows", "W", "formats", what, "", "Nothing need be done; the file is larger"))
    if add_bos is False:
        what = "the tokenizer opens texts with BOS, the chat template does not; the file follows the template"
        found.append(
            Finding("gguf-bos", "W", "tokenizer.json", what, "", "Add BOS yourself to prompts that are no chats")
        )
    if seen.answer["ids"][-1] != tokenizer(DECOMPOSED, add_special_tokens=False)["input_ids"]:
        what = "llama.cpp does not normalise Unicode as the tokenizer does"
        found.append(Finding("gguf-unicode", "W", "tokenizer.json", what, "", "Send text in its composed form, NFC"))
    return found


def _end_of_turn(tokenizer: Any) -> int | None:
    end = turn_end(tokenizer)
    return None if end == tokenizer.eos_token_id else end


def _size(tensors: Mapping[str, list[int]]) -> str:
    """The number of weights, as model names state it: 135M, 1.2B."""
    count = sum(_elements(shape) for shape in tensors.values())
    scale, suffix = next(((scale, suffix) for scale, suffix in ((1e9, "B"), (1e6, "M")) if count >= scale), (1e3, "K"))
    return f"{count / scale:.3g}{suffix}"


def _bytes(tensors: Mapping[str, list[int]], types: Mapping[str, str]) -> int:
    bits = sum(_elements(shape) * _BITS[types.get(name, "F16")] for name, shape in tensors.items())
    return int(bits / 8)


def _elements(shape: list[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
