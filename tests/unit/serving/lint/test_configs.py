"""Every rule on configs finds its folder, and a config written for both versions is left alone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.serving.lint.configs import rules
from tests import pico
from tests.unit.serving.lint.changes import copied, named, settings

Break = Callable[[Path], object]
ROPE = {"rope_theta": 500000.0, "rope_type": "default"}
YARN = {"rope_theta": 500000.0, "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
LINEAR = {"rope_type": "linear", "factor": 2.0}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = pico.save_model(tmp_path_factory.mktemp("sound") / "model", seed=0)
    both = {"rope_parameters": ROPE, "rope_theta": 500000.0, "rope_scaling": None, "torch_dtype": "float32"}
    settings(folder / "config.json", **both)
    (folder / "README.md").write_text("# Pico\n")
    return folder


def config(*drop: str, **values: object) -> Break:
    return lambda folder: settings(folder / "config.json", drop, **values)


BROKEN: list[tuple[str, str, Break]] = [
    ("rope-in-one-spelling", "W", config("rope_theta", "rope_scaling")),
    ("rope-differs", "E", config(rope_theta=10000.0)),
    ("rope-differs", "E", config(rope_parameters=YARN)),
    ("rope-differs", "E", config(rope_parameters=YARN, rope_scaling={**YARN, "factor": 8.0})),
    ("rope-differs", "E", config(rope_parameters={"full_attention": ROPE, "sliding_attention": {"rope_theta": 1e4}},
                                 rope_local_base_freq=20000.0)),
    ("rope-theta-lost", "E", config("rope_theta", rope_scaling=LINEAR)),
    ("rope-type", "E", config("rope_parameters", rope_scaling={"type": "magic"})),
    ("rope-incomplete", "E", config("rope_parameters", rope_scaling={"rope_type": "llama3", "factor": 8.0})),
    ("rope-incomplete", "E", config("rope_parameters", rope_scaling={
        "rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0, 2.0]})),
    ("rope-factor", "W", config("rope_parameters", rope_scaling={"rope_type": "linear", "factor": 0.5})),
    ("rope-length", "W", config("rope_parameters", rope_scaling={**YARN, "original_max_position_embeddings": 4096})),
    ("rope-length", "W", config("rope_parameters", rope_scaling={**YARN, "factor": 2.0})),
    ("no-dtype", "W", config("dtype", "torch_dtype")),
    ("dtype-in-one-spelling", "W", config("torch_dtype")),
    ("dtypes-differ", "W", config(torch_dtype="bfloat16")),
    ("dtype-not-of-weights", "W", config(dtype="float16", torch_dtype="float16")),
    ("layer-types", "E", config(layer_types=["full_attention"])),
    ("sliding-window", "E", config(sliding_window=-1)),
    ("sliding-window", "E", config(sliding_window=0, layer_types=["sliding_attention", "full_attention"])),
    ("sliding-window", "E", config(sliding_window="wide")),
    ("sliding-window", "E", config(use_sliding_window=True)),
    ("sliding-window", "E", config(layer_types=["sliding_attention", "full_attention"])),
    ("text-config-differs", "W", config(text_config={"vocab_size": 7})),
    ("no-cache", "W", config(use_cache=False)),
    ("local-path", "W", config(_name_or_path="/home/me/checkpoint-400")),
    ("no-card", "W", lambda at: (at / "README.md").unlink()),
]  # fmt: skip


def test_configs_written_for_both_versions_find_nothing(sound: Path) -> None:
    assert rules(sound) == []


@pytest.mark.parametrize("values", [
    {"rope_parameters": YARN, "rope_scaling": {key: YARN[key] for key in YARN if key != "rope_theta"}},
    {"rope_parameters": None, "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}},
    {"_name_or_path": "HuggingFaceTB/SmolLM2-135M"},
    {"sliding_window": 4096, "use_sliding_window": False},
    {"sliding_window": 0, "use_sliding_window": False},
    {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 128},
])  # fmt: skip
def test_configs_of_other_models_find_nothing(values: dict[str, object], sound: Path, tmp_path: Path) -> None:
    folder = copied(sound, tmp_path / "other")
    config(**values)(folder)
    assert rules(folder) == []


@pytest.mark.parametrize(
    ("rule", "severity", "change"), BROKEN, ids=[f"{at}-{case[0]}" for at, case in enumerate(BROKEN)]
)
def test_configs_broken_folder_is_found_with_a_fix(
    rule: str, severity: str, change: Break, sound: Path, tmp_path: Path
) -> None:
    folder = copied(sound, tmp_path / "broken")
    change(folder)
    found = rules(folder)
    assert named(found).get(rule) == severity, [str(finding) for finding in found]
    assert all(finding.fix for finding in found)


def test_configs_of_a_text_config_are_read_too(sound: Path, tmp_path: Path) -> None:
    folder = copied(sound, tmp_path / "wrapped")
    config(text_config={"rope_parameters": ROPE, "rope_theta": 1.0, "num_hidden_layers": 2})(folder)
    assert named(rules(folder)) == {"rope-differs": "E"}


def test_configs_beside_nothing_else_leave_the_card_out(sound: Path, tmp_path: Path) -> None:
    folder = copied(sound, tmp_path / "bare")
    (folder / "README.md").unlink()
    assert rules(folder, beside=False) == []
    assert rules(tmp_path) == []
