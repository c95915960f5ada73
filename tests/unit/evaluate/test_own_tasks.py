"""How the tasks under evals/tasks judge single answers."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from pipelines.evaluate.tasks import Ready, load_task

TASKS = Path(__file__).parents[3] / "evals" / "tasks"


def task(name: str, metric: str, completion: str, scratch: Path) -> Any:
    """An lm-eval task over one document."""
    documents = scratch / "test.jsonl"
    documents.write_text(json.dumps({"prompt": "asked", "completion": completion}) + "\n")
    return load_task(
        Ready(
            name, name, TASKS / f"{name}.yaml", True, (TASKS / "bits.py",), {"test": documents}, metric, "none", None
        ),
        scratch,
    )


def exact_match(name: str, completion: str, answer: str, scratch: Path) -> float:
    """What an answer scores against a completion."""
    made = task(name, "exact_match", completion, scratch)
    made.build_all_requests(rank=0, world_size=1)
    (instance,) = made.instances
    instance.resps = [answer]
    made.apply_filters()
    score: float = made.process_results(instance.doc, [instance.filtered_resps["none"]])["exact_match"]
    return score


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
def test_gsm8k_judges_the_last_number(tmp_path: Path, answer: str, right: int) -> None:
    assert exact_match("gsm8k", "2 * 512 = <<2*512=1024>>1024\n#### 1,024", answer, tmp_path) == right


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ('SELECT A . B FROM A WHERE A . N = "EECS" ;', 1),
        ("select a.b from a where a.n = 'eecs'", 1),
        ('```sql\nSELECT A.B FROM A WHERE A.N = "EECS";\n```', 1),
        ('SELECT A.B FROM A WHERE A.N = "MATH" ;', 0),
        ('SELECT A.B FROM A WHERE A.N = "EECS" ; And so on', 0),
        ("", 0),
    ],
)
def test_text2sql_judges_the_query_apart_from_its_spelling(tmp_path: Path, answer: str, right: int) -> None:
    assert exact_match("text2sql", 'SELECT A.B FROM A WHERE A.N = "EECS" ;', answer, tmp_path) == right


def test_answers_counts_bits_over_bytes(tmp_path: Path) -> None:
    made = task("answers", "bits_per_byte", "fünf", tmp_path)
    scored = made.process_results({"completion": "fünf"}, [(-10 * math.log(2), False)])
    assert scored == {"bits_per_byte": pytest.approx(2.0)}
    assert not made.higher_is_better()["bits_per_byte"]
