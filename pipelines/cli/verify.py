"""Whether a folder may be served: a model, an adapter, a quantised model, or what an export made.

First its headers and configs, in seconds whatever its size; then every value; then it is loaded in a fresh process, and
read by transformers 4 and served by vLLM where these are installed (burnish doctor). Exits with 0 when nothing forbids
to serve it, with 1 when something does; what is only worth knowing is told as a warning.
"""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.cli.arguments import answer
from pipelines.engine.environment import worker_environment
from pipelines.engine.home import home_of, project_root
from pipelines.engine.imports import load_attribute
from pipelines.errors import wrong

REFUSED = 1
ENGINES = ("none", "transformers4", "vllm")
_FOLDER, _STEPS = "pipelines.serving.verify.folder", "pipelines.serving.verify.steps"
_LOADING = {
    "model": "pipelines.serving.verify.model:model_steps",
    "adapter": "pipelines.serving.verify.adapter:adapter_steps",
    "gguf": "pipelines.quantize.gguf_verify:gguf_steps",
}
_MARKS = {"ok": "ok", "refused": "REFUSED", "skipped": "-"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="a folder of weights, or one of an export with several")
    parser.add_argument(
        "--base", type=Path, metavar="DIR", help="the model that it must differ from; of an adapter, its base"
    )
    parser.add_argument(
        "--source", type=Path, metavar="DIR", help="the model that it was made from, and must answer like"
    )
    parser.add_argument(
        "--adapter", type=Path, metavar="DIR", help="the adapter that was merged into --base to make it"
    )
    parser.add_argument("--static", action="store_true", help="headers and configs only: nothing is loaded")
    parser.add_argument(
        "--engine",
        action="append",
        choices=ENGINES,
        help="must read it too, may be repeated; default: those that are installed",
    )


def main(args: argparse.Namespace) -> int:
    _check(args)
    # As in a stage: nothing is fetched, sums are made in one order, and libraries say nothing of their own.
    os.environ |= worker_environment(str(home_of(project_root(Path.cwd() / "recipe.yaml"))), offline=True)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.simplefilter("ignore", FutureWarning)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    steps = []
    for folder, step in _steps(args):
        steps.append((folder, step))
        if not args.json:
            if len(steps) == 1 or steps[-2][0] != folder:
                sys.stdout.write(f"{folder}\n")
            _tell(folder, step)
    refused = [step for _, step in steps if step.state == "refused"]
    if args.json:
        answer({"sound": not refused, "steps": [_as_json(folder, step) for folder, step in steps]})
    else:
        found = sum(finding.severity == "E" for _, step in steps for finding in step.findings)
        sys.stdout.write(f"Refused: {found or len(refused)} to mend.\n" if refused else "Sound.\n")
    return REFUSED if refused else 0


def _check(args: argparse.Namespace) -> None:
    for name in ("folder", "base", "source", "adapter"):
        path = getattr(args, name)
        if path is not None and not path.is_dir():
            what = "is not a folder" if path.exists() else "does not exist"
            raise wrong(str(path), what, "", "Name the folder of a model")
    if args.adapter and not args.base:
        raise wrong("--adapter", "needs the model that it was trained from", "", "Add --base DIR")
    if args.engine and "none" in args.engine and len(args.engine) > 1:
        raise wrong("--engine", "none goes with no other", ", ".join(args.engine), "Leave none out, or the others")


def _steps(args: argparse.Namespace) -> Iterator[tuple[Path, Any]]:
    """Every folder and check, the cheapest first; nothing is loaded from a folder that a rule refuses.

    What does the work is reached by name: the verb's help needs no torch, and the rules need no PEFT.
    """
    asked, step = load_attribute(f"{_STEPS}:Asked"), load_attribute(f"{_STEPS}:Step")
    for folder in load_attribute(f"{_FOLDER}:served_folders")(args.folder):
        question = asked(folder, args.base, args.source, args.adapter, args.static, tuple(args.engine or ()))
        refused = False
        for one in load_attribute(f"{_FOLDER}:static_steps")(question):
            refused = refused or one.state == "refused"
            yield folder, one
        if refused and not args.static:
            yield folder, step("loading", "skipped", "nothing is loaded before that is mended")
        elif not args.static:
            loading = load_attribute(_LOADING[load_attribute(f"{_FOLDER}:kind")(folder)])
            yield from ((folder, one) for one in loading(question))


def _tell(folder: Path, step: Any) -> None:
    sys.stdout.write(f"  {step.check:<14} {_MARKS[step.state]:<8} {step.says}".rstrip() + "\n")
    for finding in step.findings:
        inside = finding._replace(where=finding.where.removeprefix(str(folder)).lstrip("/"))
        sys.stdout.write(f"    {inside}\n")
    sys.stdout.flush()


def _as_json(folder: Path, step: Any) -> dict[str, Any]:
    findings = [finding._asdict() for finding in step.findings]
    return {"folder": str(folder), "check": step.check, "state": step.state, "says": step.says, "findings": findings}
