"""Where something is, what it was made with and from, what came out, and what has changed since.

`burnish show merge-advice RECIPE` says whether models should be merged, and measures them for it.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.cli.arguments import add_recipe, answer
from pipelines.cli.made import chosen_one, steps_of
from pipelines.cli.measure_advice import measured, tell
from pipelines.cli.merge_advice import told as as_data
from pipelines.engine.plan import Step
from pipelines.engine.store import Record, Store
from pipelines.errors import wrong
from pipelines.recipe.advised import stored_advice
from pipelines.recipe.load import load

ADVICE = "merge-advice"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser)
    parser.add_argument("name", help="name of an entry, or id of a stage: tuned, evaluate.best@test, gate")
    parser.add_argument(
        "--measure-loss", action="store_true", help="with merge-advice: also the loss between the models, on dev rows"
    )


def main(args: argparse.Namespace) -> int:
    if str(args.recipe) == ADVICE:
        return _advice(args)
    if args.measure_loss:
        raise wrong(
            "--measure-loss", f"belongs to `burnish show {ADVICE} RECIPE`", "", f"Write {ADVICE} before the recipe"
        )
    store, steps = steps_of(args)
    step = steps[chosen_one(args.name, list(steps))]
    known = _told(store, step, steps) | ({"advice": _advice_on(args, store, step, steps)} if _is_merge(step) else {})
    if args.json:
        answer(known)
    else:
        sys.stdout.write(as_text(known))
    return 0


def _advice(args: argparse.Namespace) -> int:
    recipe = Path(args.name)
    found = measured(recipe, args.set, args.measure_loss)
    if args.json:
        answer({"recipe": recipe.stem, "advice": [as_data(one) for one in found]})
    else:
        tell(found, recipe)
    return 0


def _is_merge(step: Step) -> bool:
    return step.node.id.startswith("merge.")


def _advice_on(args: argparse.Namespace, store: Store, step: Step, steps: Mapping[str, Step]) -> Any:
    """What was advised on a merge, if it was measured."""
    found = stored_advice(load(args.recipe, args.set), list(steps.values()), store)
    name = f"advice.{step.node.id.partition('.')[2]}"
    return next((record.metrics["advice"] for node, record in found if node.id == name), None)


def _told(store: Store, step: Step, steps: Mapping[str, Step]) -> dict[str, Any]:
    """Everything that is known of a stage. Where its artifact is out of date, the last one made is shown."""
    record = step.record or step.before
    return {
        "name": step.node.id,
        "stage": step.node.stage.name,
        "kind": step.node.kind,
        "state": step.state,
        "key": step.key,
        "path": str(store.folder(record.stage, record.key)) if record else None,
        "path_is": "current" if step.record else "of an earlier run" if record else "not made yet",
        "seconds": record.seconds if record else None,
        "changed": list(step.reasons),
        "config": step.node.config.model_dump(mode="json", by_alias=True),
        "made_from": {name: _where(store, steps[name].record) for name in step.node.inputs},
        "metrics": dict(record.metrics) if record else None,
    }


def _where(store: Store, record: Record | None) -> str | None:
    return str(store.folder(record.stage, record.key)) if record else None


def as_text(told: Mapping[str, Any]) -> str:
    """The same as lines."""
    lines = [f"{told['name']}  {told['kind']}, {told['state']}"]
    lines += [f"  path     {told['path'] or '-'}" + ("" if told["path_is"] == "current" else f"  ({told['path_is']})")]
    lines += [f"  key      {told['key']}"]
    lines += [f"  took     {told['seconds']:.1f} s"] if told["seconds"] else []
    lines += [f"  changed  {reason}" for reason in told["changed"]]
    lines += [f"  from     {name}  {path or 'not made yet'}" for name, path in told["made_from"].items()]
    if advice := told.get("advice"):
        lines += [f"  advice   {advice['verdict']}: {advice['says']} [{advice['source']}]"]
    lines += ["  config", *_tree(told["config"])]
    lines += ["  metrics", *_tree(told["metrics"])] if told["metrics"] else []
    return "\n".join(lines) + "\n"


def _tree(values: Mapping[str, Any]) -> list[str]:
    wide = max(map(len, values), default=0)
    return [f"    {name:<{wide}}  {_short(value)}" for name, value in values.items()]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:197] + "..."
