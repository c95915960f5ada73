"""A model to a folder that is shipped, and the proof that it is what was trained."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipelines.engine.digest import file_digest
from pipelines.engine.stage import Artifact, Inputs
from pipelines.errors import wrong
from pipelines.export import verify
from pipelines.export.card import card, serving
from pipelines.export.config import ExportConfig
from pipelines.export.verify import Check
from pipelines.export.write import is_tied, positions, write_folder, write_json
from pipelines.hf.folder import CARD, CONFIG, describe, licence_of, read_json, require_sound
from pipelines.hf.models import DTYPES
from pipelines.serving.look.fresh import Reloaded, reload

_VERSIONS = ("torch", "transformers", "tokenizers", "safetensors")


def run(config: ExportConfig, inputs: Inputs, out_dir: Path) -> dict[str, Any]:
    """Write `out_dir/safetensors`, reload it in a fresh process and compare; then `verification.json`.

    UserError with the check that failed; nothing is shipped that was not verified.
    """
    model, base = inputs[config.model], inputs[config.base]
    require_sound(model.path)
    own = describe(model.path)["dtype"]
    dtype = own if config.dtype == "keep" else config.dtype
    if dtype not in DTYPES:
        raise wrong(
            "export.model", "holds weights of a type that is not exported", dtype, "Name float32, bfloat16 or float16"
        )
    first = verify.same_words(model.path, base.path)
    folder = out_dir / "safetensors"
    folder.mkdir()
    left_out = write_folder(model.path, base.path, folder, dtype, config.dtype == "keep", config.max_shard_size)
    reloaded = reload(folder)
    checks = [first, *_checks(model, base, folder, own, dtype, left_out, reloaded)]
    return _document(config, model, base, folder, checks)


def _checks(
    model: Artifact, base: Artifact, folder: Path, own: str, dtype: str, left_out: tuple[str, ...], reloaded: Reloaded
) -> list[Check]:
    """Everything that is compared, cheapest first; whole models are loaded one at a time."""
    checks = [
        verify.same_files(model.path, folder),
        verify.same_weights(model.path, folder, left_out),
        verify.same_facts(model.path, folder, dtype, is_tied(model.path), reloaded.facts),
        verify.ends(folder, reloaded.facts),
        verify.parity(model.path, dtype, reloaded),
        verify.rounding(model.path, own, dtype, reloaded),
    ]
    if model.key != base.key:
        checks.append(verify.differs(base.path, dtype, reloaded))
    return checks


def _document(
    config: ExportConfig, model: Artifact, base: Artifact, folder: Path, checks: list[Check]
) -> dict[str, Any]:
    """Write the card, SERVING.json and verification.json; return the metrics."""
    licence = licence_of(model.path) or licence_of(base.path)
    facts = {**describe(folder), "licence": licence}
    (folder / CARD).write_text(card(str(config.model), facts, licence, base.metrics), encoding="utf-8")
    files = sorted(path for path in folder.iterdir() if path.is_file())
    digests = {path.name: file_digest(path) for path in files}
    versions = {name: version(name) for name in _VERSIONS}
    write_json(
        folder / "SERVING.json", serving(facts, positions(read_json(folder / CONFIG)), versions, digests, checks)
    )
    write_json(folder.parent / "verification.json", {"checks": [check._asdict() for check in checks]})
    saw = {check.name: check.saw for check in checks}
    apart = saw.get(verify.DIFFERS)
    return {
        **facts,
        "files": len(files) + 1,
        "bytes": sum(path.stat().st_size for path in files),
        "max_abs_dlogit": saw[verify.PARITY],
        "rounding_dlogit": saw[verify.ROUNDING],
        "base_dlogit": apart,
        "differs_from_base": apart is not None,
        "stops": True,
        "checks": len(checks),
    }
