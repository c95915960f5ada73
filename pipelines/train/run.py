"""Training: from a base, a dataset and maybe a replay buffer to an adapter or a model."""

import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from peft import PeftModel
from transformers import PreTrainedModel, set_seed
from trl import SFTConfig

from pipelines.engine.stage import Artifact, Inputs
from pipelines.errors import UserError, wrong
from pipelines.hf.models import DTYPES, load_model, load_tokenizer
from pipelines.hf.quantised import nf4
from pipelines.hf.rows import read_rows
from pipelines.train import checkpoints
from pipelines.train.adapters import save_adapter, with_adapters
from pipelines.train.arguments import trainer_arguments
from pipelines.train.attention import attend_by_rows, drops_out, packs
from pipelines.train.check import batch_problems
from pipelines.train.config import Full, QLora, TrainConfig
from pipelines.train.earlier import KeepWeights, kept_steps
from pipelines.train.feed import Blocks, Rows, collate, forward_passes
from pipelines.train.ledger import Ledger
from pipelines.train.mixing import plan_blocks
from pipelines.train.packing import Row
from pipelines.train.schedule import rate
from pipelines.train.stop import EXIT_STATUS, stop_requests
from pipelines.train.trainer import RowTrainer, StepEnd
from pipelines.train.weights import save_model


def run(config: TrainConfig, inputs: Inputs, out_dir: Path) -> dict[str, Any]:
    """Train and fill `out_dir`, going on from the newest whole checkpoint in it. SystemExit(143) when asked to stop."""
    args = trainer_arguments(config, out_dir / checkpoints.FOLDER)
    if problems := batch_problems(config, args.world_size):
        raise UserError(*problems)
    rows = read_inputs(config, inputs)
    blocks = plan_blocks(
        rows.loss_tokens[: rows.new],
        rows.loss_tokens[rows.new :],
        ratio=config.replay.ratio if config.replay else 0.0,
        batch_size=config.batch_size,
        epochs=config.epochs,
        max_steps=config.max_steps,
        seed=config.seed,
    )
    kept = kept_steps(config.checkpoints, len(blocks))
    base = inputs[config.base]
    model, by_rows = _load(config, base.path, args)
    _check_vocabulary(rows.rows, model)
    micro = (config.micro_batch_size or config.batch_size // args.world_size) if packs(model) else 1
    args.gradient_accumulation_steps = config.batch_size // (args.world_size * micro)

    resumed = _resume_point(Path(args.output_dir), args)
    ledger = Ledger.load(resumed) if resumed else Ledger()
    done = len(ledger.curve)
    trainer = RowTrainer(
        model=model,
        args=args,
        train_dataset=forward_passes(rows, blocks, args.world_size * args.gradient_accumulation_steps, micro),
        data_collator=partial(collate, rows, by_rows, by_rows and not drops_out(model)),
        processing_class=load_tokenizer(base.path),
        pace=partial(rate, total=len(blocks), warmup=config.warmup, kind=config.schedule),
        ledger=ledger,
    )
    started = time.monotonic()
    with stop_requests() as asked:
        step_end = StepEnd(ledger, config.checkpoint_every, asked)
        trainer.add_callback(step_end)
        trainer.add_callback(KeepWeights(kept, out_dir, partial(_write, trainer, base)))
        trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    if step_end.stopped:
        raise SystemExit(EXIT_STATUS)
    seconds = time.monotonic() - started
    _write(trainer, base, out_dir)
    if trainer.is_world_process_zero():
        checkpoints.discard(out_dir / checkpoints.FOLDER)
    trainer.accelerator.wait_for_everyone()
    return {
        **_metrics(config, rows, blocks, ledger),
        "trainable": model.num_parameters(only_trainable=True),
        "parameters": model.num_parameters(),
        "tokens_per_second": round(rows.tokens(blocks[done:]) / seconds, 1),
        "resumed_from": done or None,
        "processes": args.world_size,
    }


def read_inputs(config: TrainConfig, inputs: Inputs) -> Rows:
    """The training rows of the dataset and of the replay buffer that carry any loss. UserError where there are none."""
    new = _trainable(inputs[config.on], "on")
    old = _trainable(inputs[config.replay.from_], "replay.from") if config.replay else []
    rows = [*new, *old]
    return Rows(rows, [len(row.targets) for row in rows], len(new))


def _trainable(dataset: Artifact, where: str) -> list[Row]:
    file = dataset.path / "rows" / "train.parquet"
    rows = [Row(np.array(row.input_ids), np.array(row.labels)) for row in read_rows(file)]
    if trainable := [row for row in rows if len(row.targets)]:
        return trainable
    what = "has no training rows" if not rows else "has no training row with a token that carries loss"
    raise wrong(where, what, str(dataset.name), "Look at its rows with `burnish inspect`")


def _load(config: TrainConfig, base: Path, args: SFTConfig) -> tuple[PreTrainedModel | PeftModel, bool]:
    """The model to train, and whether its attention goes row by row.

    Trained weights are float32, whatever the precision of the maths; frozen ones have the type of the maths. DeepSpeed
    wants one type for all and makes its own copies in the type of the maths.
    """
    set_seed(config.seed)
    method, maths = config.method, DTYPES["float32" if args.deepspeed_plugin else config.precision]
    if isinstance(method, Full):
        model = load_model(base, "float32", "cpu")
        return model, attend_by_rows(model)
    if isinstance(method, QLora):
        sharded = os.environ.get("ACCELERATE_USE_FSDP", "false") == "true"
        quantized = nf4(maths, method.double_quant, sharded)
        model = load_model(base, maths, quantization_config=quantized, device_map={"": args.device})
    else:
        model = load_model(base, maths, "cpu")
    by_rows = attend_by_rows(model)
    return with_adapters(model, method), by_rows


def _check_vocabulary(rows: Sequence[Row], model: PreTrainedModel | PeftModel) -> None:
    size, largest = model.config.get_text_config().vocab_size, max(int(row.input_ids.max()) for row in rows)
    if largest >= size:
        what = f"the rows hold token ids up to {largest}, the base knows {size}"
        raise wrong("base", what, "", "Prepare the data with the tokenizer of this base")


def _resume_point(folder: Path, args: SFTConfig) -> Path | None:
    """The checkpoint to go on from, the same on every rank."""
    with args.main_process_first(desc="looking for checkpoints"):
        if args.process_index == 0:
            checkpoints.discard_partial(folder)
        return checkpoints.newest(folder)


def _write(trainer: RowTrainer, base: Artifact, folder: Path) -> None:
    """Write the weights as they are, as an adapter or as a model, and nothing else. All ranks take part."""
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if trainer.is_world_process_zero():
        folder.mkdir(parents=True, exist_ok=True)
        model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
        if isinstance(model, PeftModel):
            save_adapter(model, state, base.name, folder)
        else:
            save_model(model, state, base.path, folder)
        for file in filter(Path.is_file, folder.iterdir()):
            file.chmod(0o644)
    trainer.accelerator.wait_for_everyone()


def _metrics(config: TrainConfig, rows: Rows, blocks: Blocks, ledger: Ledger) -> dict[str, Any]:
    losses = [point.loss for point in ledger.curve if point.loss is not None]
    loss_tokens = sum(rows.loss_tokens[row] for block in blocks for row in block)
    wanted = config.replay.ratio if config.replay else 0.0
    return {
        "steps": len(blocks),
        "rows": sum(len(block) for block in blocks),
        "tokens": rows.tokens(blocks),
        "loss_tokens": loss_tokens,
        "loss_first": losses[0],
        "loss_last": losses[-1],
        "curve": [list(point) for point in ledger.curve],
        "replay": {"wanted": wanted, "achieved": rows.replayed(blocks) / loss_tokens},
    }
