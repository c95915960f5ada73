"""Values of weights: what is destroyed is found, what is meant is left alone, and memory stays small."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipelines.serving.lint.values import scan
from tests.unit.serving.lint.changes import named

NAN, INF = float("nan"), float("inf")
LARGE = 3_000_000  # elements: more than one read


def folder_of(tmp_path: Path, **tensors: torch.Tensor) -> Path:
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
@pytest.mark.parametrize("at", [0, LARGE // 2, -1])
def test_scan_one_nan_anywhere_is_found(dtype: torch.dtype, at: int, tmp_path: Path):
    tensor = torch.ones(LARGE)
    tensor[at] = NAN
    assert named(scan(folder_of(tmp_path, weight=tensor.to(dtype)))) == {"not-finite": "E"}


@pytest.mark.parametrize("value", [INF, -INF])
def test_scan_infinite_value_is_found(value: float, tmp_path: Path):
    assert named(scan(folder_of(tmp_path, weight=torch.tensor([1.0, value])))) == {"not-finite": "E"}


def test_scan_names_tensor_and_range(tmp_path: Path):
    (finding,) = scan(folder_of(tmp_path, sane=torch.ones(4), huge=torch.tensor([-1e20, 3.0])))
    assert finding.rule == "exploded-weights"
    assert finding.got == "huge -1e+20 to 3"


@pytest.mark.parametrize("name", ["model.norm.weight", "q_proj.bias", "gate.e_score_correction_bias"])
def test_scan_zero_vector_has_no_findings(name: str, tmp_path: Path):
    assert scan(folder_of(tmp_path, **{name: torch.zeros(8)})) == []


def test_scan_zero_biases_of_experts_have_no_findings(tmp_path: Path):
    assert scan(folder_of(tmp_path, **{"experts.gate_up_proj_bias": torch.zeros(4, 8)})) == []


def test_scan_integers_and_empty_tensors_have_no_findings(tmp_path: Path):
    tensors = {"g_idx": torch.zeros(4, 4, dtype=torch.int32), "nothing": torch.zeros(0, 4)}
    assert scan(folder_of(tmp_path, **tensors)) == []


def test_scan_folder_without_weights_has_no_findings(tmp_path: Path):
    assert scan(tmp_path) == []
