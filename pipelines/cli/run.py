"""`burnish run`: carry the plan out, resume what was interrupted, and end with the verdict and what may be pushed."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich.console import Console

from pipelines.cli.arguments import answer, positive
from pipelines.cli.plan import as_json
from pipelines.cli.prepared import Prepared, add_recipe_arguments, prepare
from pipelines.cli.push import Shipped, clashes, keep, planned, refusals, ship, wants
from pipelines.cli.served import where
from pipelines.cli.view import view
from pipelines.engine.launch import adopted_processes, command_line
from pipelines.engine.plan import busy_problems
from pipelines.engine.runner import Event, Outcome, Settings, execute, link_artifacts
from pipelines.engine.store import write_json
from pipelines.errors import Problem
from pipelines.recipe.rooms import placed

FAILED, WRONG, REFUSED, SIGNALLED = 1, 2, 3, 128


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_arguments(parser)
    parser.add_argument(
        "--processes", type=positive, metavar="N", help="training processes where the recipe names no number"
    )
    parser.add_argument(
        "--yes", action="store_true", help="push the exports that name a repository of the hub, once the gates pass"
    )


def main(args: argparse.Namespace) -> int:
    if int(os.environ.get("RANK", "0")) > 0:
        return 0
    processes = args.processes or adopted_processes(os.environ, command_line(os.getppid())) or 1
    prepared = prepare(args)
    problems = [*prepared.problems, *busy_problems(prepared.steps, prepared.store), *clashes(prepared.recipe)]
    if args.yes and wants(prepared.recipe):
        problems += refusals(args.offline)
    if problems:
        if args.json:
            answer({"problems": [str(problem) for problem in problems]})
        sys.stderr.write("".join(f"{problem}\n" for problem in problems) + "Nothing was started.\n")
        return WRONG
    console = Console(stderr=args.json, soft_wrap=True)
    if not _to_run(prepared):
        outcome = execute(
            prepared.steps, prepared.store, _settings(prepared, Path(), processes, args), lambda event: None
        )
        console.print("Nothing to do: everything is made and up to date.", highlight=False)
        return _conclude(prepared, outcome, None, args, console)
    run_dir = _new_run_dir(prepared)
    settings = _settings(prepared, run_dir, processes, args)
    events = (run_dir / "events.jsonl").open("a", encoding="utf-8", buffering=1)
    with events, view(console, [step.node.id for step in prepared.steps]) as show:
        outcome = execute(prepared.steps, prepared.store, settings, _both(show, events.write))
    link_artifacts(run_dir, outcome.artifacts)
    return _conclude(prepared, outcome, run_dir, args, console)


def _to_run(prepared: Prepared) -> bool:
    """Whether a stage is to be made; one that a blocking verdict holds back is not."""
    verdicts = {step.node.id: step.record for step in prepared.steps}
    for step in prepared.steps:
        verdict = verdicts.get(step.node.after)
        if step.record is None and not (verdict and verdict.metrics["blocks"]):
            return True
    return False


def _settings(prepared: Prepared, run_dir: Path, processes: int, args: argparse.Namespace) -> Settings:
    return Settings(prepared.recipe.name, run_dir, processes, args.offline)


def _new_run_dir(prepared: Prepared) -> Path:
    """runs/<time>-<recipe>, with the plan in it."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    run_dir = prepared.store.home / "runs" / f"{stamp}-{os.getpid()}-{prepared.recipe.name}"
    run_dir.mkdir(parents=True)
    write_json(run_dir / "plan.json", as_json(prepared))
    return run_dir


def _both(show: Callable[[Event], None], write: Callable[[str], int]) -> Callable[[Event], None]:
    """Show every event, and keep it with its time."""

    def tell(event: Event) -> None:
        show(event)
        write(json.dumps({"time": round(time.time(), 3)} | asdict(event), ensure_ascii=False) + "\n")

    return tell


def _conclude(
    prepared: Prepared, outcome: Outcome, run_dir: Path | None, args: argparse.Namespace, console: Console
) -> int:
    """Say how it ended and where things are, push what is to be pushed, and give the exit code."""
    code = _exit_code(outcome)
    for problem in _mistakes(prepared, outcome):
        sys.stderr.write(f"{problem}\n")
    if outcome.failure or outcome.signal:
        again = "burnish run " + str(args.recipe)
        console.print(f"Stopped. What is finished is kept; go on with: {again}", highlight=False, markup=False)
    else:
        _tell(outcome, console)
    shipped = Shipped([], [], [])
    if code in (0, REFUSED) and wants(prepared.recipe):
        shipped = _ship(prepared, outcome, args, console)
        code = FAILED if shipped.problems else code
    if any(one["new"] for one in shipped.pushed) or (shipped.pushed and run_dir):
        run_dir = run_dir or _new_run_dir(prepared)
        keep(run_dir, shipped)
    if args.json:
        answer(_summary(prepared, outcome, run_dir, code, shipped))
    return code


def _tell(outcome: Outcome, console: Console) -> None:
    """The verdict, and where the exports and the report are."""
    if verdict := outcome.artifacts.get("gate"):
        console.print(f"\nVerdict: {verdict.metrics['verdict']}", highlight=False)
        for gate in verdict.metrics["gates"]:
            console.print(f"  {gate['verdict']:<12} {gate['says']}", highlight=False, markup=False)
    for name in outcome.held:
        console.print(f"{name} was held back: the gates say no.", highlight=False, markup=False)
    for artifact in outcome.artifacts.values():
        if artifact.kind in ("export", "report"):
            for line in where(artifact):
                console.print(line, highlight=False, markup=False)


def _ship(prepared: Prepared, outcome: Outcome, args: argparse.Namespace, console: Console) -> Shipped:
    """Push with --yes; without it, or where the gates do not say yes, only say so."""
    say = partial(console.print, highlight=False, markup=False)
    wanted, forbidden = planned(prepared.recipe, outcome.artifacts)
    if forbidden:
        if wanted or args.yes:
            say(f"Nothing is pushed to the hub: {forbidden}.")
        return Shipped([], [], [])
    if not args.yes:
        for one in wanted:
            say(f"Would push {one}")
        if wanted:
            say(f"Push with: burnish run {args.recipe} --yes")
        return Shipped(wanted, [], [])
    shipped = ship(wanted, f"{prepared.recipe.name}, made with Burnish", say)
    for problem in shipped.problems:
        sys.stderr.write(f"{problem}\n")
    return shipped


def _mistakes(prepared: Prepared, outcome: Outcome) -> list[Problem]:
    """What ended the run early, with the lines of the recipe that it is about."""
    failure = outcome.failure
    return [placed(prepared.recipe, failure.node, problem) for problem in failure.problems] if failure else []


def _exit_code(outcome: Outcome) -> int:
    if outcome.signal:
        return SIGNALLED + outcome.signal
    if outcome.failure:
        return FAILED
    verdict = outcome.artifacts.get("gate")
    return REFUSED if verdict and verdict.metrics["blocks"] else 0


def _summary(
    prepared: Prepared, outcome: Outcome, run_dir: Path | None, code: int, shipped: Shipped
) -> dict[str, object]:
    verdict = outcome.artifacts.get("gate")
    return {
        "recipe": prepared.recipe.name,
        "exit": code,
        "run": str(run_dir) if run_dir else None,
        "verdict": verdict.metrics["verdict"] if verdict else None,
        "held_back": list(outcome.held),
        "artifacts": {name: {"kind": item.kind, "path": str(item.path)} for name, item in outcome.artifacts.items()},
        "to_push": [one.told() for one in shipped.wanted],
        "pushed": shipped.pushed,
        "problems": [str(problem) for problem in [*_mistakes(prepared, outcome), *shipped.problems]],
    }
