"""accelerate's launcher, tied to the life of the run that started it."""

import os
import runpy
import sys

from pipelines.engine.orphans import die_with_parent

if __name__ == "__main__":
    die_with_parent(os.getppid())
    sys.argv[0] = "accelerate"
    runpy.run_module("accelerate.commands.launch", run_name="__main__")
