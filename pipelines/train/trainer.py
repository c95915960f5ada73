"""TRL's SFTTrainer over packed rows: only positions that carry loss are scored, and nothing else is computed."""

import inspect
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import torch
import torch.nn.functional as F
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from trl import SFTTrainer

from pipelines.engine.progress import progress
from pipelines.train import checkpoints
from pipelines.train.ledger import Ledger

_FORWARD = ("input_ids", "position_ids", "layout")
FUSED_ABOVE = 2**28
"""Logits (N targets times the vocabulary) beyond which they are computed in tiles instead of being held."""


def token_losses(model: torch.nn.Module, inputs: dict[str, Any], vocabulary: int, keeps_logits: bool) -> torch.Tensor:
    """Negative log-likelihood in nats of every target, [N] in float32; the head is computed at those positions only."""
    known: dict[str, Any] = {name: inputs[name] for name in _FORWARD if name in inputs}
    forward = known | {"use_cache": False}
    keep, targets = inputs["keep"], inputs["targets"]
    if len(keep) * vocabulary > FUSED_ABOVE:
        labels = torch.full_like(inputs["input_ids"], -100)
        labels[0, keep] = targets
        fused = model(**forward, shift_labels=labels, fused_lm_head=True)
        log_probs: torch.Tensor = fused.log_probs[0, keep]
        return -log_probs.float()
    logits = model(**forward, logits_to_keep=keep).logits[0] if keeps_logits else model(**forward).logits[0, keep]
    return F.cross_entropy(logits.float(), targets, reduction="none")


class RowTrainer(SFTTrainer):  # type: ignore[misc]
    """Trains on packs in the order of the dataset. The loss of a step is the mean over its loss tokens on all ranks."""

    loss_is_scaled_for_ga = True
    lr_scheduler: LRScheduler | None

    def __init__(
        self, *, model: PreTrainedModel, pace: Callable[[int], float], ledger: Ledger, **settings: Any
    ) -> None:
        # TRL rounds the adapters of a quantised base to bfloat16; they are trained in the type that they came in.
        kept = {name: weight.data for name, weight in model.named_parameters() if weight.requires_grad}
        super().__init__(model=model, **settings)
        for name, weight in model.named_parameters():
            if name in kept and weight.dtype != kept[name].dtype:
                weight.data = kept[name].to(weight.device)
        self.remove_callback(PrinterCallback)
        self.processing_class = None
        self._pace, self._ledger = pace, ledger
        causal = model.get_base_model() if hasattr(model, "peft_config") else model
        self._vocabulary = causal.config.get_text_config().vocab_size
        self._keeps_logits = "logits_to_keep" in inspect.signature(type(causal).forward).parameters

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        losses = token_losses(model, inputs, self._vocabulary, self._keeps_logits)
        self._ledger.add(losses.detach(), inputs["replayed"])
        # Gradients are averaged over the ranks, and step_tokens counts those of all.
        ranks: int = self.accelerator.num_processes
        tokens: int = inputs["step_tokens"]
        return losses.sum() * ranks / tokens

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> LRScheduler:
        if self.lr_scheduler is None:
            self.lr_scheduler = LambdaLR(optimizer or self.optimizer, self._pace)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0

    def create_model_card(self, *args: Any, **settings: Any) -> None:
        """Checkpoints need none."""

    def _send_telemetry(self) -> None:
        """Nothing about a run leaves the machine."""

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            checkpoint = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            self._ledger.save(checkpoint)
            checkpoints.complete(checkpoint)


class StepEnd(TrainerCallback):  # type: ignore[misc]
    """After each step: note the loss, say how far it is, and decide on a checkpoint or a stop."""

    def __init__(self, ledger: Ledger, every: int, asked_to_stop: Event) -> None:
        self._ledger, self._every, self._asked = ledger, every, asked_to_stop
        self.stopped = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: Any
    ) -> TrainerControl:
        point, stop = self._ledger.close(state.global_step, self._asked.is_set())
        losses = {"loss": point.loss, "replay_loss": point.replay_loss}
        known = {name: value for name, value in losses.items() if value is not None}
        progress(state.global_step, state.max_steps, "steps", **known)
        left = state.max_steps - state.global_step
        self.stopped = stop and left > 0
        control.should_save = left > 0 and (self.stopped or state.global_step % self._every == 0)
        control.should_training_stop = self.stopped or left <= 0
        return control
