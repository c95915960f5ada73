"""The reason why vLLM ended, from logs as it leaves them."""

import pytest

from pipelines.serving.vllm.ended import ended, reason

WORKER = "(Worker pid=5561) ERROR 11-23 06:23:57 [multiproc_executor.py:953] "
CONSEQUENCES = (
    "(EngineCore pid=7) ERROR 11-23 06:23:58 [core.py:9] Exception: WorkerProc initialization failed due to an "
    "exception in a background process. See stack trace for root cause.\n"
    "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n"
)
CASES = {
    "weights": (
        f"{WORKER}ValueError: Following weights were not initialized from checkpoint: {{'model.norm.weight'}}\n",
        "ValueError: Following weights were not initialized from checkpoint: {'model.norm.weight'}",
    ),
    "assertion": (
        f"(APIServer pid=1) WARNING 11-23 06:23:50 [s.py:2] Found ulimit and failed with OSError: [Errno 24] too many\n"
        f"{WORKER}    assert weight.shape[0] == self.size\n{WORKER}           ^^^^^^^^^^^^\n{WORKER}AssertionError\n",
        "AssertionError: assert weight.shape[0] == self.size",
    ),
    "validation": (
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
        "  Value error, Invalid repository ID or local directory specified: 'x'. [type=value_error]\n",
        "Invalid repository ID or local directory specified: 'x'. [type=value_error]",
    ),
    "inspection": (
        "(APIServer pid=1) ERROR 11-23 [registry.py:1120] ModuleNotFoundError: No module named 'torchvision'\n"
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
        "  Value error, Model architectures ['X'] failed to be inspected. Please check the logs for more details.\n",
        "ModuleNotFoundError: No module named 'torchvision'",
    ),
    "argument": ("vllm: error: unrecognized arguments: --nonsense\n", "error: unrecognized arguments: --nonsense"),
}


@pytest.mark.parametrize(("said", "told"), CASES.values(), ids=CASES)
def test_reason_is_the_last_error_that_is_not_about_another(said, told):
    assert reason(said + CONSEQUENCES) == told


def test_end_without_an_error_is_told_by_its_status(tmp_path):
    (tmp_path / "log").write_text("INFO all is well\n")
    assert str(ended("here", -9, tmp_path / "log")).startswith("here: vLLM ended (got exit status -9). ")
