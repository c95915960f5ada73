"""Environments of other tools, for tests that are skipped where they are not installed."""

import pytest

from pipelines.serving.environments import Environment, Name, find


def needs(name: Name) -> Environment:
    """The environment of that name; without it the test is skipped."""
    found = find(name)
    if found is None:
        pytest.skip(f"the environment '{name}' is not installed: burnish doctor --install {name}")
    return found
