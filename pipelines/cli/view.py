"""What a run looks like: a live bar on a terminal, plain lines everywhere else."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from pipelines.engine.plan import CACHED, HELD, RUN
from pipelines.engine.runner import FAILED, Event

_PLAIN_SECONDS = 20.0
_STYLES = {CACHED: "dim", RUN: "green", HELD: "yellow", FAILED: "bold red"}


class View(Protocol):
    """Shows events as they come."""

    def __call__(self, event: Event) -> None:
        """Show one event."""


class PlainView:
    """One line when a stage ends, and one now and then while it works."""

    def __init__(self, console: Console, names: list[str]) -> None:
        self._console = console
        self._names = names
        self._last = time.monotonic()

    def __call__(self, event: Event) -> None:
        now = time.monotonic()
        if event.state == "started":
            self._last = now
            return
        if event.state == "progress":
            if now - self._last < _PLAIN_SECONDS:
                return
            self._last = now
        self._console.print(_line(event, self._names), markup=False, highlight=False, soft_wrap=True)


class LiveView:
    """Finished stages scroll by; the one at work has a bar."""

    def __init__(self, bars: Progress, names: list[str]) -> None:
        self._bars = bars
        self._names = names
        self._task: TaskID | None = None

    def __call__(self, event: Event) -> None:
        if event.state == "started":
            self._task = self._bars.add_task(event.node, total=None, note="")
        elif event.state == "progress" and event.progress and self._task is not None:
            done, total = float(event.progress["done"]), float(event.progress["total"])
            self._bars.update(self._task, completed=done, total=total, note=_numbers(event))
        else:
            if self._task is not None:
                self._bars.remove_task(self._task)
                self._task = None
            style = _STYLES.get(event.state, "")
            self._bars.console.print(_line(event, self._names), style=style, markup=False, highlight=False)


@contextmanager
def view(console: Console, names: list[str]) -> Iterator[View]:
    """The view that suits the console, for a run of the named stages."""
    if not console.is_terminal:
        yield PlainView(console, names)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        yield LiveView(bars, names)


def _line(event: Event, names: list[str]) -> str:
    place = f"[{names.index(event.node) + 1:>{len(str(len(names)))}}/{len(names)}]"
    wide = max(len(name) for name in names)
    if event.state == "progress" and event.progress:
        done, total, unit = (event.progress[name] for name in ("done", "total", "unit"))
        return f"{place} {event.node:<{wide}}  {done}/{total} {unit} {_numbers(event)}".rstrip()
    took = f"{event.seconds:.1f} s" if event.seconds else ""
    return f"{place} {event.node:<{wide}}  {event.state:<9} {took}".rstrip()


def _numbers(event: Event) -> str:
    known = event.progress or {}
    shown = {name: value for name, value in known.items() if name not in ("done", "total", "unit")}
    return " ".join(f"{name} {value:.4g}" for name, value in shown.items() if isinstance(value, (int, float)))
