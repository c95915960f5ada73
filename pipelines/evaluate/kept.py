"""What an evaluation has measured so far, on disk: an attempt that was killed or crashed keeps what it had.

`samples/<name>.jsonl` is there for good, `measured/<name>.json` until all is done. Each appears whole, and the samples
first.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.engine.store import write_json
from pipelines.evaluate.score import Sample

SCORES, SAMPLES, _MEASURED = "scores.json", "samples", "measured"
_LINE_ENDS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}
"""Characters that some readers take for the end of a line."""


def read_finished(out_dir: Path) -> dict[str, Any] | None:
    """The scores of an attempt that was killed after its last measurement."""
    path = out_dir / SCORES
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def read_measured(out_dir: Path, names: Iterable[str]) -> dict[str, Any]:
    """What was kept of earlier attempts, by name."""
    paths = {name: out_dir / _MEASURED / f"{name}.json" for name in names}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.is_file()}


def keep(out_dir: Path, name: str, samples: Sequence[Sample], measured: Mapping[str, Any]) -> None:
    """Write one measurement; `measured` is what is told of it in scores.json."""
    scratch, folder = out_dir / _MEASURED, out_dir / SAMPLES
    scratch.mkdir(exist_ok=True)
    folder.mkdir(exist_ok=True)
    lines = [json.dumps(sample._asdict(), ensure_ascii=False, allow_nan=False) + "\n" for sample in samples]
    partial = scratch / f".{name}.jsonl"
    partial.write_text("".join(lines).translate(_LINE_ENDS), encoding="utf-8")
    partial.replace(folder / f"{name}.jsonl")
    write_json(scratch / f"{name}.json", measured)


def finish(out_dir: Path, result: Mapping[str, Any]) -> None:
    """Write scores.json and leave nothing else than it and the samples."""
    scratch = out_dir / _MEASURED
    if not (out_dir / SCORES).is_file():
        write_json(scratch / f".{SCORES}", result)
        (scratch / f".{SCORES}").replace(out_dir / SCORES)
    shutil.rmtree(scratch, ignore_errors=True)
