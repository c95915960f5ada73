"""An export at a level: made, checked against the export, and served where that is asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.engine.stage import Inputs
from pipelines.errors import wrong
from pipelines.hf.folder import describe, vocabulary_size, write_json
from pipelines.hf.models import load_tokenizer
from pipelines.quantize import beside, checked, compressed, rows, schemes, served
from pipelines.quantize.config import CALIBRATED, GGUF, QuantizeConfig
from pipelines.quantize.gguf import convert
from pipelines.quantize.made import Made
from pipelines.serving.environments import require
from pipelines.serving.findings import Check, below, require_none, verification, warnings
from pipelines.serving.lint.folder import lint
from pipelines.serving.look.parity import folder_logits, prompt_ids

_WHERE = "formats"
Maker = Callable[[QuantizeConfig, Inputs, Path, Path], Made]


def run(config: QuantizeConfig, inputs: Inputs, out_dir: Path) -> dict[str, Any]:
    """Fill `out_dir/<level>` and write verification.json; the metrics of a quantisation.

    UserError where it cannot be made, or is not the export's model any more.
    """
    export = inputs[config.export]
    folder, out = export.path / str(export.metrics["folder"]), out_dir / config.level
    out.mkdir()
    made = MAKERS[config.level](config, inputs, folder, out)
    made = made._replace(warnings=[below(finding, out_dir) for finding in made.warnings])
    write_json(out_dir / "verification.json", verification(made.checks, made.warnings))
    return metrics(folder, out, made)


def metrics(folder: Path, out: Path, made: Made) -> dict[str, Any]:
    """Sizes are of the files; bits are of the weight files over the parameters of the export."""
    files = [path for path in sorted(out.iterdir()) if path.is_file()]
    weights = sum(path.stat().st_size for path in files if path.suffix in (".safetensors", ".gguf"))
    return {
        "folder": out.name,
        "level": out.name,
        "bytes": sum(path.stat().st_size for path in files),
        "files": len(files),
        "bits_per_weight": 8 * weights / describe(folder)["parameters"],
        "kl": made.kl,
        "agreement": made.agreement,
        "tokens_per_second": made.tokens_per_second,
        "memory_bytes": made.memory_bytes,
        "environment": dict(made.environment),
    }


def _compressed(config: QuantizeConfig, inputs: Inputs, folder: Path, out: Path) -> Made:
    """By llm-compressor, in compressed-tensors: made, then compared as it is read back in a fresh process."""
    maker, dtype = require("llmcompressor", _WHERE), compressed.shipped_dtype(folder)
    ids = _rows(config, inputs, folder)
    facts = compressed.quantize(maker, folder, config.level, ids, config.seed, out)
    prompts = prompt_ids(load_tokenizer(folder))
    logits = checked.compressed_logits(maker, out, prompts)
    apart = checked.distance(folder_logits(folder, prompts, describe(folder)["dtype"]), logits)
    told = [*checked.judged(apart, config.level), *rows.remarks(ids, config.rows, facts.columns)]
    checks = [Check("modules quantised", f"{facts.layers}"), *_near(apart)]
    require_none(lint(out, beside=False))
    engine = require("vllm", _WHERE) if config.serve else None
    seen = served.serve(engine, out, dtype, prompts, logits, apart.kl) if engine else served.NOT
    versions = dict(maker.versions)
    if engine:  # the other packages are of other versions there
        versions |= {name: known for name, known in engine.versions.items() if name.startswith("vllm")}
    beside.say(
        folder,
        out,
        f"{config.export} {config.level}",
        dtype,
        _done(config, facts, ids),
        versions,
        [*checks, *seen.checks],
    )
    told += warnings(lint(out))
    return Made([*checks, *seen.checks], told, apart.kl, apart.agreement, *seen[1:], versions)


def _rows(config: QuantizeConfig, inputs: Inputs, folder: Path) -> list[list[int]]:
    """The rows that a level looks at; none for those that look at none."""
    if config.level not in CALIBRATED:
        return []
    if config.calibration is None:
        raise wrong(_WHERE, f"{config.level} is fitted to rows, and no dataset is named", "", "Name calibration.on")
    dataset = inputs[config.calibration].path
    return rows.draw(dataset, config.rows, config.max_length, config.seed, vocabulary_size(folder))


def _near(apart: checked.Distance) -> list[Check]:
    return [
        Check("KL in nats a token from the export", apart.kl),
        Check("share of tokens whose likeliest next one is the export's", apart.agreement),
    ]


def _done(config: QuantizeConfig, facts: compressed.Facts, ids: list[list[int]]) -> list[str]:
    """Sentences on what was done, without their full stops."""
    done = [schemes.SAYS[config.level], f"{facts.layers} modules; embedding, head and routers are not quantised"]
    if facts.group:
        done.append(f"Groups of {facts.group} columns")
    if ids:
        done.append(
            f"Fitted to {len(ids)} rows of {config.calibration}, {sum(map(len, ids))} tokens, seed {config.seed}"
        )
    return done


def _gguf(config: QuantizeConfig, inputs: Inputs, folder: Path, out: Path) -> Made:
    return convert(folder, config.level, out)


MAKERS: dict[str, Maker] = {
    **dict.fromkeys(GGUF, _gguf),
    "fp8": _compressed,
    "int8": _compressed,
    "w4a16_gptq": _compressed,
    "w4a16_awq": _compressed,
}
"""What makes each level."""
