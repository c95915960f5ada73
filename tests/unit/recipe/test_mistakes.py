"""What is said about broken recipes, to the letter: the line, the key, what is wrong, what was meant."""

from pathlib import Path

import pytest

from tests.unit.recipe.project import RECIPE, SUITE, make, problems

KEEP = "  kept: {models: [{use: tuned}], method: {kind: interpolate, alpha: 0.7}}"
CHATS = "  chats: {source: {files: chats.jsonl}, split: {dev: 0.1, test: 0.1}}"
WHOLE = "  whole: {on: chats, method: {kind: full}, learning_rate: 1e-4}"
OWN = "  own: {from: base, policy: {kind: self}}"
SHIP = "  ship: {model: best}"
GATE = "  - {suite: test, metric: skill/acc, rule: improve, by: 0.1}"
BEST = "  best: {from: [tuned, kept], maximize: skill/acc, subject_to: {general: {max_drop: 0.1}}, suite: dev}"
SAID = {"method": "one of full, lora, qlora", "format": "one of messages, prompt_completion, alpaca, sharegpt, text"}

CASES: dict[str, tuple[str, str, list[str]]] = {
    "unknown section": (
        "train:",
        "tarin:",
        [
            "recipe.yaml:9: tarin: unknown section. Did you mean 'train'?",
            "recipe.yaml:13: merge.kept.models.0.use: no entry has this name (got 'tuned'). There are base, kept, best",
            "recipe.yaml:15: select.best.from.0: no entry has this name (got 'tuned'). There are base, kept, best",
            "recipe.yaml:18: evaluate.models.0: no entry has this name (got 'whole'). There are base, kept, best, ship",
        ],
    ),
    "unknown section without a near one": (
        "seed: 17",
        "zzz: 17",
        [
            "recipe.yaml:4: zzz: unknown section. Sections: burnish, name, extends, seed, base, data, replay, train, "
            "merge, select, evaluate, gates, export, report"
        ],
    ),
    "misspelt key": (
        WHOLE,
        "  whole: {on: chats, method: {kind: full}, learnin_rate: 1e-4}",
        [
            "recipe.yaml:11: train.whole.learning_rate: is missing. Peak learning rate.",
            "recipe.yaml:11: train.whole.learnin_rate: unknown key. Did you mean 'learning_rate'?",
        ],
    ),
    "unknown key of a variant": (
        "kind: full}",
        "kind: full, rank: 4}",
        ["recipe.yaml:11: train.whole.method.rank: unknown key. Known keys: kind"],
    ),
    "missing key": (
        "on: chats, method: {kind: full}",
        "method: {kind: full}",
        ["recipe.yaml:11: train.whole.on: is missing. Dataset that is trained on."],
    ),
    "wrong format version": ("burnish: 1", "burnish: 2", ["recipe.yaml:1: burnish: must be 1 (got 2)"]),
    "no format version": (
        "burnish: 1\n",
        "",
        ["recipe.yaml:1: burnish: is missing. Version of the recipe format."],
    ),
    "unknown kind": (
        "kind: full",
        "kind: ful",
        [f"recipe.yaml:11: train.whole.method.kind: must be {SAID['method']} (got 'ful'). Did you mean 'full'?"],
    ),
    "missing kind": (
        "{kind: full}",
        "{rank: 3}",
        [f"recipe.yaml:11: train.whole.method.kind: is missing. It is {SAID['method']}"],
    ),
    "text for a mapping": (
        "{kind: full}",
        "full",
        ["recipe.yaml:11: train.whole.method: must be a mapping (got 'full')"],
    ),
    "text for a number": (
        "learning_rate: 1e-4",
        "learning_rate: fast",
        ["recipe.yaml:11: train.whole.learning_rate: must be a number (got 'fast')"],
    ),
    "fraction for a whole number": (
        "rank: 8",
        "rank: 8.5",
        ["recipe.yaml:10: train.tuned.method.rank: must be a whole number (got 8.5)"],
    ),
    "number out of range": (
        "alpha: 0.7",
        "alpha: 1.7",
        ["recipe.yaml:13: merge.kept.method.alpha: must be at most 1 (got 1.7)"],
    ),
    "number that must be positive": (
        "learning_rate: 1e-4",
        "learning_rate: 0",
        ["recipe.yaml:11: train.whole.learning_rate: must be more than 0 (got 0)"],
    ),
    "choice": (
        CHATS,
        "  chats: {source: {files: chats.jsonl}, format: mesages}",
        [f"recipe.yaml:6: data.chats.format: must be {SAID['format']} (got 'mesages'). Did you mean 'messages'?"],
    ),
    "text for a list": (
        SHIP,
        "  ship: {model: best, formats: safetensors}",
        ["recipe.yaml:23: export.ship.formats: must be a list (got 'safetensors')"],
    ),
    "number for text or a list": (
        "files: chats.jsonl",
        "files: 3",
        ["recipe.yaml:6: data.chats.source.files: must be text or a list (got 3)"],
    ),
    "empty list": (
        "models: [{use: tuned}]",
        "models: []",
        ["recipe.yaml:13: merge.kept.models: must not be empty"],
    ),
    "two sources": (
        "base: {path: base}",
        "base: {path: base, hub: a/b}",
        ["recipe.yaml:3: base: name exactly one of hub, path, wheel and adapter"],
    ),
    "section that is a list": (
        "data:\n" + CHATS,
        "data: [1]",
        [
            "recipe.yaml:5: data: must be a mapping of names to entries (got a list)",
            "recipe.yaml:9: train.tuned.on: no entry has this name (got 'chats'). There are own",
            "recipe.yaml:10: train.whole.on: no entry has this name (got 'chats'). There are own",
        ],
    ),
    "missing file": (
        "files: chats.jsonl",
        "files: chat.jsonl",
        [
            "recipe.yaml:6: data.chats.source.files: there is no such file or folder (got 'chat.jsonl'). "
            "Did you mean 'chats.jsonl'?"
        ],
    ),
    "glob that matches nothing": (
        "files: chats.jsonl",
        "files: '*.csv'",
        ["recipe.yaml:6: data.chats.source.files: matches no file (got '*.csv')"],
    ),
    "missing suite file": (
        "test: evals/test.yaml",
        "test: evals/tset.yaml",
        [
            "recipe.yaml:17: evaluate.suites.test: there is no such file or folder (got 'evals/tset.yaml'). "
            "Did you mean 'test.yaml'?"
        ],
    ),
    "name used twice": (
        "  kept:",
        "  whole: {models: [{use: tuned}], method: {kind: linear}}\n  kept:",
        ["recipe.yaml:13: merge.whole: the name 'whole' is already used at recipe.yaml:11"],
    ),
    "name that is taken": (
        SHIP,
        "  gate: {model: best}",
        ["recipe.yaml:23: export.gate: the name 'gate' is taken by the recipe itself"],
    ),
    "name with a dot": (
        SHIP,
        "  sh.ip: {model: best}",
        ["recipe.yaml:23: export.sh.ip: names are made of letters, digits, _ and - (got 'sh.ip')"],
    ),
    "unknown name": (
        "on: chats, method",
        "on: chat, method",
        ["recipe.yaml:11: train.whole.on: no entry has this name (got 'chat'). Did you mean 'chats'?"],
    ),
    "name with its section": (
        "on: chats, method",
        "on: data.chats, method",
        ["recipe.yaml:11: train.whole.on: no entry has this name (got 'data.chats'). Did you mean 'chats'?"],
    ),
    "name of the wrong kind": (
        "on: chats, method",
        "on: tuned, method",
        ["recipe.yaml:11: train.whole.on: wants a dataset, but 'tuned' makes an adapter"],
    ),
    "export as a source of rows": (
        "from: base",
        "from: ship",
        ["recipe.yaml:8: replay.own.from: wants a model or a dataset, but 'ship' makes an export"],
    ),
    "circle": (
        OWN,
        "  own: {from: kept, policy: {kind: self}}",
        [
            "recipe.yaml:10: train.tuned: entries are made from each other in a circle: train.tuned (recipe.yaml:10) "
            "-> replay.own (recipe.yaml:8) -> merge.kept (recipe.yaml:13) -> train.tuned (recipe.yaml:10)"
        ],
    ),
    "selection on the gated suite": (
        "suite: dev}",
        "suite: test}",
        [
            "recipe.yaml:15: select.best.suite: 'test' is gated too: "
            "selecting on the suite that is gated is selection bias. Use two suites",
        ],
    ),
    "selection without a rule": (
        "maximize: skill/acc, ",
        "",
        ["recipe.yaml:15: select.best: name exactly one of maximize and minimize"],
    ),
    "unknown score in a selection": (
        "maximize: skill/acc",
        "maximize: skil/acc",
        [
            "recipe.yaml:15: select.best.maximize: is no score of suite 'dev' (got 'skil/acc'). "
            "Did you mean 'skill/acc'?"
        ],
    ),
    "unknown score in a gate": (
        "metric: skill/acc",
        "metric: skill/exact_match",
        [
            "recipe.yaml:20: gates.0.metric: is no score of suite 'test' (got 'skill/exact_match'). "
            "Did you mean 'skill/acc'?"
        ],
    ),
    "unknown group": (
        "group: general",
        "group: genral",
        ["recipe.yaml:21: gates.1.group: is no group of suite 'test' (got 'genral'). Did you mean 'general'?"],
    ),
    "unknown suite": (
        "{suite: test, group",
        "{suite: tset, group",
        ["recipe.yaml:21: gates.1.suite: no suite has this name (got 'tset'). Did you mean 'test'?"],
    ),
    "gate without a subject": (
        "group: general, ",
        "",
        ["recipe.yaml:21: gates.1: name exactly one of metric and group"],
    ),
    "no base": (
        "base: {path: base}",
        "# none",
        [
            "recipe.yaml:6: data.chats.base: needs the base, and the recipe has none. "
            "Add a base: section, or name a model here",
        ],
    ),
    "adapter onto another base": (
        "method: {kind: interpolate",
        "base: whole, method: {kind: interpolate",
        [
            "recipe.yaml:13: merge.kept.models.0.use: adapter 'tuned' was trained from 'base', not from 'whole'. "
            "Set base: base in this merge"
        ],
    ),
    "model among adapters": (
        "[{use: tuned}], method: {kind: interpolate, alpha: 0.7}",
        "[{use: tuned}, {use: whole}], method: {kind: cat}",
        [
            "recipe.yaml:13: merge.kept.models.1.use: cat merges adapters, but 'whole' makes a model. "
            "Use task_arithmetic, which merges both"
        ],
    ),
    "unknown candidate": (
        "  models: [whole]",
        "  candidate: kep",
        ["recipe.yaml:18: evaluate.candidate: no entry has this name (got 'kep'). Did you mean 'kept'?"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_recipe_with_one_mistake_is_explained(name: str, tmp_path: Path) -> None:
    old, new, expected = CASES[name]
    assert old in RECIPE
    assert problems(make(tmp_path, RECIPE.replace(old, new, 1))) == expected


MERGE_CASES: dict[str, tuple[str, str, str]] = {
    "number": ("{kind: ties, density: 2}", "1", ".method.density: must be at most 1 (got 2)"),
    "number of a list": ("{kind: ties, density: [0.1, 2]}", "1", ".method.density.1: must be at most 1 (got 2)"),
    "text in a list": ("{kind: ties, density: [a, 0.1]}", "1", ".method.density.0: must be a number (got 'a')"),
    "list of one": ("{kind: ties, density: [0.1]}", "1", ".method.density: must have at least 2 entries (got 1)"),
    "pattern": ('{kind: ties, lambda: {"*.mlp.*": x}}', "1", ".method.lambda.*.mlp.*: must be a number (got 'x')"),
    "list of a pattern": (
        '{kind: ties, density: {"*.mlp.*": [0.1, 3]}}',
        "1",
        ".method.density.*.mlp.*.1: must be at most 1 (got 3)",
    ),
    "pattern of patterns": (
        '{kind: ties, density: {"*.mlp.*": {"*": 1}}}',
        "1",
        ".method.density.*.mlp.*: must be a number or a list (got a mapping)",
    ),
    "no patterns": ("{kind: ties, density: {}}", "1", ".method.density: must not be empty"),
    "not finite": ("{kind: ties, lambda: .nan}", "1", ".method.lambda: must be a finite number (got nan)"),
    "schedule of a whole model": (
        "{kind: ties, scope: global, density: [0.1, 0.2]}",
        "1",
        ".method: with scope: global one density holds for the whole model",
    ),
    "two that do not go together": (
        "{kind: della, density: [0.05, 0.5]}",
        "1",
        (
            ".method: density - epsilon, the smallest probability, must be more than 0 (got 0.05 and 0.1); "
            "make epsilon smaller"
        ),
    ),
    "weight": ("{kind: linear}", "x", ".models.0.weight: must be a number (got 'x')"),
    "weight of a list": ("{kind: linear}", "[1, x]", ".models.0.weight.1: must be a number (got 'x')"),
    "weight of a pattern": (
        "{kind: ties}",
        '{"*.mlp.*": x}',
        ".models.0.weight.*.mlp.*: must be a number (got 'x')",
    ),
    "list of one weight": ("{kind: ties}", "[1]", ".models.0.weight: must have at least 2 entries (got 1)"),
    "weights that are 0 somewhere": (
        "{kind: linear}",
        "[0, 1]",
        ": the weights sum to 0 at some tensors, so their mean is not defined",
    ),
    "negative weight of a pattern": (
        "{kind: ties}",
        '{"*.mlp.*": -1}',
        ": negative weights have no meaning in ties, where signs or directions are averaged; use task_arithmetic",
    ),
}
"""What is said about a merge with this method and this weight of its model."""


@pytest.mark.parametrize("name", MERGE_CASES)
def test_merge_with_one_mistake_is_explained_in_one_line(name: str, tmp_path: Path) -> None:
    method, weight, expected = MERGE_CASES[name]
    text = RECIPE.replace(KEEP, f"  kept: {{models: [{{use: tuned, weight: {weight}}}], method: {method}}}")
    assert problems(make(tmp_path, text)) == [f"recipe.yaml:13: merge.kept{expected}"]


def test_recipe_without_mistakes_has_no_problems(tmp_path: Path) -> None:
    assert problems(make(tmp_path)) == []


def test_recipe_with_many_mistakes_shows_them_all_in_order(tmp_path: Path) -> None:
    text = RECIPE.replace("seed: 17", "sed: 17").replace("rank: 8", "rank: 0").replace("from: own", "from: owm")
    found = problems(make(tmp_path, text.replace("model: best", "model: bst")))
    assert [line.split(": ")[:2] for line in found] == [
        ["recipe.yaml:4", "sed"],
        ["recipe.yaml:10", "train.tuned.method.rank"],
        ["recipe.yaml:10", "train.tuned.replay.from"],
        ["recipe.yaml:23", "export.ship.model"],
    ]


def test_suite_file_with_mistakes_names_its_own_lines(tmp_path: Path) -> None:
    path = make(tmp_path)
    (tmp_path / "evals" / "test.yaml").write_text(SUITE.replace("metric: acc", "metrics: acc").replace("own", "owm"))
    assert problems(path) == [
        "evals/test.yaml:2: evaluate.suites.test.tasks.skill.metric: is missing. "
        "Metric that is gated and reported, declared before it is seen.",
        "evals/test.yaml:2: evaluate.suites.test.tasks.skill.metrics: unknown key. Did you mean 'metric'?",
    ]


def test_gates_that_are_no_list_are_refused(tmp_path: Path) -> None:
    text = RECIPE[: RECIPE.index("gates:")] + "gates: {first: {suite: test}}\n"
    assert problems(make(tmp_path, text)) == ["recipe.yaml:19: gates: must be a list (got a mapping)"]


def test_two_models_left_over_ask_for_the_candidate(tmp_path: Path) -> None:
    text = RECIPE.replace("export:\n" + SHIP + "\n", "").replace("select:\n" + BEST + "\n", "")
    assert problems(make(tmp_path, text.replace("  models: [whole]\n", ""))) == [
        "recipe.yaml:16: gates: it is not clear which model is judged (got whole, kept would do). "
        "Add evaluate: {candidate: whole}"
    ]


def test_gates_on_the_base_itself_are_refused(tmp_path: Path) -> None:
    found = problems(make(tmp_path, RECIPE.replace("  models: [whole]", "  candidate: base")))
    assert found == ["recipe.yaml:18: evaluate.candidate: the base is not judged against itself"]


def test_values_from_the_command_line_are_named_as_such(tmp_path: Path) -> None:
    found = problems(make(tmp_path), "train.tuned.epochs=many", "train.tuned.epoch=1")
    assert found == [
        "--set train.tuned.epoch: train.tuned.epoch: unknown key. Did you mean 'epochs'?",
        "--set train.tuned.epochs: train.tuned.epochs: must be a number (got 'many')",
    ]
