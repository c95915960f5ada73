"""What is told of answers beside their score: how they ended, what guessing would give, which belong together."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from pipelines.errors import UserError
from pipelines.evaluate import harness
from tests import pico
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


def generate(**settings: object) -> dict[str, object]:
    return GENERATE | {"generation_kwargs": {"until": [], "max_gen_toks": 8, "do_sample": False} | settings}


def test_generation_tells_settings_and_answers_that_were_cut(pico_base, suite_folder, tmp_path):
    """The pico model repeats the digit that a prompt ends with: a stop string that is a digit ends some answers."""
    write_yaml(suite_folder / "answers.yaml", generate(until=["3", "5"]))
    told = evaluate(pico_base, answers(suite_folder, chat_template=False), tmp_path / "out")["generation"]["answers"]
    made = [sample["answer"] for sample in read_samples(tmp_path / "out", "answers")]
    assert told == {
        "until": ["3", "5"],
        "max_gen_toks": 8,
        "do_sample": False,
        "temperature": 0.0,
        "empty": made.count(""),
        "cut": 12 - made.count(""),
    }
    assert 0 < made.count("") < 12


def test_answer_that_ends_with_its_last_token_is_not_cut(suite_folder, tmp_path):
    model = pico.save_model(tmp_path / "model", seed=0)
    digit = pico.tokenizer().encode("3", add_special_tokens=False)
    settings = json.loads((model / "generation_config.json").read_text())
    (model / "generation_config.json").write_text(json.dumps(settings | {"eos_token_id": [2, *digit]}))
    write_yaml(suite_folder / "answers.yaml", generate(max_gen_toks=1))
    told = evaluate(model, answers(suite_folder, chat_template=False), tmp_path / "out")["generation"]["answers"]
    made = [sample["answer"] for sample in read_samples(tmp_path / "out", "answers")]
    assert told["cut"] == 12 - made.count("3") and 0 < made.count("3") < 12


def test_answers_that_all_run_on_are_noted(pico_base, suite_folder, tmp_path):
    metrics = evaluate(pico_base, answers(suite_folder, chat_template=False), tmp_path / "out")
    assert metrics["generation"]["answers"]["cut"] == 12
    assert metrics["notes"] == ["answers: no answer ended within 8 tokens"]


def test_tasks_of_choices_and_texts_tell_no_generation(pico_base, suite_folder, tmp_path):
    metrics = evaluate(pico_base, choice(suite_folder), tmp_path / "out")
    assert metrics["generation"] == {}


def test_first_of_several_answers_is_kept(pico_base, suite_folder, tmp_path):
    sampled = generate(do_sample=True, temperature=1.0)
    write_yaml(suite_folder / "answers.yaml", sampled | {"repeats": 3})
    one = evaluate(pico_base, answers(suite_folder, limit=5), tmp_path / "one")
    evaluate(pico_base, answers(suite_folder, limit=5), tmp_path / "two")
    assert one["scores"]["answers/exact_match"]["n"] == 5
    assert one["generation"]["answers"]["cut"] <= 5
    assert read_samples(tmp_path / "one", "answers") == read_samples(tmp_path / "two", "answers")


def test_answer_of_a_million_characters_is_cut_with_a_sign(pico_base, suite_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "_LONGEST_ANSWER", 3)
    score = evaluate(pico_base, answers(suite_folder, chat_template=False), tmp_path / "out")["scores"]
    made = {sample["answer"] for sample in read_samples(tmp_path / "out", "answers")}
    assert "000 [... 5 more characters]" in made
    assert score["answers/exact_match"]["value"] > 0.5


def test_lines_of_samples_hold_odd_line_ends(pico_base, suite_folder, tmp_path):
    write_jsonl(suite_folder / "answers.jsonl", [{"id": "x", "prompt": "a\u2028b\x85c\u2029d", "completion": "é"}])
    evaluate(pico_base, answers(suite_folder), tmp_path / "out")
    assert "a\u2028b\x85c\u2029d" in read_samples(tmp_path / "out", "answers")[0]["prompt"]


@pytest.mark.parametrize("metric", ["acc", "acc_norm", "acc_bytes", "acc_mutual_info"])
def test_answer_to_choices_is_the_one_that_the_metric_judges(metric, pico_base, suite_folder, tmp_path):
    write_yaml(suite_folder / "choice.yaml", CHOICE | {"metric_list": [{"metric": metric}]})
    write_jsonl(suite_folder / "choice.jsonl", [row | {"label": i % 4} for i, row in enumerate(questions(20))])
    evaluate(pico_base, choice(suite_folder, metric=metric), tmp_path / "out")
    samples = read_samples(tmp_path / "out", "colours")
    assert [s["scores"][metric] == 1.0 for s in samples] == [s["answer"] == s["target"] for s in samples]
    assert len({s["target"] for s in samples}) == 4


def test_answer_is_the_choice_where_every_choice_has_a_prompt_of_its_own(pico_base, tmp_path):
    rows = [
        {"sentence": f"The _ is {i}.", "option1": "fox", "option2": "dog", "answer": str(i % 2 + 1)} for i in range(8)
    ]
    file = str(write_jsonl(tmp_path / "rows.jsonl", rows))
    task = {"task": "winogrande", "documents": {"file": file}, "metric": "acc", "chat_template": False}
    scores = evaluate(pico_base, {"tasks": {"coreference": task}}, tmp_path / "out")["scores"]
    samples = read_samples(tmp_path / "out", "coreference")
    assert [s["target"] for s in samples] == ["The fox", "The dog"] * 4
    assert [s["scores"]["acc"] == 1.0 for s in samples] == [s["answer"] == s["target"] for s in samples]
    assert scores["coreference/acc"]["chance"] == 0.5


def test_chance_is_the_mean_of_one_over_choices(pico_base, suite_folder, tmp_path):
    rows = questions(12)
    for row in rows[:6]:
        row["choices"], row["label"] = row["choices"][:2], 1
    write_jsonl(suite_folder / "choice.jsonl", rows)
    scores = evaluate(pico_base, choice(suite_folder), tmp_path / "out")["scores"]
    assert scores["colours/acc_norm"]["chance"] == pytest.approx((6 / 2 + 6 / 4) / 12)


def test_chance_of_generated_answers_and_texts_is_unknown(pico_base, suite_folder, tmp_path):
    suite = answers(suite_folder) | {"texts": {"pydoc": {"python_topics": True, "limit": 2, "max_bytes": 100}}}
    scores = evaluate(pico_base, suite, tmp_path / "out")["scores"]
    assert {name: score["chance"] for name, score in scores.items()} == {
        "answers/exact_match": None,
        "pydoc/bits_per_byte": None,
    }


def test_samples_carry_the_cluster_that_their_document_names(pico_base, suite_folder, tmp_path):
    rows = [row | {"passage": f"p{i // 3}"} for i, row in enumerate(questions(12))]
    write_jsonl(suite_folder / "choice.jsonl", rows)
    evaluate(pico_base, choice(suite_folder, cluster_by="passage"), tmp_path / "out")
    assert [s["cluster"] for s in read_samples(tmp_path / "out", "colours")] == [f"p{i // 3}" for i in range(12)]
    evaluate(pico_base, choice(suite_folder), tmp_path / "none")
    assert {s["cluster"] for s in read_samples(tmp_path / "none", "colours")} == {None}


def test_cluster_by_a_missing_column_names_those_that_are_there(suite_folder, tmp_path):
    says = r"cluster_by: the documents have no such column \(got passage\)\. They have: choices, id, label, question"
    with pytest.raises(UserError, match=says):
        evaluate(tmp_path / "no-model", choice(suite_folder, cluster_by="passage"), tmp_path / "out")


def test_show_is_handed_on(pico_base, suite_folder, tmp_path):
    suite = {"tasks": choice(suite_folder)["tasks"] | answers(suite_folder, show="all")["tasks"]}
    assert evaluate(pico_base, suite, tmp_path / "out")["show"] == {"colours": "changes", "answers": "all"}


def test_documents_that_repeat_are_kept_and_noted(pico_base, suite_folder, tmp_path):
    write_jsonl(suite_folder / "choice.jsonl", [*questions(4), *questions(2)])
    metrics = evaluate(pico_base, choice(suite_folder), tmp_path / "out")
    assert metrics["notes"] == ["colours: 2 of 6 documents repeat another one"]
    assert metrics["scores"]["colours/acc_norm"]["n"] == 6


def test_targets_that_are_no_choice_are_noted(pico_base, suite_folder, tmp_path):
    write_jsonl(suite_folder / "choice.jsonl", [*questions(9), *(row | {"label": 9} for row in questions(3))])
    notes = evaluate(pico_base, choice(suite_folder), tmp_path / "out")["notes"]
    assert notes[-1] == "colours: 3 of 12 documents have a target that is none of their choices"


def test_limit_above_the_documents_takes_all(pico_base, suite_folder, tmp_path):
    every = evaluate(pico_base, choice(suite_folder), tmp_path / "all")
    more = evaluate(pico_base, choice(suite_folder, limit=100), tmp_path / "more")
    assert every["scores"] == more["scores"]


def test_examples_come_from_the_file_named(pico_base, suite_folder, tmp_path):
    examples = [
        {"id": "e", "prompt": "EXAMPLE", "completion": "yes"},
        {"id": "f", "prompt": "EXAMPLE", "completion": "no"},
    ]
    write_jsonl(suite_folder / "examples.jsonl", examples)
    files = {name: f"{suite_folder}/{name}.jsonl" for name in ("answers", "examples")}
    documents = {"file": files["answers"], "examples": files["examples"]}
    metrics = evaluate(
        pico_base, answers(suite_folder, documents=documents, shots=2, chat_template=False), tmp_path / "out"
    )
    prompts = [sample["prompt"] for sample in read_samples(tmp_path / "out", "answers")]
    assert all(prompt.count("EXAMPLE") == 2 for prompt in prompts)
    assert metrics["contract"]["answers"]["shots"] == 2


def test_built_in_gsm8k_takes_its_five_examples_from_a_local_file(pico_base, tmp_path):
    rows = [{"question": f"What is {i} and {i}?", "answer": f"It is {2 * i}.\n#### {2 * i}"} for i in range(9)]
    documents = {"file": str(write_jsonl(tmp_path / "test.jsonl", rows[:2]))}
    documents["examples"] = str(write_jsonl(tmp_path / "train.jsonl", rows[2:]))
    task = {"task": "gsm8k", "documents": documents, "metric": "exact_match", "filter": "flexible-extract"}
    metrics = evaluate(pico_base, {"tasks": {"gsm8k": task | {"chat_template": False}}}, tmp_path / "out")
    assert metrics["contract"]["gsm8k"]["shots"] == 5
    assert all(s["prompt"].count("Question:") == 6 for s in read_samples(tmp_path / "out", "gsm8k"))


def test_built_in_task_whose_examples_have_a_split_of_their_own_name(pico_base, tmp_path):
    """arc_challenge_chat and others name it in fewshot_config; lm-eval would look for it among the local splits."""
    base = CHOICE | {"task": "own", "fewshot_config": {"sampler": "first_n", "split": "validation"}}
    file = write_yaml(tmp_path / "own.yaml", base)
    rows = write_jsonl(tmp_path / "rows.jsonl", questions(4))
    shown = write_jsonl(tmp_path / "shown.jsonl", [questions(1)[0] | {"question": "SHOWN"}])
    task = {"file": str(file), "metric": "acc", "chat_template": False}
    plain = {"tasks": {"own": task | {"documents": {"file": str(rows)}}}}
    evaluate(pico_base, plain, tmp_path / "plain")
    fed = {"tasks": {"own": task | {"documents": {"file": str(rows), "examples": str(shown)}, "shots": 1}}}
    evaluate(pico_base, fed, tmp_path / "fed")
    assert all(s["prompt"].count("SHOWN") == 1 for s in read_samples(tmp_path / "fed", "own"))
    with pytest.raises(UserError, match="no documents to take the examples in the prompt from"):
        evaluate(pico_base, {"tasks": {"own": plain["tasks"]["own"] | {"shots": 1}}}, tmp_path / "refused")


def test_documents_and_examples_of_two_kinds_are_refused(suite_folder, tmp_path):
    (suite_folder / "examples.csv").write_text("prompt,completion\na,b\n")
    documents = {"file": f"{suite_folder}/answers.jsonl", "examples": f"{suite_folder}/examples.csv"}
    with pytest.raises(UserError, match=r"are in files of two kinds \(got csv and json\)"):
        evaluate(tmp_path / "no-model", answers(suite_folder, documents=documents, shots=1), tmp_path / "out")


@pytest.fixture
def nan_model(tmp_path):
    """A model that knows one token as NaN: that of the digit 7."""
    folder = pico.save_model(tmp_path / "nan", seed=0, tie_word_embeddings=False)
    model = AutoModelForCausalLM.from_pretrained(folder)
    (token,) = pico.tokenizer().encode("7", add_special_tokens=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = torch.nan
    model.save_pretrained(folder)
    return folder


def test_log_likelihood_that_is_nan_names_the_document(nan_model, suite_folder, tmp_path):
    with pytest.raises(UserError, match=r"suite\.tasks\.colours: a log-likelihood of document q7 is no number"):
        evaluate(nan_model, choice(suite_folder), tmp_path / "out")


def test_answer_from_nan_logits_names_the_document(nan_model, suite_folder, tmp_path):
    write_jsonl(suite_folder / "answers.jsonl", [row for row in tickets(8) if row["id"] != "t0"])
    with pytest.raises(UserError, match=r"the logits of the answer to document t7 are no numbers"):
        evaluate(nan_model, answers(suite_folder), tmp_path / "out")


def test_text_and_drift_that_are_nan_name_the_document(nan_model, dataset, tmp_path):
    (tmp_path / "prose.txt").write_text("the lazy dog\n\nthe 7 dogs")
    suite = {"texts": {"prose": {"files": str(tmp_path / "prose.txt")}}}
    with pytest.raises(UserError, match=r"prose/nll: is no finite number on document [0-9a-f]{16}"):
        evaluate(nan_model, suite, tmp_path / "out")
