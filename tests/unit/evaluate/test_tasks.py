"""lm-eval tasks: the numbers, the samples, and every way in which a task can be wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.engine.stage import Artifact
from pipelines.errors import UserError
from tests.unit.evaluate.conftest import (
    CHOICE,
    GENERATE,
    answers,
    choice,
    evaluate,
    questions,
    read_samples,
    tickets,
    write_jsonl,
    write_yaml,
)


def test_choice_task_keeps_a_sample_for_every_document(pico_base, suite_folder, tmp_path):
    metrics = evaluate(pico_base, choice(suite_folder), tmp_path / "out")
    samples = read_samples(tmp_path / "out", "colours")
    score = metrics["scores"]["colours/acc_norm"]
    assert [sample["id"] for sample in samples] == [f"q{i}" for i in range(12)]
    assert score["value"] == sum(s["scores"]["acc_norm"] for s in samples) / 12
    assert (score["n"], score["kind"], score["group"], score["lower_is_better"]) == (12, "mean", "target", False)
    assert all(s["answer"] in questions()[0]["choices"] for s in samples)
    assert metrics == json.loads((tmp_path / "out" / "scores.json").read_text())


def test_limit_draws_a_seeded_sample_with_the_right_documents(pico_base, suite_folder, tmp_path):
    evaluate(pico_base, choice(suite_folder), tmp_path / "all")
    evaluate(pico_base, choice(suite_folder, limit=5) | {"sample_seed": 3}, tmp_path / "some")
    every = {s["id"]: s for s in read_samples(tmp_path / "all", "colours")}
    some = read_samples(tmp_path / "some", "colours")
    assert len(some) == 5 and [s["id"] for s in some] != [f"q{i}" for i in range(5)]
    assert all(sample["doc_hash"] == every[sample["id"]]["doc_hash"] for sample in some)
    assert all(sample["prompt"] == every[sample["id"]]["prompt"] for sample in some)


def test_same_config_gives_the_same_bytes(pico_base, suite_folder, tmp_path):
    suite = choice(suite_folder) | {"texts": {"pydoc": {"python_topics": True, "limit": 3, "max_bytes": 200}}}
    for name in ("one", "two"):
        evaluate(pico_base, suite, tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) == 3
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_score_does_not_hang_on_the_rest_of_the_suite(pico_base, suite_folder, tmp_path):
    alone = evaluate(pico_base, choice(suite_folder), tmp_path / "alone")
    both = {"tasks": choice(suite_folder)["tasks"] | answers(suite_folder)["tasks"]}
    evaluate(pico_base, both, tmp_path / "both")
    assert read_samples(tmp_path / "alone", "colours") == read_samples(tmp_path / "both", "colours")
    assert alone["scores"].keys() == {"colours/acc_norm"}


def test_documents_of_a_dataset_are_read_from_its_split(pico_base, suite_folder, dataset, tmp_path):
    suite = answers(suite_folder, documents={"dataset": "own", "split": "test"}, filter="strip")
    metrics = evaluate(pico_base, suite, tmp_path / "out", dataset)
    samples = read_samples(tmp_path / "out", "answers")
    assert metrics["scores"]["answers/exact_match"]["n"] == 6
    assert samples[0]["prompt"] == "<|im_start|>user\nthe lazy dog 0<|im_end|>\n<|im_start|>assistant\n"
    assert samples[0]["target"] == "00000000"


def test_shots_come_from_the_training_split_of_the_dataset(pico_base, suite_folder, dataset, tmp_path):
    suite = answers(suite_folder, documents={"dataset": "own"}, shots=2, chat_template=False)
    metrics = evaluate(pico_base, suite, tmp_path / "out", dataset)
    assert read_samples(tmp_path / "out", "answers")[0]["prompt"].count("dog") > 2
    assert metrics["contract"]["answers"]["shots"] == 2


def test_contract_names_what_must_agree(pico_base, pico_tuned, suite_folder, tmp_path):
    one = evaluate(pico_base, answers(suite_folder), tmp_path / "one")["contract"]["answers"]
    two = evaluate(pico_tuned[0], answers(suite_folder), tmp_path / "two")["contract"]["answers"]
    short = evaluate(pico_base, answers(suite_folder, limit=3), tmp_path / "three")["contract"]["answers"]
    raw = evaluate(pico_base, answers(suite_folder, chat_template=False), tmp_path / "four")["contract"]["answers"]
    assert one == two
    assert {key for key in one if one[key] != short[key]} == {"documents", "prompts", "limit"}
    assert {key for key in one if one[key] != raw[key]} == {"prompts", "template"}
    assert str(tmp_path) not in json.dumps(one)


def test_contract_says_what_computes_and_with_which_tokenizer(pico_base, suite_folder, dataset, tmp_path):
    suite = choice(suite_folder) | {"texts": {"pydoc": {"python_topics": True, "limit": 2, "max_bytes": 100}}}
    contract = evaluate(pico_base, suite | {"drift": {"chats": {"dataset": "own"}}}, tmp_path / "out", dataset)[
        "contract"
    ]
    for one in contract.values():
        shared = {name: one[name] for name in ("backend", "dtype", "device", "batch_size", "sample_seed")}
        assert shared["backend"] == "hf" and shared["dtype"] == "float32" and shared["sample_seed"] == 0
        assert {"lm-eval", "torch", "transformers"} <= one.keys() and len(one["tokenizer"]) == 64
    other = tmp_path / "other"
    other.mkdir()
    for file in pico_base.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    same = evaluate(other, choice(suite_folder), tmp_path / "same")["contract"]["colours"]
    assert same == contract["colours"]
    tokenizer["model"]["merges"].pop()
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    changed = evaluate(other, choice(suite_folder), tmp_path / "changed")["contract"]["colours"]
    assert {key for key in changed if changed[key] != same[key]} == {"tokenizer"}


def test_editing_a_function_changes_the_contract_of_its_task(pico_base, suite_folder, tmp_path):
    text = "include: answers.yaml\ntask: half\nprocess_results: !function half.score\n"
    (suite_folder / "half.yaml").write_text(text)
    needs = [f"{suite_folder}/{name}" for name in ("half.py", "answers.yaml")]
    suite = answers(suite_folder, file=f"{suite_folder}/half.yaml", needs=needs)
    body = "def score(doc, results):\n    return value()\n\n\ndef value():\n    return {'exact_match': %s}\n"
    contracts = []
    for value in ("1", "0"):
        (suite_folder / "half.py").write_text(body % value)
        contracts.append(evaluate(pico_base, suite, tmp_path / value)["contract"]["answers"])
    assert {key for key in contracts[0] if contracts[0][key] != contracts[1][key]} == {"task"}


def test_editing_the_task_changes_its_contract(pico_base, suite_folder, tmp_path):
    one = evaluate(pico_base, choice(suite_folder), tmp_path / "one")["contract"]["colours"]
    write_yaml(suite_folder / "choice.yaml", CHOICE | {"target_delimiter": " = "})
    two = evaluate(pico_base, choice(suite_folder), tmp_path / "two")["contract"]["colours"]
    assert {key for key in one if one[key] != two[key]} == {"task"}


def test_empty_answers_are_noted(pico_base, suite_folder, tmp_path):
    write_yaml(suite_folder / "answers.yaml", GENERATE | {"generation_kwargs": {"until": ["", " "], "max_gen_toks": 1}})
    notes = evaluate(pico_base, answers(suite_folder), tmp_path / "out")["notes"]
    assert notes == ["answers: every answer is empty"]


def test_prompts_that_were_cut_are_counted(pico_base, suite_folder, tmp_path):
    rows = [*tickets(3), {"id": "long", "prompt": "fox " * 200, "completion": "Paris"}]
    write_jsonl(suite_folder / "answers.jsonl", rows)
    notes = evaluate(pico_base, answers(suite_folder), tmp_path / "out", max_length=64)["notes"]
    assert notes[0] == "answers: 1 of 4 prompts were cut to 64 tokens, 1 of them within the question itself"


def test_built_in_task_takes_local_documents(pico_base, tmp_path):
    rows = [{"goal": f"open box {i}", "sol1": "with a key", "sol2": "with the fox", "label": i % 2} for i in range(6)]
    file = write_jsonl(tmp_path / "piqa.jsonl", rows)
    suite = {"tasks": {"piqa": {"task": "piqa", "documents": {"file": str(file)}, "metric": "acc"}}}
    metrics = evaluate(pico_base, suite, tmp_path / "out")
    assert metrics["scores"]["piqa/acc"]["n"] == 6


WRONG = {
    "unknown task": ({"task": "arc_eazy", "file": None}, "no such lm-eval task (got arc_eazy). Did you mean arc_easy"),
    "group": ({"task": "mmlu", "file": None}, "is a group of lm-eval tasks, not a task (got mmlu)"),
    "no documents": ({"documents": {"file": "/nowhere/x.jsonl"}}, "no such documents"),
    "format": ({"documents": {"file": "/nowhere/x.docx"}}, "cannot read such documents (got x.docx)"),
    "metric": ({"metric": "f1"}, "produces no such metric (got f1). It has: acc, acc_norm"),
    "filter": ({"filter": "strict"}, "has no such filter (got strict). It has: none"),
    "local file": ({"documents": None}, "names a local file of documents"),
    "shots": ({"shots": 3}, "no documents to take the examples in the prompt from (got 3 shots)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_task_is_refused_before_the_model_is_loaded(case, suite_folder, tmp_path):
    changes, says = WRONG[case]
    with pytest.raises(UserError) as error:
        evaluate(tmp_path / "no-model", choice(suite_folder, **changes), tmp_path / "out")
    assert says in str(error.value) and "\n" not in str(error.value)


def test_missing_split_names_those_that_are_there(suite_folder, dataset, tmp_path):
    suite = answers(suite_folder, documents={"dataset": "own", "split": "dev"})
    with pytest.raises(UserError, match=r"dataset own has no such split \(got dev\)\. It has: test, train"):
        evaluate(tmp_path / "no-model", suite, tmp_path / "out", dataset)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "the documents are empty"),
        ('{"prompt": "a", "completion": "b"}\n{"prompt": 3', "cannot be read as one table"),
        ('{"text": "a"}\n', "asks for a column that the documents do not have"),
    ],
)
def test_broken_documents_are_refused(content, says, suite_folder, tmp_path):
    (suite_folder / "answers.jsonl").write_text(content)
    with pytest.raises(UserError, match=says):
        evaluate(tmp_path / "no-model", answers(suite_folder), tmp_path / "out")


def test_yaml_that_does_not_parse_names_the_line(suite_folder, tmp_path):
    (suite_folder / "answers.yaml").write_text("task: a\nmetric_list: [b\n")
    with pytest.raises(UserError, match=r"answers\.yaml:3: is not YAML"):
        evaluate(tmp_path / "no-model", answers(suite_folder), tmp_path / "out")


def test_function_of_an_unnamed_file_is_refused_until_named(pico_base, suite_folder, tmp_path):
    (suite_folder / "half.py").write_text("def score(doc, results):\n    return {'half': 0.5}\n")
    text = "include: answers.yaml\ntask: half\nprocess_results: !function half.score\n"
    metric = "metric_list: [{metric: half, aggregation: mean, higher_is_better: true}]\n"
    (suite_folder / "half.yaml").write_text(text + metric)
    suite = answers(suite_folder, file=f"{suite_folder}/half.yaml", metric="half")
    with pytest.raises(UserError, match=r"does not name \(got answers\.yaml\)\. Add it to the task: needs"):
        evaluate(pico_base, suite, tmp_path / "one")
    needs = [f"{suite_folder}/{name}" for name in ("half.py", "answers.yaml")]
    metrics = evaluate(
        pico_base,
        answers(suite_folder, file=suite["tasks"]["answers"]["file"], metric="half", needs=needs),
        tmp_path / "two",
    )
    assert metrics["scores"]["answers/half"]["value"] == 0.5


def test_metric_that_is_no_mean_is_refused(pico_base, suite_folder, tmp_path):
    metric = {"metric": "acc", "aggregation": "median", "higher_is_better": True}
    write_yaml(suite_folder / "choice.yaml", CHOICE | {"metric_list": [metric]})
    write_jsonl(suite_folder / "choice.jsonl", questions(11))
    with pytest.raises(UserError, match="is no mean over documents"):
        evaluate(pico_base, choice(suite_folder, metric="acc"), tmp_path / "out")


def test_model_without_chat_template_is_refused(pico_base, suite_folder, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in pico_base.iterdir():
        if file.name != "chat_template.jinja":
            (bare / file.name).write_bytes(file.read_bytes())
    with pytest.raises(UserError, match=r"no chat template\. Set chat_template: false"):
        evaluate(bare, answers(suite_folder), tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("template", [False, True])
def test_scores_equal_those_of_the_lm_eval_command_line(template, pico_base, suite_folder, tmp_path):
    """To the last digit, for choices and for generated answers, sample by sample."""
    tasks = (
        choice(suite_folder, chat_template=template)["tasks"] | answers(suite_folder, chat_template=template)["tasks"]
    )
    ours = evaluate(pico_base, {"tasks": tasks}, tmp_path / "out", batch_size=4)["scores"]
    results, samples = command_line(pico_base, suite_folder, template)
    assert ours["colours/acc_norm"]["value"] == results["colours"]["acc_norm,none"]
    assert ours["answers/exact_match"]["value"] == results["answers"]["exact_match,none"]
    assert (ours["answers/exact_match"]["value"] > 0.5) is not template
    for name in ("colours", "answers"):
        mine = read_samples(tmp_path / "out", name)
        assert [s["doc_hash"] for s in mine] == [s["doc_hash"] for s in samples[name]]
        assert [s["prompt"] for s in mine] == [s["arguments"]["gen_args_0"]["arg_0"] for s in samples[name]]
    assert [s["answer"] for s in mine] == [s["resps"][0][0] for s in samples["answers"]]


def command_line(model: Path, folder: Path, template: bool) -> tuple[dict, dict]:
    """Results and samples of `python -m lm_eval` on the same tasks, documents and batch size."""
    tasks, out = folder / "cli", folder / "cli-out"
    tasks.mkdir()
    for content, name in ((CHOICE, "choice"), (GENERATE, "answers")):
        source = {"dataset_kwargs": {"data_files": {"test": str(folder / f"{name}.jsonl")}}}
        write_yaml(tasks / f"{name}.yaml", content | source)
    command = [
        sys.executable,
        "-m",
        "lm_eval",
        "run",
        "--model",
        "hf",
        "--model_args",
        f"pretrained={model}",
        "--tasks",
    ]
    command += [str(tasks / "choice.yaml"), str(tasks / "answers.yaml"), "--device", "cpu", "--batch_size", "4"]
    command += ["--log_samples", "--output_path", str(out), *(["--apply_chat_template"] if template else [])]
    settings = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache"), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads(next(out.rglob("results_*.json")).read_text())["results"]
    samples = {}
    for name in ("colours", "answers"):
        lines = [json.loads(line) for line in next(out.rglob(f"samples_{name}_*.jsonl")).read_text().splitlines()]
        samples[name] = sorted((s for s in lines if s["filter"] == "none"), key=lambda s: s["doc_id"])
    return results, samples


def test_artifact_of_a_dataset_is_found_by_its_reference(pico_base, suite_folder, dataset, tmp_path):
    other = Artifact("other", "dataset", tmp_path / "missing", "e" * 64)
    suite = answers(suite_folder, documents={"dataset": "own"})
    assert evaluate(pico_base, suite, tmp_path / "out", dataset, other)["scores"]["answers/exact_match"]["n"] == 6
