"""The command: one verb, one module, imported only when it is chosen."""

import argparse
import difflib
import errno
import importlib
import json
import os
import sys
from collections.abc import Sequence

from pipelines.errors import UserError, wrong

VERBS = {
    "init": ("pipelines.cli.init", "write a commented recipe to start from"),
    "validate": ("pipelines.cli.validate", "say everything that is wrong with a recipe"),
    "plan": ("pipelines.cli.plan", "show every stage as cached or to run, and why"),
    "run": ("pipelines.cli.run", "make what the recipe says; go on where it stopped"),
    "report": ("pipelines.cli.report", "the report of a recipe, or of several runs side by side"),
    "show": ("pipelines.cli.show", "where something is, what it was made from and what came out"),
    "explain": ("pipelines.cli.explain", "a value of the recipe: where it comes from and what it means"),
    "inspect": ("pipelines.cli.inspect", "rows as the trainer sees them, with the loss mask"),
    "verify": ("pipelines.cli.verify", "whether a folder of weights may be served: rules, reload, vLLM"),
    "lock": ("pipelines.cli.lock", "pin hub revisions and file digests"),
    "schema": ("pipelines.cli.schema", "JSON Schema of recipes, for editors"),
    "doctor": ("pipelines.cli.doctor", "what this machine is and has; makes the environments of other tools"),
}
WRONG, INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. 0 done, 1 a stage failed, 2 something is wrong and nothing was started, 3 the gates say no."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    verb = next((word for word in words if not word.startswith("-")), "")
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(overview())
        return 0 if words else WRONG
    if verb not in VERBS or words[0] != verb:
        sys.stderr.write(_unknown(words[0]))
        return WRONG
    try:
        return _run(verb, words[1:])
    except UserError as error:
        _tell(error, as_json="--json" in words)
        return WRONG
    except ModuleNotFoundError as error:
        if str(error.name).startswith("pipelines"):
            raise
        sys.stderr.write(f"burnish {verb}: {error.name} is not installed. Install burnish[train]\n")
        return WRONG
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe left; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        _tell(_of_the_machine(error), as_json="--json" in words)
        return WRONG


def _run(verb: str, words: list[str]) -> int:
    name, help_ = VERBS[verb]
    module = importlib.import_module(name)
    parser = argparse.ArgumentParser(prog=f"burnish {verb}", description=module.__doc__ or help_, allow_abbrev=False)
    module.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="answer in JSON")
    code: int = module.main(parser.parse_args(words))
    return code


def overview() -> str:
    """What `burnish --help` prints."""
    wide = max(map(len, VERBS))
    lines = [f"  {verb:<{wide}}  {help_}" for verb, (_, help_) in VERBS.items()]
    usage = "usage: burnish VERB [-h] [--json] ..."
    about = "From a base model and data to weights that may ship, and the statistics that say so."
    return "\n".join([usage, "", about, "", *lines, "", "burnish VERB --help says more.", ""])


def _unknown(word: str) -> str:
    near = difflib.get_close_matches(word, VERBS, n=1)
    fix = f"Did you mean '{near[0]}'?" if near else f"Verbs: {', '.join(VERBS)}"
    return f"burnish: unknown verb (got {word}). {fix}\n"


def _of_the_machine(error: OSError) -> UserError:
    """A file or folder that cannot be read or written is the user's to mend. Raises what is about no file."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return wrong(str(error.filename or ""), "no space left on the disk", "", "Free some and run again")
    if error.filename is None:
        raise error
    said = (error.strerror or "cannot be used").lower()
    return wrong(str(error.filename), said, "", "Check the path and its permissions")


def _tell(error: UserError, as_json: bool) -> None:
    """Problems go to stderr as lines; under --json stdout has them too."""
    if as_json:
        problems = [str(problem) for problem in error.problems]
        sys.stdout.write(json.dumps({"problems": problems}, indent=1, ensure_ascii=False) + "\n")
    sys.stderr.write(f"{error}\n")
