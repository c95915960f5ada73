"""What can be known of a quantisation before anything is made."""

from pipelines.errors import Problem
from pipelines.quantize.config import QuantizeConfig, maker_of
from pipelines.serving.environments import Name, find, missing, outdated

_WHERE = "formats"


def check(config: QuantizeConfig) -> list[Problem]:
    """The environments that it needs, and that are not there; and a maker of another version than the key says."""
    made_by = maker_of(config.level)
    needed: list[Name] = [made_by, "vllm"] if config.serve else [made_by]
    found = [problem for name in needed for problem in missing(name, _WHERE)]
    environment = find(made_by)
    if environment and config.maker and outdated(environment, [config.maker]):
        name, _, wanted = config.maker.partition("==")
        what, fix = f"the environment '{made_by}' does not hold {name} {wanted}", f"burnish doctor --install {made_by}"
        found.append(Problem(_WHERE, what, environment.versions.get(name, "none"), f"Install it: {fix}"))
    return found
