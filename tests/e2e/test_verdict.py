"""A recipe with every kind of measurement and gate, its report in every form, and two runs of it compared."""

import json
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from tests.e2e.project import CITIES, burnish, make

RECIPE = """
burnish: 1
name: verdict
base: {path: base}
seed: 17
data:
  chats: {source: {files: chats.jsonl}, format: messages, split: {dev: 0.2, test: 0.2}, max_length: 256, seed: 5}
train:
  tuned: {on: chats, method: {kind: lora, rank: 4}, epochs: 1, batch_size: 4, learning_rate: 1.0e-3}
  again: {on: chats, method: {kind: lora, rank: 4}, epochs: 1, batch_size: 4, learning_rate: 1.0e-3, seed: 18}
evaluate:
  suites: {test: evals/test.yaml}
  candidate: tuned
  seeds: [again]
gates:
  - {suite: test, metric: capitals/acc, rule: no_regression, margin: 1.0}
  - {suite: test, metric: capitals/acc, rule: at_least, value: 0.0}
  - {suite: test, group: general, mean: true, rule: no_regression, margin: 100.0}
  - {suite: test, metric: chats/kl, rule: drift, max: 100.0}
  - {suite: test, metric: words/bits_per_byte, rule: drift, max: 0.0001}
report: {cost_per_hour: 3.6}
"""
SUITE = """
tasks:
  capitals:
    file: evals/capitals.yaml
    documents: {file: evals/capitals.jsonl}
    metric: acc
    chat_template: false
    cluster_by: region
  canaries:
    file: evals/says.yaml
    documents: {file: evals/capitals.jsonl}
    metric: exact_match
    group: safety
    show: all
    limit: 4
texts:
  words: {files: words.txt, max_length: 64}
  more: {files: words.txt, max_length: 32}
drift:
  chats: {dataset: chats, split: test}
"""
SAYS = """
task: says
output_type: generate_until
doc_to_text: "{{question}} <script>alert(1)</script> @octocat"
doc_to_target: "{{choices[0]}}"
generation_kwargs: {until: [], max_gen_toks: 8, do_sample: false}
metric_list: [{metric: exact_match}]
"""


class Finished(NamedTuple):
    recipe: Path
    home: Path
    printed: str
    planned: str

    @property
    def report(self) -> Path:
        return next((self.home / "artifacts").glob("report-*"))

    @property
    def data(self) -> dict:
        return json.loads((self.report / "report.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("verdict")
    recipe = make(folder, RECIPE)
    (folder / "evals" / "test.yaml").write_text(SUITE)
    (folder / "evals" / "says.yaml").write_text(SAYS)
    items = [
        {"question": f"capital {city}:", "choices": [city, "Bern", "Rio"], "label": 0, "region": place // 2}
        for place, city in enumerate(CITIES * 2)
    ]
    (folder / "evals" / "capitals.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    planned = burnish(folder / "home", "plan", str(recipe))
    done = burnish(folder / "home", "run", str(recipe))
    assert done.returncode == 3, done.stdout + done.stderr  # the last gate asks for more than any training keeps
    return Finished(recipe, folder / "home", done.stdout + done.stderr, planned.stdout)


def test_verdict_has_every_rule_and_says_what_seeds_change(finished: Finished) -> None:
    gates = finished.data["gates"]
    assert [gate["rule"] for gate in gates] == ["no_regression", "at_least", "no_regression", "drift", "drift"]
    assert gates[0]["clusters"] == 12
    assert gates[4]["over_seeds"]["seeds"] == 2
    assert "what a seed changes cannot be told" in gates[0]["says"]  # no answer differs from the base's
    assert gates[2]["scores"] == ["words/bits_per_byte", "more/bits_per_byte"]
    assert [gate["verdict"] for gate in gates[1:4]] == ["PASS", "PASS", "PASS"]
    assert gates[4]["verdict"] == "FAIL"


def test_plan_says_what_the_gates_can_see_before_anything_is_run(finished: Finished) -> None:
    assert "capitals/acc" in finished.planned
    assert "24" in finished.planned


def test_report_is_written_in_every_form(finished: Finished) -> None:
    names = {path.name for path in finished.report.iterdir()}
    assert names >= {
        "report.json",
        "report.md",
        "summary.md",
        "report.html",
        "junit.xml",
        "annotations.txt",
        "badge.svg",
    }
    assert names >= {"model_card.md"}
    cases = ElementTree.parse(finished.report / "junit.xml").getroot().iter("testcase")
    assert len(list(cases)) == 5
    ElementTree.parse(finished.report / "badge.svg")


def test_report_holds_answers_resources_lineage_and_no_live_markup(finished: Finished) -> None:
    data, page = finished.data, (finished.report / "report.html").read_text()
    assert len(data["answers"][0]["documents"]) == 4
    assert {row["id"] for row in data["resources"]["rows"]} >= {"base", "train.tuned", "evaluate.tuned@test"}
    assert data["resources"]["cost"]["amount"] == pytest.approx(data["resources"]["total_seconds"] / 1000, rel=0.01)
    assert ["base", "train.tuned"] in data["lineage"]["edges"]
    assert "<script>alert" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_base_is_scored_once_for_another_recipe_that_shares_the_suite(finished: Finished) -> None:
    other = finished.recipe.with_name("other.yaml")
    other.write_text(RECIPE.replace("name: verdict", "name: other").replace("seed: 17", "seed: 3"))
    steps = json.loads(burnish(finished.home, "plan", str(other), "--json").stdout)["steps"]
    states = {step["name"]: step["state"] for step in steps}
    assert states["evaluate.base@test"] == "cached"
    assert states["evaluate.tuned@test"] == "run"


def test_report_is_shown_and_compared_with_that_of_another_run(finished: Finished) -> None:
    slower = finished.recipe.with_name("slower.yaml")
    slower.write_text(RECIPE.replace("1.0e-3", "1.0e-4"))
    done = burnish(finished.home, "run", str(slower))
    assert "Verdict:" in done.stdout, done.stderr
    shown = burnish(finished.home, "report", str(slower))
    assert shown.stdout.startswith("<!-- burnish:report:verdict -->")
    runs = sorted(path.name for path in (finished.home / "runs").iterdir())
    compared = burnish(finished.home, "report", "--compare", *runs)
    assert compared.returncode == 0, compared.stderr
    assert "capitals/acc" in compared.stdout
    assert "learning_rate" in compared.stdout
