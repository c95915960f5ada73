"""The Python files beside the task YAMLs: in no package, so that tests load them by their paths, as lm-eval does."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

TASKS = Path(__file__).parents[3] / "evals" / "tasks"


def load(name: str) -> ModuleType:
    """The module evals/tasks/<name>.py."""
    spec = spec_from_file_location(f"evals_{name}", TASKS / f"{name}.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
