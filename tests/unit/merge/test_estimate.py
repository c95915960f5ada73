"""What a merge will take is known before it is made, from headers alone."""

from pathlib import Path

from pipelines.merge.config import MergeConfig
from pipelines.merge.estimate import estimate
from tests.unit.merge.models import artifact
from tests.unit.merge.test_size import sparse_model


def config(kind: str, **fields) -> MergeConfig:
    return MergeConfig.model_validate({"models": [{"use": "one"}, {"use": "two"}], "method": {"kind": kind}} | fields)


def test_estimate_is_of_the_model_that_will_be_written(tmp_path: Path) -> None:
    base = sparse_model(tmp_path / "base", {f"model.layers.{at}.mlp.up_proj.weight": [1000, 500] for at in range(4)})
    inputs = {"base": artifact(base)}
    kept = estimate(config("linear"), inputs)
    assert kept.bytes == 4 * 1000 * 500 * 2
    assert estimate(config("linear", dtype="float32"), inputs).bytes == 2 * kept.bytes
    assert estimate(config("ties"), inputs).seconds > kept.seconds
    assert estimate(config("iso_c"), inputs).peak_bytes > kept.peak_bytes == estimate(config("ties"), inputs).peak_bytes
