"""Ten tasks with lm-eval's command line and with `burnish run`: whether the scores are the same, and what each took.

    python scripts/bench/evaluate.py MODEL_FOLDER [--data ../shared/data] [--limit 200] [--batch-size 16] [--chat]

Both read the same local documents, the same seeded sample of them and the same task YAMLs, in processes that begin with
nothing loaded. Scores are compared to the last digit. The command line mixes the log-likelihoods of all its tasks into
batches, which moves them in the eighth digit; burnish measures a task by itself, so that what else a suite holds does
not matter, and tells MKL to sum in one order whatever the number of threads (MKL_CBWR). Where scores differ, the
command line is therefore asked again for that task alone, with MKL told the same. Bits per byte of plain
text is no task of lm-eval's here: burnish sums it in float64, lm-eval in float32.

The command line's index of tasks, which burnish does without, is timed apart. Padding is that of burnish's batches of
log-likelihoods. A second recipe with the same base and suite must measure nothing again. --limit is of documents a
task; tasks that generate take a quarter of it.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
import yaml
from lm_eval.models.huggingface import HFLM

from pipelines.engine.stage import Artifact
from pipelines.evaluate.backends.hf import open_hf
from pipelines.evaluate.batches import Padding
from pipelines.evaluate.builtin import builtin_yaml
from pipelines.evaluate.config import EvaluateConfig
from pipelines.evaluate.draw import draw
from pipelines.evaluate.harness import measure
from pipelines.evaluate.resolve import ready
from pipelines.evaluate.tasks import load_task

OWN = Path(__file__).parents[2] / "evals" / "tasks"
ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
INDEX = "import time; from lm_eval.tasks import TaskManager as T; t = time.time(); T(); print(time.time() - t)"
TEXT = "c4"
"""The task that burnish measures under `texts`: bits per byte of whole documents."""


class Task(NamedTuple):
    """One of lm-eval's tasks, or with `own` one of this project's YAMLs, on documents of `file`."""

    name: str
    metric: str
    file: str
    own: str | None = None
    needs: tuple[str, ...] = ()
    filter: str = "none"
    examples: str | None = None
    generates: bool = False

    @property
    def yaml(self) -> Path:
        return OWN / f"{self.own}.yaml" if self.own else builtin_yaml(self.name, self.name)


ADVISING = ("text2sql_executed.yaml", "sql.py", "advising.py", "advising.sql")
TASKS = (
    Task("piqa", "acc", "piqa/validation.jsonl"),
    Task("winogrande", "acc", "winogrande/validation.jsonl"),
    Task("arc_easy", "acc_norm", "arc/arc_easy_test.jsonl"),
    Task("openbookqa", "acc_norm", "openbookqa/test.jsonl"),
    Task("mmlu", "acc", "mmlu/validation.jsonl", "mmlu"),
    Task("intent_answers", "bits_per_byte", "intents.jsonl", "answers", ("bits.py",)),
    Task("sql_answers", "bits_per_byte", "queries.jsonl", "answers", ("bits.py",)),
    Task("intents", "exact_match", "intents.jsonl", "banking77", generates=True),
    Task("queries", "executed", "queries.jsonl", "text2sql_advising", ADVISING, generates=True),
    Task(
        "gsm8k",
        "exact_match",
        "gsm8k/test.jsonl",
        filter="flexible-extract",
        examples="gsm8k/train.jsonl",
        generates=True,
    ),
)


Scores = dict[str, float]


class Spent(NamedTuple):
    wall: float
    cpu: float


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_documents(data: Path, scratch: Path) -> None:
    """Documents that the data does not hold as the tasks want them: prompt and completion, or a text that fits."""
    with (data / "banking77" / "test.csv").open(newline="", encoding="utf-8") as file:
        asked = "Name the intent of this question to a bank: {}"
        intents = [{"prompt": asked.format(row["text"]), "completion": row["category"]} for row in csv.DictReader(file)]
    write_jsonl(scratch / "intents.jsonl", intents)
    asked = "Write SQL that answers this question about courses: {}"
    rows = map(json.loads, (data / "text2sql" / "advising_test.jsonl").read_text(encoding="utf-8").splitlines())
    queries = [{"prompt": asked.format(row["question"]), "completion": row["sql"]} for row in rows]
    write_jsonl(scratch / "queries.jsonl", queries)
    texts = map(json.loads, (data / "text_lm" / "c4_demo.jsonl").read_text(encoding="utf-8").splitlines())
    write_jsonl(scratch / f"{TEXT}.jsonl", [{"text": row["text"][:2000]} for row in texts])


def found(file: str, data: Path, scratch: Path) -> str:
    return str(scratch / file if (scratch / file).is_file() else (data / file).resolve())


def suite(tasks: dict[str, Task], args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """The suite of the recipe."""
    made = {}
    for name, task in tasks.items():
        documents = {"file": found(task.file, args.data, scratch)}
        if task.examples:
            documents["examples"] = found(task.examples, args.data, scratch)
        made[name] = {
            **({"file": str(task.yaml)} if task.own else {"task": task.name}),
            "needs": [str(OWN / need) for need in task.needs],
            "documents": documents,
            "shots": 1 if task.examples else 0,
            "metric": task.metric,
            "filter": task.filter,
            "chat_template": args.chat,
            **({"limit": limit} if (limit := limit_of(task, args)) else {}),
        }
    limited = {"limit": args.limit} if args.limit else {}
    length = json.loads((args.model / "config.json").read_text())["max_position_embeddings"]
    return {"tasks": made, "texts": {TEXT: {"files": str(scratch / f"{TEXT}.jsonl"), "max_length": length, **limited}}}


def limit_of(task: Task, args: argparse.Namespace) -> int | None:
    limit: int | None = args.limit
    return max(1, limit // 4) if limit and task.generates else limit


def write_tasks(tasks: dict[str, Task], args: argparse.Namespace, scratch: Path) -> None:
    """The YAMLs by which the command line finds the same documents; a name of its own keeps each from a built-in."""
    folder = scratch / "tasks"
    folder.mkdir()
    for name, task in tasks.items():
        files = {"test": found(task.file, args.data, scratch)}
        if task.examples:
            files["train"] = found(task.examples, args.data, scratch)
        train = "train" if task.examples else None
        wrapper = {
            "include": str(task.yaml),
            "num_fewshot": 1 if task.examples else 0,
            "validation_split": None,
            "training_split": train,
            "fewshot_split": train,
        }
        write_task(folder, name, files, wrapper)
    rolling = {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [{"metric": "bits_per_byte"}],
    }
    write_task(folder, TEXT, {"test": str(scratch / f"{TEXT}.jsonl")}, rolling)


def write_task(folder: Path, name: str, files: dict[str, str], rest: dict[str, Any]) -> None:
    source = {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files}}
    content = {**rest, "task": f"bench_{name}", **source, "test_split": "test"}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


def spend(command: list[str], log: Path, **environment: str) -> Spent:
    """Runs a command to its end. Raises CalledProcessError, with the end of its log shown."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with log.open("w") as file:
        code = subprocess.run(command, env=ENVIRONMENT | environment, stdout=file, stderr=file, check=False).returncode
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if code:
        sys.stderr.write(log.read_text()[-4000:])
        raise subprocess.CalledProcessError(code, command)
    return Spent(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def theirs(
    suite: dict[str, Any], names: list[str], args: argparse.Namespace, scratch: Path, **environment: str
) -> tuple[Scores, Spent]:
    """Scores of the command line for some measurements of the suite, and what it took."""
    every = {**suite["tasks"], **suite["texts"]}
    samples = {}
    for name in names:
        file = every[name]["files"] if name == TEXT else every[name]["documents"]["file"]
        count = len(Path(file).read_text(encoding="utf-8").splitlines())
        samples[f"bench_{name}"] = draw(count, every[name].get("limit"), 0, name)
    out = scratch / f"theirs-{len(names)}-{names[0]}"
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={args.model}"]
    command += [
        "--tasks",
        ",".join(samples),
        "--include_path",
        str(scratch / "tasks"),
        "--samples",
        json.dumps(samples),
    ]
    command += ["--batch_size", str(args.batch_size), "--device", "cuda:0" if torch.cuda.is_available() else "cpu"]
    command += ["--output_path", str(out), *(["--apply_chat_template"] if args.chat else [])]
    spent = spend(command, scratch / f"{out.name}.log", HF_DATASETS_CACHE=str(scratch / "datasets"), **environment)
    results = json.loads(next(out.rglob("results_*.json")).read_text())["results"]
    keys = {name: f"{spec.get('metric', 'bits_per_byte')},{spec.get('filter', 'none')}" for name, spec in every.items()}
    return {name: results[f"bench_{name}"][keys[name]] for name in names}, spent


def ours(name: str, suite: dict[str, Any], args: argparse.Namespace, scratch: Path) -> Spent:
    """What `burnish run` took for a recipe of that name: the base, the suite and a report."""
    recipe = {
        "burnish": 1,
        "name": name,
        "base": {"path": str(args.model)},
        "evaluate": {"suites": {"ten": suite}, "batch_size": args.batch_size},
    }
    path = scratch / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    command = [sys.executable, "-m", "pipelines", "run", str(path)]
    return spend(command, scratch / f"{name}.log", BURNISH_HOME=str(scratch / "home"))


def made(scratch: Path) -> dict[str, dict[str, Any]]:
    """Records of all artifacts by their folders."""
    records = (scratch / "home" / "artifacts").glob("*/artifact.json")
    return {path.parent.name: json.loads(path.read_text()) for path in records}


def pad(suite: dict[str, Any], args: argparse.Namespace, scratch: Path) -> Padding:
    """Padding of all batches of log-likelihoods, with nothing computed: the lengths alone are looked at."""
    content = {"model": "model", "suite": {"tasks": suite["tasks"]}, "batch_size": args.batch_size}
    config = EvaluateConfig.model_validate(content)
    nothing: Callable[..., Any] = lambda lm, requests, *_: [(0.0, False)] * len(requests)  # noqa: E731
    folder = scratch / "padding"
    folder.mkdir()
    with (
        patch.object(HFLM, "_loglikelihood_tokens", nothing),
        open_hf(config, Artifact("model", "model", args.model, "")) as subject,
    ):
        for name, spec in config.suite.tasks.items():
            task = load_task(one := ready(name, spec, {}), folder)
            if task.OUTPUT_TYPE != "generate_until":
                rows = draw(len(task.eval_docs), spec.limit, 0, name)
                measure(subject, task, one, "", args.chat, rows, lambda done, total: None)
        padding: Padding = subject.lm.padding
    return padding


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--chat", action="store_true", help="put every prompt through the chat template")
    args = parser.parse_args()
    args.model = args.model.resolve()
    with tempfile.TemporaryDirectory() as folder:
        report(args, Path(folder))


def report(args: argparse.Namespace, scratch: Path) -> None:
    tasks = {task.name: task for task in TASKS}
    write_documents(args.data, scratch)
    write_tasks(tasks, args, scratch)
    content = suite(tasks, args, scratch)
    their_scores, their_cost = theirs(content, [*tasks, TEXT], args, scratch)
    index = float(subprocess.check_output([sys.executable, "-c", INDEX], env=ENVIRONMENT, text=True))
    our_cost = ours("first", content, args, scratch)
    first = made(scratch)
    again = ours("second", content, args, scratch)
    new = [record["stage"] for name, record in made(scratch).items() if name not in first]
    (record,) = (record for record in first.values() if record["stage"] == "evaluate")
    print("| measurement | documents | command line | alone | burnish | |\n| --- | --- | --- | --- | --- | --- |")
    for name, score in record["metrics"]["scores"].items():
        task, value, theirs_ = name.split("/")[0], score["value"], their_scores[name.split("/")[0]]
        alone = None if theirs_ == value else theirs(content, [task], args, scratch, MKL_CBWR="AUTO,STRICT")[0][task]
        verdict = "equal" if value in (theirs_, alone) else "DIFFERS"
        print(
            f"| {name} | {score['n']} | {theirs_!r} | {'' if alone is None else repr(alone)} | {value!r} | {verdict} |",
            flush=True,
        )
    print("\n| | wall seconds | CPU-seconds |\n| --- | --- | --- |")
    print(f"| command line | {their_cost.wall:.1f} | {their_cost.cpu:.1f} |")
    print(f"| of which its index of tasks, measured apart | {index:.1f} | |")
    print(f"| burnish run: base, suite, report | {our_cost.wall:.1f} | {our_cost.cpu:.1f} |")
    print(f"| of which the suite | {record['seconds']:.1f} | {record['cpu_seconds']:.1f} |")
    print(f"| a second recipe, same base and suite; made anew: {', '.join(new)} | {again.wall:.1f} | {again.cpu:.1f} |")
    padding = pad(content, args, scratch)
    print(f"\nPadding: {padding.share:.1%} of {padding.tokens} tokens in batches of {args.batch_size}.")


if __name__ == "__main__":
    main()
