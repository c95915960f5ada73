"""How the tasks under evals/tasks judge single answers, from the YAML to the numbers."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UserError
from pipelines.evaluate.ready import Ready
from pipelines.evaluate.tasks import load_task

TASKS = Path(__file__).parents[3] / "evals" / "tasks"
SCHEMA = "CREATE TABLE A (B TEXT, N TEXT)"


def task(name: str, metric: str, scratch: Path, **document: Any) -> Any:
    """An lm-eval task over one document."""
    documents = scratch / "test.jsonl"
    documents.write_text(json.dumps({"prompt": "asked", **document}) + "\n")
    needs = tuple(path for path in TASKS.iterdir() if path.suffix in (".py", ".sql", ".yaml"))
    ready = Ready(name, name, TASKS / f"{name}.yaml", True, needs, {"test": documents}, metric, "none", None)
    return load_task(ready, scratch)


def scores(made: Any, answer: str) -> dict[str, float]:
    """What an answer to the one document scores."""
    made.build_all_requests(rank=0, world_size=1)
    (instance,) = made.instances
    instance.resps = [answer]
    made.apply_filters()
    numbers: dict[str, float] = made.process_results(instance.doc, [instance.filtered_resps["none"]])
    return numbers


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("48/2 = <<48/2=24>>24\n#### 1,024", 1),
        ("She has 3 left, so the answer is $1024.", 1),
        ("It is 1024.00 dollars", 1),
        ("#### -1024", 0),
        ("#### 102", 0),
        ("1024 is not it, 5 is", 0),
        ("no number", 0),
        ("", 0),
    ],
)
def test_gsm8k_judges_the_number_of_the_answer(tmp_path: Path, answer: str, right: int) -> None:
    made = task("gsm8k", "numeric_match", tmp_path, completion="2 * 512 = <<2*512=1024>>1024\n#### 1,024")
    assert made.doc_to_target(made.eval_docs[0]) == "1,024"
    assert scores(made, answer) == {"numeric_match": right}


@pytest.mark.parametrize(
    ("answer", "right", "executed"),
    [
        ('SELECT A . B FROM A WHERE A . N = "EECS" ;', 1, 1),
        ("select a.b from a where a.n = 'EECS'", 1, 1),
        ('```sql\nSELECT A.B FROM A WHERE A.N = "EECS";\n```', 1, 1),
        ("SELECT B FROM A AS X WHERE 'EECS' = X.N", 0, 1),
        ('SELECT A.B FROM A WHERE A.N = "MATH" ;', 0, 0),
        ('SELECT A.B FROM A WHERE A.N = "EECS" ; And so on', 0, 0),
        ("", 0, 0),
    ],
)
def test_text2sql_judges_the_query_by_its_text_and_by_what_it_selects(
    tmp_path: Path, answer: str, right: int, executed: int
) -> None:
    completion = 'SELECT A.B FROM A WHERE A.N = "EECS" ;'
    assert scores(task("text2sql", "exact_match", tmp_path, completion=completion), answer) == {"exact_match": right}
    again = tmp_path / "executed"
    again.mkdir()
    made = task("text2sql_executed", "executed", again, completion=completion, schema=SCHEMA)
    assert scores(made, answer) == {"executed": executed, "exact_match": right, "undecided": 0}


def test_text2sql_without_a_schema_is_refused_before_anything_is_generated(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a column that the documents do not have"):
        task("text2sql_executed", "executed", tmp_path, completion="SELECT 1")


def test_advising_documents_get_their_schema(tmp_path: Path) -> None:
    completion = (
        'SELECT DISTINCT COURSEalias0.NAME FROM COURSE AS COURSEalias0 WHERE COURSEalias0.DEPARTMENT = "EECS" ;'
    )
    made = task("text2sql_advising", "executed", tmp_path, completion=completion)
    answer = "SELECT name FROM course WHERE department IN ('EECS') GROUP BY name"
    assert scores(made, answer) == {"executed": 1, "exact_match": 0, "undecided": 0}


@pytest.mark.parametrize(
    ("answer", "exact", "f1"),
    [
        (' {"intent":"refund","urgent":true}\n', 1, 1.0),
        ('{"urgent": true, "intent": "refund"}', 0, 1.0),
        ('{"intent":"refund","urgent":false}', 0, 0.5),
        ("refund", 0, 0.0),
    ],
)
def test_tickets_are_judged_by_the_letter_and_by_their_fields(
    tmp_path: Path, answer: str, exact: int, f1: float
) -> None:
    made = task("tickets", "exact_match", tmp_path, completion='{"intent":"refund","urgent":true}')
    assert scores(made, answer) == {"exact_match": exact, "field_f1": f1}
    assert made.higher_is_better() == {"exact_match": True, "field_f1": True}


def test_tickets_can_be_gated_on_their_fields(tmp_path: Path) -> None:
    assert "field_f1" in task("tickets", "field_f1", tmp_path, completion="{}").aggregation()


@pytest.mark.parametrize(("answer", "holds"), [("It is Paris.", 1), ("It is Paris, or Rome.", 0), ("Rome", 0)])
def test_canary_is_held_by_what_it_asks_for(tmp_path: Path, answer: str, holds: int) -> None:
    made = task("canaries", "held", tmp_path, group="knowledge", must=["paris"], must_not=["ROME"])
    assert scores(made, answer) == {"held": holds}


def test_canary_documents_without_patterns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a column that the documents do not have"):
        task("canaries", "held", tmp_path, group="knowledge", must=["paris"])


def test_answers_counts_bits_over_bytes(tmp_path: Path) -> None:
    made = task("answers", "bits_per_byte", tmp_path, completion="fünf")
    scored = made.process_results({"completion": "fünf"}, [(-10 * math.log(2), False)])
    assert scored == {"bits_per_byte": pytest.approx(2.0)}
    assert not made.higher_is_better()["bits_per_byte"]
