"""`burnish plan`: every stage, cached or to run, and why; what each gate can see; whether each merge is a good idea."""

import argparse
import json
import sys

from pipelines.cli.merge_advice import Advised, in_a_line, known, told
from pipelines.cli.prepared import Prepared, add_recipe_arguments, prepare
from pipelines.engine.plan import Step
from pipelines.recipe.sight import sights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_arguments(parser)


def main(args: argparse.Namespace) -> int:
    prepared = prepare(args)
    if args.json:
        sys.stdout.write(json.dumps(as_json(prepared), indent=1, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(as_text(prepared.steps))
        sys.stdout.write("".join(f"{one.says}\n" for one in sights(prepared.steps, prepared.store)))
        sys.stdout.write("".join(f"{in_a_line(one, args.recipe)}\n" for one in _advice(prepared)))
        sys.stderr.write("".join(f"{problem}\n" for problem in prepared.problems))
    return 2 if prepared.problems else 0


def as_json(prepared: Prepared) -> dict[str, object]:
    """The plan as data."""
    return {
        "recipe": prepared.recipe.name,
        "home": str(prepared.store.home),
        "steps": [_step(step) for step in prepared.steps],
        "gates": [one._asdict() for one in sights(prepared.steps, prepared.store)],
        "advice": [told(one) for one in _advice(prepared)],
        "problems": [str(problem) for problem in prepared.problems],
    }


def _advice(prepared: Prepared) -> list[Advised]:
    return known(prepared.recipe, prepared.steps, prepared.store)


def _step(step: Step) -> dict[str, object]:
    known = step.record or step.estimate
    return {
        "name": step.node.id,
        "stage": step.node.stage.name,
        "state": step.state,
        "key": step.key,
        "reasons": list(step.reasons),
        "estimate": {"seconds": known.seconds, "peak_bytes": known.peak_bytes, "bytes": known.bytes} if known else None,
    }


def as_text(steps: list[Step]) -> str:
    """The plan as lines: stage, state, what it will take, why."""
    wide = max((len(step.node.id) for step in steps), default=0)
    lines = [_line(step, wide) for step in steps]
    todo = [step for step in steps if not step.record]
    known = [step.estimate.seconds for step in todo if step.estimate]
    if not todo:
        lines.append("Nothing to do.")
    else:
        unknown = len(todo) - len(known)
        time = f", about {sum(known):.0f} s" if known else ""
        lines.append(f"{len(todo)} of {len(steps)} to run{time}{f', {unknown} never timed' if unknown else ''}.")
    return "\n".join(lines) + "\n"


def _line(step: Step, wide: int) -> str:
    known = step.estimate
    took = f"~{known.seconds:.0f} s, {known.peak_bytes / 1e9:.1f} GB" if known else ""
    return f"{step.node.id:<{wide}}  {step.state:<6}  {took:<16}  {'; '.join(step.reasons)}".rstrip()
