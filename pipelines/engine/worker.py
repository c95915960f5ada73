"""Runs one stage in a process of its own.

    python -m pipelines.engine.worker CALL.json      one stage; what accelerate launches, once per rank
    python -m pipelines.engine.worker --serve        reads paths of calls on standard input, forks a child for each

The serving form pays the imports of torch and its friends once for a whole run, and still gives every stage a process
whose memory comes back.
"""

import errno
import json
import os
import platform
import resource
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from pipelines.engine.identity import package_version
from pipelines.engine.imports import load_attribute, load_module
from pipelines.engine.orphans import die_with_parent
from pipelines.engine.progress import PROGRESS_FILE
from pipelines.engine.stage import Artifact, Config
from pipelines.engine.store import Record, Store, write_json
from pipelines.errors import Problem, UserError

RECORDED_PACKAGES = (
    "python",
    "torch",
    "transformers",
    "peft",
    "trl",
    "accelerate",
    "datasets",
    "bitsandbytes",
    "lm-eval",
    "mergekit",
)
FAILED = 1


@dataclass(frozen=True)
class Call:
    """Everything a worker needs to know to make one artifact."""

    name: str
    stage: str
    kind: str
    key: str
    identity: Mapping[str, Any]
    run: str
    config_class: str
    config: Mapping[str, Any]
    inputs: Mapping[str, Mapping[str, Any]]
    home: str
    log: str
    answer: str
    progress: str

    def artifacts(self) -> dict[str, Artifact]:
        """The inputs as stages see them."""
        return {ref: Artifact(**(dict(item) | {"path": Path(item["path"])})) for ref, item in self.inputs.items()}


@dataclass(frozen=True)
class Answer:
    """How a stage ended: its problems, when the user can mend them, or the traceback of a defect."""

    problems: tuple[Problem, ...] = ()
    error: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)


def read_call(path: Path) -> Call:
    return Call(**json.loads(path.read_text(encoding="utf-8")))


def read_answer(path: Path) -> Answer:
    """The answer of a rank; the problems come back as Problems."""
    value = json.loads(path.read_text(encoding="utf-8"))
    return Answer(tuple(Problem(*item) for item in value["problems"]), value["error"], value["record"])


def perform(call: Call) -> Record | None:
    """Run the stage into its partial folder and complete the artifact. Ranks other than 0 have nothing to complete."""
    store = Store(Path(call.home))
    config_class: type[Config] = load_attribute(call.config_class)
    run = load_attribute(call.run)
    partial = store.partial(call.stage, call.key)
    started, cpu = time.monotonic(), time.process_time()
    metrics = run(config_class.model_validate(call.config), call.artifacts(), partial)
    if _rank() != 0:
        return None
    record = Record(
        name=call.name,
        stage=call.stage,
        kind=call.kind,
        key=call.key,
        identity=call.identity,
        inputs={ref: str(item["key"]) for ref, item in call.inputs.items()},
        metrics=metrics,
        files={},
        seconds=round(time.monotonic() - started, 3),
        cpu_seconds=round(time.process_time() - cpu, 3),
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        versions=_versions(),
    )
    return store.commit(record)


def answer(call: Call) -> int:
    """Perform the call, write the answer of this rank and return the exit status."""
    try:
        record = perform(call)
        result, status = Answer(record=asdict(record) if record else {}), 0
    except UserError as error:
        result, status = Answer(problems=error.problems), FAILED
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        disk = Problem(str(error.filename or call.home), "no space left on the disk", "", "Free some and run again")
        result, status = (Answer(problems=(disk,)) if full else Answer(error=traceback.format_exc())), FAILED
    except MemoryError:
        memory = Problem(call.name, "out of memory", "", "Lower micro_batch_size or batch_size")
        result, status = Answer(problems=(memory,)), FAILED
    except Exception:
        result, status = Answer(error=traceback.format_exc()), FAILED
    if result.error:
        sys.stderr.write(result.error)
    if _rank() == 0 or status:
        write_json(Path(f"{call.answer}-{_rank()}.json"), asdict(result))
    return status


def serve() -> None:
    """Fork a child for every path read; say its process id, then its exit status, negative for a signal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    calls, control = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w", buffering=1)
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    for line in calls:
        call = read_call(Path(line.strip()))
        _redirect(call.log)
        _import(call.run.partition(":")[0])
        parent = os.getpid()
        child = os.fork()
        if not child:
            _be_worker(call, parent)
        control.write(f"{child}\n")
        _, status = os.waitpid(child, 0)
        control.write(f"{os.waitstatus_to_exitcode(status)}\n")


def _import(module: str) -> None:
    """Import a stage's module before the fork, so that the next child finds it. If that fails, the child tells."""
    try:
        load_module(module)
    except Exception:
        sys.stderr.write(f"{module} cannot be imported\n")


def _be_worker(call: Call, parent: int) -> NoReturn:
    """Live as the forked child: one call, then out, without the parent's clean-up."""
    status = FAILED
    try:
        die_with_parent(parent)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.environ[PROGRESS_FILE] = call.progress
        status = answer(call)
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else FAILED
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _redirect(log: str) -> None:
    """Send what this process and its next child print to the log of the stage."""
    with Path(log).open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _versions() -> dict[str, str]:
    found = {package: package_version(package) for package in RECORDED_PACKAGES}
    return {"machine": platform.machine()} | {package: number for package, number in found.items() if number}


def main(arguments: list[str]) -> int:
    die_with_parent(os.getppid())
    if arguments == ["--serve"]:
        serve()
        return 0
    call = read_call(Path(arguments[0]))
    os.environ[PROGRESS_FILE] = call.progress
    return answer(call)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
