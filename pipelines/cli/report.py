"""The newest report of a recipe, in any of its forms; or with --compare the reports of several runs side by side.

A run is a folder under runs/, by its name or path; a folder with a report; a report.json; or a recipe, whose newest
report is meant. Each run is compared with the one before it, so name the oldest first.
"""

import argparse
import json
import sys
from pathlib import Path

from pipelines.cli.reports import labels, newest, report_file
from pipelines.engine.imports import load_attribute
from pipelines.errors import wrong

FILES = {
    "markdown": "report.md",
    "summary": "summary.md",
    "html": "report.html",
    "json": "report.json",
    "junit": "junit.xml",
    "annotations": "annotations.txt",
    "badge": "badge.svg",
    "model_card": "model_card.md",
}
"""Format to the file of the report's folder that has it."""
_WRITTEN_WITH = {"summary": "markdown"}
_COMPARED = (".md", ".json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, nargs="?", help="the recipe, a YAML file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="override a value: train.tuned.epochs=2"
    )
    parser.add_argument("--format", choices=FILES, help="default: markdown, or what the name of --output ends in")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there instead of to standard output")
    parser.add_argument("--compare", nargs="+", metavar="RUN", help="two runs or more, the oldest first")
    parser.add_argument("--chain", action="store_true", help="with --compare: the runs are generations of one model")


def main(args: argparse.Namespace) -> int:
    if (args.recipe is None) == (args.compare is None):
        raise wrong("report", "takes a recipe, or --compare with runs", "", "burnish report RECIPE")
    if args.compare:
        text = _compared(args)
    elif args.chain:
        raise wrong("--chain", "belongs to --compare", "", "burnish report --compare RUN RUN RUN --chain")
    else:
        text = _newest(args)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


def _newest(args: argparse.Namespace) -> str:
    made = newest(args.recipe, args.set)
    chosen = _format(args)
    path = made.folder / FILES[chosen]
    if not path.is_file():
        fix = f"Add {_WRITTEN_WITH.get(chosen, chosen)} to report.formats and run: burnish run {args.recipe}"
        raise wrong("--format", "the report was made without this format", chosen, fix)
    if made.changed:
        sys.stderr.write(f"This report is not of the recipe as it is now: {'; '.join(made.changed)}.\n")
    return path.read_text(encoding="utf-8")


def _format(args: argparse.Namespace) -> str:
    """What was asked for, or what the name of the output ends in."""
    if args.json or args.format:
        return args.format or "json"
    endings = {
        ".md": "markdown",
        ".html": "html",
        ".json": "json",
        ".xml": "junit",
        ".txt": "annotations",
        ".svg": "badge",
    }
    return endings.get(args.output.suffix, "markdown") if args.output else "markdown"


def _compared(args: argparse.Namespace) -> str:
    """The comparison. What needs numbers is reached by name, so that the other form of the verb stays light."""
    if len(args.compare) < 2:
        raise wrong("--compare", "takes two runs or more", args.compare[0], "burnish report --compare RUN RUN")
    if args.format not in (None, "markdown", "json"):
        raise wrong("--format", "a comparison is Markdown or JSON", args.format, "Leave --format out, or name json")
    if args.output and args.output.suffix not in _COMPARED:
        raise wrong("--output", "a comparison is Markdown or JSON", str(args.output), "End the name in .md or .json")
    files = [report_file(run, args.set) for run in args.compare]
    named = list(zip(labels(args.compare), files, strict=True))
    comparison = load_attribute("pipelines.report.compare.compared:compared")(named, args.chain or len(named) > 2)
    if args.json or args.format == "json" or (args.output and args.output.suffix == ".json"):
        return json.dumps(comparison, indent=1, ensure_ascii=False) + "\n"
    return str(load_attribute("pipelines.report.compare.compare_page:page")(comparison))
