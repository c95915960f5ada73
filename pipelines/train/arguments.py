"""What Burnish asks of TRL's trainer, whose own defaults differ in many places."""

import os
from pathlib import Path

import torch
from trl import SFTConfig

from pipelines.train.config import TrainConfig

_MIXED = {"float32": "no", "bfloat16": "bf16"}


def trainer_arguments(config: TrainConfig, folder: Path) -> SFTConfig:
    """Arguments for one pack a forward pass, in the dataset's order, reporting to nobody. Joins the launcher's ranks.

    The number of passes that make a step is not known yet: it depends on the number of ranks.
    """
    # The recipe says the precision. A launcher's setting would win over it otherwise.
    os.environ["ACCELERATE_MIXED_PRECISION"] = _MIXED[config.precision]
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true") or not torch.accelerator.is_available()
    return SFTConfig(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=1,
        train_sampling_strategy="sequential",
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        seed=config.seed,
        bf16=config.precision == "bfloat16",
        use_cpu=on_cpu,
        gradient_checkpointing=config.gradient_checkpointing,
        router_aux_loss_coef=0.0,
        ddp_find_unused_parameters=False,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
