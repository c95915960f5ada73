"""The launch settings under recipes/accelerate as accelerate understands them."""

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file

FOLDER = Path(__file__).parents[3] / "recipes" / "accelerate"
KINDS = {"ddp": "MULTI_GPU", "fsdp2": "FSDP", "deepspeed_zero3": "DEEPSPEED"}


@pytest.mark.parametrize("name", KINDS)
def test_settings_are_read_and_leave_the_precision_to_the_recipe(name):
    settings = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert settings.distributed_type == KINDS[name]
    assert settings.mixed_precision == "no"
    assert settings.num_machines == 1


def test_settings_fsdp_is_version_2_and_zero_stage_3():
    assert load_config_from_file(str(FOLDER / "fsdp2.yaml")).fsdp_config["fsdp_version"] == 2
    assert load_config_from_file(str(FOLDER / "deepspeed_zero3.yaml")).deepspeed_config["zero_stage"] == 3


def test_settings_every_file_is_tested():
    assert {path.stem for path in FOLDER.iterdir()} == KINDS.keys()
