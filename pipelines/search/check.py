"""What a search needs besides its config."""

from importlib.util import find_spec

from pipelines.errors import Problem
from pipelines.search.config import SearchConfig

_NEEDS = {"tpe": ("optuna",), "cmaes": ("optuna", "cmaes")}


def check(config: SearchConfig) -> list[Problem]:
    """Libraries of the search that are not installed."""
    missing = [name for name in _NEEDS.get(config.by, ()) if find_spec(name) is None]
    fix = "Install it with pip install 'burnish[search]', or use by: grid"
    what = f"by: {config.by} needs what is not installed"
    return [Problem("search.by", what, ", ".join(missing), fix)] if missing else []
