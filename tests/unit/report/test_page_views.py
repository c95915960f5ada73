"""The parts of the page that compute: effects and their marks, the front, lineage, words."""

import pytest

from pipelines.report.html.figures.spec import Mark
from pipelines.report.html.views.answers import flips
from pipelines.report.html.views.effects import candidate_forests, direction, marks
from pipelines.report.html.views.kept import front
from pipelines.report.html.views.lineage import depths, layout, reduced
from pipelines.report.html.views.sentences import sentence
from pipelines.report.html.views.words import lines, settings
from pipelines.report.numbers import duration, size

ROW = {"name": "tickets/exact_match", "kind": "mean", "lower_is_better": False}
GATE = {
    "name": "tickets/exact_match", "scores": ["tickets/exact_match"], "suite": "test", "base": 0.25, "threshold": 0.05,
}  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "lower", "expected"),
    [
        (0.1, 0.2, False, "better"),
        (0.1, 0.2, True, "worse"),
        (-0.2, -0.1, False, "worse"),
        (-0.2, -0.1, True, "better"),
        (-0.1, 0.1, False, "unclear"),
        (None, None, False, "unclear"),
    ],
)
def test_direction_is_what_an_interval_without_zero_says(low, high, lower, expected):
    assert direction(low, high, lower) == expected


@pytest.mark.parametrize(
    ("rule", "row", "expected"),
    [
        ("improve", ROW, [Mark("asked", 0.05, 1)]),
        ("improve", ROW | {"lower_is_better": True}, [Mark("asked", -0.05, -1)]),
        ("no_regression", ROW, [Mark("allowed", -0.05, 1)]),
        ("no_regression", ROW | {"lower_is_better": True}, [Mark("allowed", 0.05, -1)]),
        ("at_least", ROW, [Mark("asked", -0.2, 1)]),
        ("drift", ROW, [Mark("allowed", 0.05, -1), Mark("allowed", -0.05, 1)]),
        ("drift", ROW | {"name": "general", "names": ["tickets/exact_match", "facts/acc"]}, []),
    ],
)
def test_marks_stand_where_a_gate_draws_the_line(rule, row, expected):
    assert list(marks([GATE | {"rule": rule}], "test", row)) == expected


def test_marks_of_other_suites_and_scores_are_left_out():
    gates = [GATE | {"rule": "improve", "suite": "dev"}, GATE | {"rule": "improve", "scores": ["other/acc"]}]
    assert marks(gates, "test", ROW) == ()


def test_drift_of_kl_has_a_mark_on_one_side_only():
    gate = GATE | {"rule": "drift", "name": "chats/kl", "scores": ["chats/kl"]}
    row = {"name": "chats/kl", "lower_is_better": True}
    assert marks([gate], "test", row) == (Mark("allowed", 0.05, -1),)


def test_forest_has_a_row_for_a_mean_that_a_gate_judges():
    names = ["facts/acc", "more/acc"]
    numbers = {"unit": "share", "lower_is_better": False}
    seen = {"best": {"delta": 0.02, "low": -0.01, "high": 0.05}}
    group = {**numbers, "group": "general", "names": names, "means": {"base": 0.5, "best": 0.52}, "estimates": seen}
    suite = {"models": ["base", "best"], "rows": [], "estimates": {}, "groups": [group]}
    gate = GATE | {"rule": "no_regression", "name": "general (mean of 2)", "scores": names}
    (forest,) = candidate_forests({"candidate": "best", "suites": {"test": suite}, "gates": [gate]}, "test")
    (effect,) = forest.effects
    assert (effect.label, effect.delta, effect.marks) == ("general (mean of 2)", 0.02, (Mark("allowed", -0.05, 1),))


@pytest.mark.parametrize(("kind", "right"), [("worst", [True, False]), ("best", [False, True])])
@pytest.mark.parametrize("better", [0.0, 1.0])
def test_answers_are_right_where_the_score_is_the_better_one(kind, right, better):
    sides = dict(zip(("base", "candidate"), right, strict=True))
    example = {
        "id": "1", "prompt": "", "target": "", "answers": {"base": "a", "candidate": "b"},
        "scores": {side: better if is_right else 1 - better for side, is_right in sides.items()},
    }  # fmt: skip
    flip = {"name": "t/leak", "suite": "test", "n": 1, "binary": True, "worse": 1, "better": 1, "worst": [], "best": []}
    flip |= {"worse_adjusted": None, "better_adjusted": None, kind: [example]}
    shown = flips({"candidate": "best", "flips": [flip]})
    assert shown is not None
    assert [answer["right"] for answer in shown["rows"][0]["folds"][0]["examples"][0]["answers"]] == right


def test_front_has_the_points_that_no_other_one_beats():
    assert front([(0, 3), (1, 2), (1, 1), (2, 0), (0, 0)]) == [True, True, False, True, False]
    assert front([(1, 1), (1, 1)]) == [True, True]


def test_lineage_drops_only_what_a_longer_way_implies():
    edges = [("base", "tuned"), ("tuned", "merged"), ("base", "merged"), ("data", "tuned")]
    assert reduced(edges) == [("base", "tuned"), ("tuned", "merged"), ("data", "tuned")]


def test_lineage_puts_everything_right_of_its_sources():
    edges = [("a", "b"), ("b", "c"), ("x", "c")]
    assert depths(["a", "b", "c", "x"], edges) == {"a": 0, "b": 1, "c": 2, "x": 0}


def test_lineage_boxes_never_overlap_and_edges_join_them():
    names = ["base", *(f"train.{n}" for n in range(6)), *(f"evaluate.{n}@test" for n in range(6)), "gate"]
    edges = [("base", f"train.{n}") for n in range(6)] + [(f"train.{n}", f"evaluate.{n}@test") for n in range(6)]
    edges += [("base", "evaluate.0@test"), *((f"evaluate.{n}@test", "gate") for n in range(6)), ("train.0", "gate")]
    made = layout({"nodes": [{"id": name, "kind": "model", "stage": ""} for name in names], "edges": edges})
    assert sorted(box.id for box in made.boxes) == sorted(names)
    for one in made.boxes:
        assert 0 < one.x < one.x + one.width < made.width
        assert 0 < one.y < one.y + made.box_height < made.height
        for other in made.boxes:
            apart = one.x + one.width < other.x or other.x + other.width < one.x
            assert one is other or apart or abs(one.y - other.y) > made.box_height
    assert len(made.paths) == len(edges) - 2


def test_sentence_turns_markdown_into_html_and_escapes_the_rest():
    told = sentence(r"**`best`** is \_good\_: &lt;b&gt; &#124; ``x`y`` <script>")
    assert str(told) == ("<strong><code>best</code></strong> is _good_: &lt;b&gt; | <code>x`y</code> &lt;script&gt;")


def test_sentence_lets_no_code_span_break_out():
    assert str(sentence("`<img onerror=alert(1)>`")) == "<code>&lt;img onerror=alert(1)&gt;</code>"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(None, "-"), (3.21, "3.2 s"), (75, "1 min 15 s"), (599.6, "10 min"), (1630, "27 min"), (7500, "2 h 05 min")],
)
def test_duration_keeps_the_units_that_matter(seconds, expected):
    assert duration(seconds) == expected


@pytest.mark.parametrize(("number", "expected"), [(None, "-"), (12, "12 B"), (541_627_189, "542 MB")])
def test_size_has_three_digits(number, expected):
    assert size(number) == expected


def test_lines_come_back_from_their_signs():
    assert lines("one \u23ce two\u23ce") == "one\ntwo"


def test_settings_are_leaves_by_path():
    found = {"method": {"kind": "ties"}, "models": [{"use": "a"}, {"use": "b"}], "over": [1, 2], "none": {}}
    assert settings(found) == [
        ("method.kind", "ties"), ("models.0.use", "a"), ("models.1.use", "b"), ("over", "1, 2"),
        ("none", "{}"),
    ]  # fmt: skip
