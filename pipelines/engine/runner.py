"""Carries a plan out: one stage after the other, each in a process of its own, until done, failed or told to stop."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType

from pipelines.engine.launch import Launched, Running, Warm
from pipelines.engine.plan import CACHED, HELD, RUN, Step, history_path, read_history
from pipelines.engine.stage import Artifact, Launch
from pipelines.engine.store import Record, Store, write_json
from pipelines.engine.worker import Answer, Call, read_answer
from pipelines.errors import Problem

GRACE_SECONDS = 120.0
_POLL_SECONDS = 0.1
_LEAST_FREE_BYTES = 1 << 20
FAILED, STOPPED = "failed", "stopped"


@dataclass(frozen=True)
class Event:
    """Something that happened to a stage: started, progress, or one of the states it can end in."""

    node: str
    state: str
    seconds: float = 0.0
    progress: dict[str, float | str] | None = None
    problems: tuple[Problem, ...] = ()
    log: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the artifacts by node, and the event that ended it early, if one did."""

    artifacts: dict[str, Artifact]
    held: tuple[str, ...] = ()
    failure: Event | None = None
    signal: int = 0


@dataclass(frozen=True)
class Settings:
    """How to run: where to put the run's files, how many processes by default, and whether the network is off."""

    recipe: str
    run_dir: Path
    processes: int = 1
    offline: bool = False


class _Signals:
    """Remembers the first SIGTERM or SIGINT, so that a stage can end in good order."""

    received = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number


@contextmanager
def _listening() -> Iterator[_Signals]:
    signals = _Signals()
    before = {number: signal.signal(number, signals) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def execute(steps: list[Step], store: Store, settings: Settings, tell: Callable[[Event], None]) -> Outcome:
    """Run what the plan says is to be run. The first failure or signal ends it; what was finished stays finished."""
    artifacts: dict[str, Artifact] = {}
    held: list[str] = []
    warm: Warm | None = None
    with _listening() as signals:
        try:
            for place, step in enumerate(steps):
                if _holds_back(step, artifacts):
                    held.append(step.node.id)
                    tell(Event(step.node.id, HELD))
                    continue
                if step.record:
                    artifacts[step.node.id] = store.artifact(step.record, step.node.id)
                    tell(Event(step.node.id, CACHED))
                    continue
                if signals.received:
                    return Outcome(artifacts, tuple(held), signal=signals.received)
                forked = not _is_launched(step, settings)
                if forked and warm is None:
                    warm = Warm(store.home, settings.offline)
                event, record = _make(step, place, store, settings, artifacts, warm if forked else None, signals, tell)
                tell(event)
                if record is None:
                    return Outcome(artifacts, tuple(held), event, signals.received)
                artifacts[step.node.id] = store.artifact(record, step.node.id)
                _remember(store, settings.recipe, step)
        finally:
            if warm:
                warm.close()
    return Outcome(artifacts, tuple(held))


def _make(
    step: Step,
    place: int,
    store: Store,
    settings: Settings,
    artifacts: dict[str, Artifact],
    warm: Warm | None,
    signals: _Signals,
    tell: Callable[[Event], None],
) -> tuple[Event, Record | None]:
    """Make one artifact and say how it went."""
    node, started = step.node, time.monotonic()
    call = _call(step, place, store, settings, artifacts)
    tell(Event(node.id, "started", log=call.log))
    with store.locked(node.stage.name, step.key):
        found = store.find(node.stage.name, step.key)
        if found:
            return Event(node.id, CACHED), found
        store.begin(node.stage.name, step.key, node.stage.resumable)
        path = Path(f"{call.answer}-call.json")
        write_json(path, asdict(call))
        running: Running = warm.start(path) if warm else _launch(step, path, Path(call.log), settings, store.home)
        status = _follow(running, node.id, Path(call.progress), signals, tell)
    answer = _answer(call)
    seconds = time.monotonic() - started
    if status == 0 and answer and answer.record:
        return Event(node.id, RUN, seconds, log=call.log), store.record(node.stage.name, step.key)
    if signals.received:
        return Event(node.id, STOPPED, seconds, log=call.log), None
    return Event(node.id, FAILED, seconds, problems=_explain(step, status, answer, call.log), log=call.log), None


def _follow(running: Running, node: str, progress: Path, signals: _Signals, tell: Callable[[Event], None]) -> int:
    """Wait for a worker, pass on its progress, and pass a signal on to it once, with a period of grace."""
    read, told, deadline = 0, 0, 0.0
    while (status := running.wait(_POLL_SECONDS)) is None:
        if progress.exists():
            with progress.open(encoding="utf-8") as file:
                file.seek(read)
                lines = file.read().splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]
            read += sum(len(line.encode()) for line in whole)
            if whole:
                tell(Event(node, "progress", progress=json.loads(whole[-1])))
        if signals.received and not told:
            told, deadline = signals.received, time.monotonic() + GRACE_SECONDS
            running.send(signal.SIGTERM)
        if told and time.monotonic() > deadline:
            running.send(signal.SIGKILL)
            deadline += GRACE_SECONDS
    return status


def _call(step: Step, place: int, store: Store, settings: Settings, artifacts: dict[str, Artifact]) -> Call:
    node = step.node
    inputs = {name: artifacts[name] for name in node.inputs if name in artifacts}
    base = settings.run_dir / "logs" / f"{place:02d}-{node.id.replace('/', '_')}"
    base.parent.mkdir(parents=True, exist_ok=True)
    return Call(
        name=node.id,
        stage=node.stage.name,
        kind=node.kind,
        key=step.key,
        identity=step.identity,
        run=node.stage.run,
        config_class=f"{type(node.config).__module__}:{type(node.config).__qualname__}",
        config=node.config.model_dump(mode="json", by_alias=True),
        inputs={name: asdict(replace(item, path=str(item.path))) for name, item in inputs.items()},  # type: ignore[arg-type]
        home=str(store.home),
        log=f"{base}.log",
        answer=str(base),
        progress=f"{base}.progress",
    )


def _is_launched(step: Step, settings: Settings) -> bool:
    launch = _launch_of(step)
    return launch is not None and bool(launch.config or (launch.processes or settings.processes) > 1)


def _launch_of(step: Step) -> Launch | None:
    launch = getattr(step.node.config, "launch", None) if step.node.stage.launched else None
    return launch if isinstance(launch, Launch) else None


def _launch(step: Step, call: Path, log: Path, settings: Settings, home: Path) -> Launched:
    launch = _launch_of(step) or Launch()
    return Launched(call, launch, launch.processes or settings.processes, home, log, settings.offline)


def _holds_back(step: Step, artifacts: dict[str, Artifact]) -> bool:
    return bool(step.node.after) and bool(artifacts[step.node.after].metrics["blocks"])


def _answer(call: Call) -> Answer | None:
    """The answer of the first rank that has a problem, else that of rank 0."""
    paths = sorted(Path(call.answer).parent.glob(f"{Path(call.answer).name}-[0-9]*.json"))
    answers = [read_answer(path) for path in paths]
    return next((item for item in answers if item.problems or item.error), answers[0] if answers else None)


def _explain(step: Step, status: int, answer: Answer | None, log: str) -> tuple[Problem, ...]:
    if answer and answer.problems:
        return answer.problems
    if answer and answer.error:
        last = answer.error.strip().splitlines()[-1]
        return (Problem(step.node.id, "stopped on a defect", last, f"The traceback is in {log}"),)
    if shutil.disk_usage(Path(log).parent).free < _LEAST_FREE_BYTES:
        return (Problem(step.node.id, "no space left on the disk", log, "Free some and run again"),)
    if status == -signal.SIGKILL:
        fix = "Usually the system ran out of memory: lower batch sizes, or close other programs, and run again"
        return (Problem(step.node.id, "was killed", "signal 9", fix),)
    return (Problem(step.node.id, "ended without an answer", f"exit status {status}", f"Its output is in {log}"),)


def _remember(store: Store, recipe: str, step: Step) -> None:
    """Keep what this entry made, so that the next plan can say what changed."""
    history = read_history(store.home, recipe)
    history[step.node.id] = {"stage": step.node.stage.name, "key": step.key, "identity": step.identity}
    path = history_path(store.home, recipe)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, history)


def link_artifacts(run_dir: Path, artifacts: dict[str, Artifact]) -> None:
    """Symlinks by name, so that people find what the keys hide."""
    for name, artifact in artifacts.items():
        link = run_dir / name.replace("/", "_")
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(artifact.path, run_dir))
