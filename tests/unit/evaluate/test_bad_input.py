"""Tasks that cannot be measured: each is told in one line, before the model is loaded wherever that can be known."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from lm_eval.caching import cache

from pipelines.errors import UserError
from pipelines.evaluate import hub
from tests.unit.evaluate.conftest import (
    CHOICE,
    GENERATE,
    answers,
    choice,
    evaluate,
    files,
    questions,
    read_samples,
    write_jsonl,
    write_yaml,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture
def own(suite_folder):
    """A suite of one task whose YAML has further keys, and functions from functions.py."""

    def make(functions: str, keys: str, metric: str = "exact_match") -> dict[str, object]:
        (suite_folder / "functions.py").write_text(functions)
        text = write_yaml(suite_folder / "own.yaml", {"include": "answers.yaml", "task": "own"}).read_text()
        (suite_folder / "own.yaml").write_text(text + keys)
        needs = [f"{suite_folder}/{name}" for name in ("functions.py", "answers.yaml")]
        return answers(suite_folder, file=f"{suite_folder}/own.yaml", needs=needs, metric=metric)

    return make


def refused(suite: dict[str, object], tmp_path: Path, model: Path | None = None) -> str:
    """The line that a suite is refused with; without a model, none may have been asked for."""
    with pytest.raises(UserError) as error:
        evaluate(model or tmp_path / "no-model", suite, tmp_path / "out")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("entry", "metric"),
    [({"metric": "accuracy"}, "accuracy"), ({"metric": "f1", "hf_evaluate": True, "aggregation": "mean"}, "f1")],
)
def test_metric_of_the_network_is_refused(entry, metric, suite_folder, tmp_path):
    write_yaml(suite_folder / "choice.yaml", CHOICE | {"metric_list": [entry]})
    line = refused(choice(suite_folder, metric=metric), tmp_path)
    assert f"the task's metric has to be fetched from the network (got {metric}). Take one of lm-eval's own" in line


def test_targets_that_are_none_of_the_choices_are_refused(pico_base, suite_folder, tmp_path):
    """lm-eval takes a column that is not there for the target itself: every model would score 0."""
    write_yaml(suite_folder / "choice.yaml", CHOICE | {"doc_to_target": "labl"})
    line = refused(choice(suite_folder), tmp_path, pico_base)
    assert line.startswith("suite.tasks.colours: no document has a target that is one of its choices (got labl). Mend")


@pytest.mark.parametrize(
    ("examples", "shots", "line"),
    [
        (slice(2), 3, "suite.tasks.colours: has 2 examples for the prompt (got 3 shots). Lower shots, or"),
        (slice(12, 20), 3, ""),
        (
            slice(10, 20),
            3,
            "suite.tasks.colours: examples in the prompt are measured documents too (got 2 of them). Take",
        ),
    ],
)
def test_examples_in_the_prompt_are_enough_and_not_measured(examples, shots, line, pico_base, suite_folder, tmp_path):
    rows = [row | {"question": f"example {row['question']}"} for row in questions(2)]
    rows = rows if shots > len(questions(20)[examples]) else questions(20)[examples]
    documents = {
        "file": f"{suite_folder}/choice.jsonl",
        "examples": str(write_jsonl(tmp_path / "examples.jsonl", rows)),
    }
    suite = choice(suite_folder, documents=documents, shots=shots)
    if line:
        assert refused(suite, tmp_path).startswith(line)
    else:
        evaluate(pico_base, suite, tmp_path / "out")


def test_task_that_runs_code_of_the_model_is_refused(tmp_path):
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "def a():", "test": "", "entry_point": "a"}])
    task = {"task": "humaneval", "documents": {"file": str(rows)}, "metric": "pass@1"}
    assert "runs code that the model writes (got humaneval)" in refused({"tasks": {"code": task}}, tmp_path)


def test_task_without_any_document_left_is_refused(own, tmp_path):
    suite = own("def none(rows):\n    return rows.select([])\n", "process_docs: !function functions.none\n")
    assert refused(suite, tmp_path) == ("suite.tasks.answers: has no documents. Name a split or a file that has some")


FUNCTIONS = {
    "text": (
        "doc_to_text",
        "def f(doc):\n    return doc['text']\n",
        "the function f at functions.py:2 fails on document t0",
    ),
    "target": (
        "doc_to_target",
        "def f(doc):\n    if doc['id'] == 't3':\n        raise RuntimeError('odd')\n    return 'x'\n",
        "the function f at functions.py:3 fails on document t3 (got RuntimeError: odd)",
    ),
    "results": (
        "process_results",
        "def g(doc, answer):\n    return 1 / 0 if doc['id'] == 't5' else 1\n\n"
        "def f(doc, results):\n    return {'exact_match': g(doc, results[0])}\n",
        "the function g at functions.py:2 fails on document t5 (got ZeroDivisionError: division by zero). Mend it",
    ),
    "import": ("doc_to_text", "import no_such_module\n", "the code at functions.py:1 fails (got ModuleNotFoundError"),
    "syntax": ("doc_to_text", "def f(doc)\n", "the code at functions.py:1 fails (got SyntaxError: expected ':'"),
    "name": ("doc_to_text", "def g(doc): ...\n", "has no function 'f'"),
}


@pytest.mark.parametrize("case", FUNCTIONS)
def test_function_that_raises_is_named_with_its_document(case, own, pico_base, tmp_path):
    key, functions, says = FUNCTIONS[case]
    assert says in refused(own(functions, f"{key}: !function functions.f\n"), tmp_path, pico_base)


def test_defect_outside_the_own_functions_is_no_mistake_of_the_user(pico_base, suite_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("lm_eval.evaluator.hash_string", lambda text: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluate(pico_base, choice(suite_folder), tmp_path / "out")


def test_choice_without_a_token_is_refused(pico_base, suite_folder, tmp_path):
    write_yaml(suite_folder / "choice.yaml", CHOICE | {"target_delimiter": ""})
    rows = questions(4)
    rows[2]["choices"] = ["red", "", "blue", "black"]
    write_jsonl(suite_folder / "choice.jsonl", rows)
    line = refused(choice(suite_folder), tmp_path, pico_base)
    assert line.startswith("suite.tasks.colours: a choice or a target has no tokens to score (got '')")


def test_choice_longer_than_the_context_is_refused(pico_base, suite_folder, tmp_path):
    rows = questions(4)
    rows[2]["choices"] = ["red", "fox " * 100, "blue", "black"]
    write_jsonl(suite_folder / "choice.jsonl", rows)
    with pytest.raises(UserError, match="a choice or a target is longer than 32 tokens"):
        evaluate(pico_base, choice(suite_folder), tmp_path / "out", max_length=32)


def test_answers_that_leave_no_room_for_a_prompt_are_refused_before_anything_is_measured(
    pico_base, suite_folder, tmp_path
):
    write_yaml(suite_folder / "answers.yaml", GENERATE | {"generation_kwargs": {"until": [], "max_gen_toks": 512}})
    suite = {"tasks": choice(suite_folder)["tasks"] | answers(suite_folder)["tasks"]}
    line = refused(suite, tmp_path, pico_base)
    assert "suite.tasks.answers: answers of up to 512 tokens leave no room for a prompt in 512" in line
    assert not files(tmp_path / "out")


def test_prompts_cut_before_and_within_the_question_are_counted_apart(pico_base, suite_folder, tmp_path):
    examples = [{"id": f"e{i}", "prompt": "fox " * 20, "completion": "yes"} for i in range(2)]
    write_jsonl(suite_folder / "examples.jsonl", examples)
    rows = [
        {"id": "short", "prompt": "fox", "completion": "no"},
        {"id": "long", "prompt": "dog " * 90, "completion": ""},
    ]
    documents = {
        "file": str(write_jsonl(suite_folder / "rows.jsonl", rows)),
        "examples": f"{suite_folder}/examples.jsonl",
    }
    suite = answers(suite_folder, documents=documents, shots=2, chat_template=False)
    notes = evaluate(pico_base, suite, tmp_path / "out", max_length=48)["notes"]
    assert notes[0] == "answers: 2 of 2 prompts were cut to 48 tokens, 1 of them within the question itself"


def test_document_longer_than_the_context_is_scored_in_windows(pico_base, tmp_path):
    (tmp_path / "long.txt").write_text("the quick brown fox " * 200)
    score = evaluate(pico_base, {"texts": {"long": {"files": str(tmp_path / "long.txt")}}}, tmp_path / "out")["scores"]
    assert score["long/bits_per_byte"]["n"] == 1
    assert read_samples(tmp_path / "out", "long")[0]["weight"] == 4000


def test_nothing_of_lm_evals_caches_is_written(pico_base, suite_folder, tmp_path):
    """Neither answers nor requests: one is not keyed by the model, the other not by the documents."""
    folder = Path(cache.PATH)
    before = sorted(folder.rglob("*")) if folder.exists() else []
    here = sorted(Path.cwd().iterdir())
    suite = {"tasks": choice(suite_folder)["tasks"] | answers(suite_folder)["tasks"]}
    evaluate(pico_base, suite, tmp_path / "out")
    assert (sorted(folder.rglob("*")) if folder.exists() else []) == before
    assert sorted(Path.cwd().iterdir()) == here


def test_hub_that_is_not_there_is_asked_once(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(hub.constants, "ENDPOINT", nobody)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub.config, "HF_HUB_OFFLINE", False)
    hub.leave_unless_reachable.cache_clear()
    hub.leave_unless_reachable()
    assert hub.constants.HF_HUB_OFFLINE and hub.config.HF_HUB_OFFLINE
    hub.leave_unless_reachable.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_task_missing_offline_is_refused_at_once(settings, tmp_path):
    """In a process of its own: the switches of the hub are read when it is imported."""
    code = (
        "import sys, time; from pathlib import Path; from tests.unit.evaluate.conftest import evaluate\n"
        "from pipelines.errors import UserError\n"
        "started = time.monotonic()\n"
        "try: evaluate(Path('none'), {'tasks': {'piqa': {'task': 'piqa', 'metric': 'acc'}}}, Path(sys.argv[1]))\n"
        "except UserError as error: print(error)\n"
        "assert time.monotonic() - started < 15\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out")],
        cwd=ROOT,
        env=os.environ | {"HF_HOME": str(tmp_path / "hf")} | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("suite.tasks.piqa: the task's own documents cannot be reached")
    assert "Name a local file under documents" in done.stdout
