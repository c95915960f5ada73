"""The environment of worker processes: no launcher's leftovers, no telemetry, threads that fit the cores."""

import os
from collections.abc import Mapping

_LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_", "ACCELERATE_", "FSDP_")
_QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "DO_NOT_TRACK": "1",
    "WANDB_DISABLED": "true",
    "WANDB_MODE": "disabled",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "DISABLE_MULTIPROC": "1",
    "PYTHONUNBUFFERED": "1",
}
# MKL splits sums by the number of threads; in this mode the number changes no bit of the result.
_REPRODUCIBLE = {"MKL_CBWR": "AUTO,STRICT"}
# A forked worker must not find CUDA already initialised by an import of its parent.
_FORK = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what a launcher left: a stray RANK would leak into every child."""
    return {name: value for name, value in environment.items() if not name.startswith(_LAUNCHER)}


def worker_environment(home: str, processes: int = 1, offline: bool = False) -> dict[str, str]:
    """The environment of one of `processes` workers that share this machine.

    OpenMP threads wait without spinning: spinning made the same training several times slower on a busy machine.
    """
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    threading = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads), "OMP_WAIT_POLICY": "PASSIVE"}
    switches = _QUIET | _REPRODUCIBLE | _FORK | (_OFFLINE if offline else {})
    return scrubbed(os.environ) | switches | threading | {"BURNISH_HOME": home}
