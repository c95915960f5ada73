"""Training throughput: Burnish beside a plain TRL script with its defaults, on the same model, rows and batches.

    python scripts/bench/train.py --base FOLDER --rows banking77/train.csv

Each arm is a process of its own and times only its training loop: LoRA of rank 16 on all linear layers, float32,
batches of 8 rows on the CPU. Tokens are those of the rows, padding apart, so both arms count the same ones.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import LoraConfig
from transformers import Trainer
from trl import SFTConfig, SFTTrainer

from pipelines.engine.stage import Artifact
from pipelines.hf.chat import encode
from pipelines.hf.masks import choose_mask
from pipelines.hf.models import load_tokenizer
from pipelines.hf.rows import Row, write_rows
from pipelines.train.config import TrainConfig
from pipelines.train.run import run

ARMS = {"trl": "TRL SFTTrainer, defaults", "burnish": "Burnish"}


def read_messages(file: Path, count: int) -> list[list[dict[str, str]]]:
    """The first `count` rows of a CSV file: its first column is asked, its second one answered."""
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines))[1 : count + 1]
    return [[{"role": "user", "content": ask}, {"role": "assistant", "content": answer}] for ask, answer in rows]


def tokenised(base: Path, rows: list[list[dict[str, str]]]) -> list[Row]:
    words = load_tokenizer(base)
    mask = choose_mask(words)
    return [Row(str(place), "bench", row, *encode(words, row, mask)) for place, row in enumerate(rows)]


def train_with_trl(base: Path, rows: list[list[dict[str, str]]], folder: Path) -> None:
    """What the library's own examples do; only the device, the type and the batch are set."""
    data = Dataset.from_list([{"prompt": row[:1], "completion": row[1:]} for row in rows])
    settings = {"use_cpu": True, "bf16": False, "model_init_kwargs": {"dtype": "float32"}, "report_to": "none"}
    SFTTrainer(
        model=str(base),
        args=SFTConfig(output_dir=str(folder), per_device_train_batch_size=8, num_train_epochs=1, **settings),
        train_dataset=data,
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    ).train()


def train_with_burnish(base: Path, rows: list[list[dict[str, str]]], folder: Path) -> None:
    (folder / "data" / "rows").mkdir(parents=True)
    (folder / "out").mkdir()
    write_rows(folder / "data" / "rows" / "train.parquet", tokenised(base, rows))
    config = TrainConfig.model_validate(
        {"on": "data", "method": {"kind": "lora", "rank": 16}, "learning_rate": 2e-4, "batch_size": 8}
    )
    inputs = {"base": Artifact("base", "model", base, ""), "data": Artifact("data", "dataset", folder / "data", "")}
    run(config, inputs, folder / "out")


def timed_arm(arm: str, base: Path, rows: list[list[dict[str, str]]]) -> dict[str, float]:
    """CPU-seconds and wall seconds that `Trainer.train` takes in an arm."""
    spent: dict[str, float] = {}
    original = Trainer.train

    def train(self: Trainer, *args: Any, **settings: Any) -> Any:
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            return original(self, *args, **settings)
        finally:
            spent.update(cpu=time.process_time() - cpu, wall=time.perf_counter() - wall)

    Trainer.train = train
    with tempfile.TemporaryDirectory() as folder:
        {"trl": train_with_trl, "burnish": train_with_burnish}[arm](base, rows, Path(folder))
    return spent


def in_process(arm: str, arguments: list[str]) -> dict[str, float]:
    """Run an arm in a fresh process whose idle threads sleep; they would burn CPU-seconds otherwise."""
    command = [sys.executable, __file__, *arguments, "--arm", arm]
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="model folder")
    parser.add_argument("--rows", type=Path, required=True, help="CSV file: question, answer")
    parser.add_argument("--count", type=int, default=96, help="rows to train on, once")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    rows = read_messages(args.rows, args.count)
    if args.arm:
        print(json.dumps(timed_arm(args.arm, args.base, rows)))
        return
    tokens = sum(len(row.input_ids) for row in tokenised(args.base, rows))
    spent = {arm: in_process(arm, sys.argv[1:]) for arm in ARMS}
    print(f"{len(rows)} rows, {tokens} tokens\n")
    print("| arm | tokens per CPU-second | ratio | tokens per second | ratio |\n| --- | --- | --- | --- | --- |")
    for arm, label in ARMS.items():
        rates = [(tokens / spent[arm][kind], spent["trl"][kind] / spent[arm][kind]) for kind in ("cpu", "wall")]
        print(f"| {label} | " + " | ".join(f"{rate:.0f} | {ratio:.2f}" for rate, ratio in rates) + " |")


if __name__ == "__main__":
    main()
