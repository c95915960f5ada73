"""Candidates that differ in lambda alone: bitwise what the merge makes, without the models."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.merge import plan
from pipelines.merge.config import MergeConfig
from pipelines.merge.run import run
from pipelines.merge.tuned import Tuned
from pipelines.search import candidates
from pipelines.search.candidates import Candidates
from pipelines.search.vector import scaled_only
from tests import pico
from tests.unit.merge.conftest import save_lora
from tests.unit.merge.models import artifact, cast, edited, files, same

METHODS: list[dict[str, Any]] = [
    {"kind": "task_arithmetic"},
    {"kind": "ties", "density": 0.3},
    {"kind": "ties", "density": 0.3, "scope": "global"},
    {"kind": "ties", "density": 0.3, "scope": "row", "sign": "count"},
    {"kind": "dare", "density": 0.5, "seed": 3},
    {"kind": "dare_ties", "density": 0.5, "seed": 3},
    {"kind": "della", "density": 0.5},
    {"kind": "della", "density": 0.5, "elect": False},
    {"kind": "breadcrumbs", "density": 0.5},
    {"kind": "sce", "density": 0.5},
    {"kind": "iso_c"},
    {"kind": "tsv_m"},
]
LAMBDAS: list[Any] = [0.5, 0.7, 1.0, 0.0, -1.3, [0.5, 1.5], {"*.mlp.*": 2.0}]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A base in bfloat16, a model in bfloat16 and an adapter."""
    wide = pico.save_model(tmp_path / "wide", seed=0)
    base = cast(wide, tmp_path / "base", torch.bfloat16)
    one = cast(pico.save_tuned(wide, tmp_path / "wide-one", seed=1, scale=0.004), tmp_path / "one", torch.bfloat16)
    return base, [one, save_lora(base, tmp_path / "two", seed=2)]


def configured(models: list[Path], method: dict[str, Any], **fields: Any) -> MergeConfig:
    weight = {} if method["kind"] == "sce" else {"weight": 0.8}
    uses = [{"use": folder.name} | weight for folder in models]
    return MergeConfig.model_validate({"models": uses, "method": method} | fields)


def inputs_of(base: Path, models: list[Path]) -> dict[str, Any]:
    found = {"base": artifact(base)}
    for folder in models:
        kind = "adapter" if (folder / "adapter_config.json").exists() else "model"
        found[folder.name] = artifact(folder, kind)
    return found


def check_equal(tmp_path: Path, base: Path, models: list[Path], method: dict[str, Any], **fields: Any) -> None:
    """All lambdas by shared vectors are, file by file, what the merge makes of each."""
    inputs = inputs_of(base, models)
    shared = Candidates(inputs, tmp_path / "scratch")
    for place, lambda_ in enumerate(LAMBDAS):
        config = configured(models, method | {"lambda": lambda_}, **fields)
        shared.make(config, tmp_path / "shared")
        direct = tmp_path / f"direct-{place}"
        direct.mkdir()
        run(config, inputs, direct)
        assert files(tmp_path / "shared") == files(direct), lambda_


@pytest.mark.parametrize("method", METHODS, ids=lambda method: "-".join(map(str, method.values())))
def test_shared_vector_gives_the_bytes_of_the_merge(tmp_path, folders, method, monkeypatch):
    base, models = folders
    merged: list[Path] = []
    monkeypatch.setattr(candidates, "merge", lambda config, inputs, out: merged.append(out) or run(config, inputs, out))
    check_equal(tmp_path, base, models, method)
    if method["kind"] not in ("iso_c", "tsv_m"):
        assert len(merged) == 1, "only the first candidate is merged from the models"


def test_shared_vector_of_another_type_gives_the_bytes_of_the_merge(tmp_path, folders):
    base, models = folders
    check_equal(tmp_path, base, models, {"kind": "ties"}, dtype="float32")


@pytest.mark.parametrize("which", [0, 1])
def test_shared_vector_of_one_model_gives_the_bytes_of_the_merge(tmp_path, folders, which):
    base, models = folders
    check_equal(tmp_path, base, models[which : which + 1], {"kind": "task_arithmetic"})


def test_shared_vector_of_a_head_stored_twice_gives_the_bytes_of_the_merge(tmp_path):
    def with_head(weights):
        return weights | {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}

    plain = pico.save_model(tmp_path / "plain", seed=0)
    base = edited(plain, tmp_path / "base", with_head)
    models = [
        pico.save_tuned(plain, tmp_path / name, seed=seed, scale=0.004) for name, seed in (("one", 1), ("two", 2))
    ]
    check_equal(tmp_path, base, models, {"kind": "ties", "density": 0.5})


def test_models_are_not_read_again_for_another_lambda(tmp_path, folders, monkeypatch):
    base, models = folders
    inputs = inputs_of(base, models)
    shared = Candidates(inputs, tmp_path / "scratch")
    for lambda_ in (0.5, 0.6):
        shared.make(configured(models, {"kind": "ties", "lambda": lambda_}), tmp_path / "out")

    def refuse(*_: Any) -> None:
        raise AssertionError("a model was opened")

    monkeypatch.setattr(Tuned, "stored", refuse)
    monkeypatch.setattr(plan, "open_folder", refuse)
    monkeypatch.setattr(candidates, "merge", refuse)
    before = files(tmp_path / "out")
    shared.make(configured(models, {"kind": "ties", "lambda": 0.9}), tmp_path / "out")
    assert files(tmp_path / "out") != before


def test_vector_is_dropped_when_anything_else_changes(tmp_path, folders):
    base, models = folders
    inputs = inputs_of(base, models)
    shared = Candidates(inputs, tmp_path / "scratch")
    for density, lambda_ in ((0.2, 0.5), (0.2, 0.6), (0.5, 0.6), (0.5, 0.5), (0.2, 0.6)):
        config = configured(models, {"kind": "ties", "density": density, "lambda": lambda_})
        shared.make(config, tmp_path / "shared")
    (tmp_path / "direct").mkdir()
    run(config, inputs, tmp_path / "direct")
    assert same(tmp_path / "shared", tmp_path / "direct")


def test_adapter_that_is_interpolated_is_baked_once(tmp_path, folders, monkeypatch):
    base, models = folders
    inputs = inputs_of(base, models[1:])
    shared = Candidates(inputs, tmp_path / "scratch")
    kinds: list[str] = []
    monkeypatch.setattr(
        candidates, "merge", lambda config, seen, out: kinds.append(seen["two"].kind) or run(config, seen, out)
    )
    for alpha in (0.3, 0.5, 0.7, 0.0, 1.0):
        config = MergeConfig.model_validate(
            {"models": [{"use": "two"}], "method": {"kind": "interpolate", "alpha": alpha}}
        )
        shared.make(config, tmp_path / "shared")
        (direct := tmp_path / f"direct-{alpha}").mkdir()
        run(config, inputs, direct)
        assert files(tmp_path / "shared") == files(direct), alpha
    assert kinds == ["adapter", "adapter", *["model"] * 4]


@pytest.mark.parametrize("kind", ["iso_c", "tsv_m", "ties"])
@pytest.mark.parametrize("weight", [0.8, {"*.mlp.*": 1.0, "*": 0.0}], ids=["one", "none-for-some"])
def test_shared_vector_in_float32_gives_the_bytes_of_the_merge(tmp_path, pico_base, pico_tuned, kind, weight):
    """A norm is the mean of the models at lambda 1, and the base where no model counts."""
    inputs = inputs_of(pico_base, list(pico_tuned))
    shared = Candidates(inputs, tmp_path / "scratch")
    for place, lambda_ in enumerate((0.5, 0.7, 1.0, 0.9)):
        uses = [{"use": folder.name, "weight": weight} for folder in pico_tuned]
        config = MergeConfig.model_validate({"models": uses, "method": {"kind": kind, "lambda": lambda_}})
        (direct := tmp_path / str(place)).mkdir()
        run(config, inputs, direct)
        shared.make(config, tmp_path / "shared")
        assert files(tmp_path / "shared") == files(direct), lambda_


def test_shared_vector_does_not_depend_on_the_threads_of_torch(tmp_path):
    wide = {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 1}
    base = pico.save_model(tmp_path / "base", seed=0, **wide)
    models = [pico.save_tuned(base, tmp_path / name, seed) for seed, name in enumerate(("one", "two"), 1)]
    inputs = inputs_of(base, models)
    shared = Candidates(inputs, tmp_path / "scratch")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for lambda_ in (0.5, 0.7):
            config = configured(models, {"kind": "iso_c", "lambda": lambda_}, threads=1)
            shared.make(config, tmp_path / "shared")
    finally:
        torch.set_num_threads(before)
    (direct := tmp_path / "direct").mkdir()
    run(config, inputs, direct)
    assert files(tmp_path / "shared") == files(direct)


def test_adapter_that_is_interpolated_and_calibrated_is_not_baked(tmp_path, folders):
    base, models = folders
    inputs = inputs_of(base, models[1:])
    shared = Candidates(inputs, tmp_path / "scratch")
    for alpha in (0.3, 0.5, 0.7):
        method, post = {"kind": "interpolate", "alpha": alpha}, {"kind": "svc", "alpha": 0.5}
        config = MergeConfig.model_validate(
            {"models": [{"use": "two"}], "method": method, "post": post, "dtype": "float32"}
        )
        shared.make(config, tmp_path / "shared")
        (direct := tmp_path / f"direct-{alpha}").mkdir()
        run(config, inputs, direct)
        assert files(tmp_path / "shared") == files(direct), alpha


def test_method_without_a_lambda_shares_nothing():
    models = [Path("one"), Path("two")]
    assert not scaled_only(configured(models, {"kind": "linear"}))
    assert scaled_only(configured(models, {"kind": "ties"}))
    assert not scaled_only(configured(models, {"kind": "ties"}, post={"kind": "svc"}))
