"""Every rule fires on its evidence, names what it rests on, and gives lines that a recipe takes."""

import re
from typing import Any

import pytest

from pipelines.merge.advice.config import Lineage
from pipelines.merge.advice.grounds import Facts
from pipelines.merge.advice.next_step import Step
from pipelines.merge.advice.rules import RULES, Advice, Verdict, advise
from pipelines.merge.advice.signals import Curve, Evidence, ModelSignals, PairSignals
from pipelines.prepare.config import PrepareConfig
from pipelines.recipe.yaml_file import parse_yaml, plain
from pipelines.replay.config import ReplayConfig
from pipelines.search.config import MergeEntry
from pipelines.train.config import TrainConfig

SECTIONS = {
    "merge": MergeEntry,
    "train": TrainConfig,
    "data": PrepareConfig,
    "replay": ReplayConfig,
}
BIG = 8_000_000_000


def lineage(*parents: dict[str, Any], **fields: Any) -> Lineage:
    named = [{"name": name} | parent for name, parent in zip("abcdef", parents, strict=False)]
    return Lineage.model_validate(
        {"parents": named, "training": "method: {kind: full}, learning_rate: 1.0e-4"} | fields
    )


def evidence(
    count: int = 2, size: float = 0.02, unchanged: float = 0.1, parameters: int = BIG, **pair: float
) -> Evidence:
    models = tuple(ModelSignals(name, size, {"0": size}, unchanged) for name in "abcdef"[:count])
    fields = {"cosine": 0.05, "ratio": 1.2, "shared": 0.2, "conflict": 0.05, "overlap": 0.1, "chance": 0.02} | pair
    return Evidence(parameters, 10, ("w",), models, (PairSignals(("a", "b"), **fields),) if count > 1 else ())


TWO = lineage({"data": ["chats"], "method": "full"}, {"data": ["code"], "method": "full"})
HUB = lineage({}, {})
SAME = lineage({"data": ["chats"]}, {"data": ["chats"]}, differ=["seed", "learning_rate"])
ADAPTERS = lineage({"adapter": True}, {"adapter": True})
STEEP = Curve(("a", "b"), "chats", 64, (0, 0.25, 0.5, 0.75, 1), (1.0, 1.5, 2.0, 1.5, 1.0), 1.0)
FLAT = STEEP._replace(losses=(1.0, 1.0, 1.0, 1.0, 1.0), barrier=0.0)
GAIN = FLAT._replace(ends=("base", "a"), losses=(2.0, 1.5, 1.05, 1.01, 1.0))

SECOND_LONGER = evidence(ratio=4.0)._replace(
    models=tuple(ModelSignals(name, size, {"0": size}, 0.1) for name, size in (("a", 0.01), ("b", 0.04)))
)

CASES: dict[str, tuple[Facts, str, Verdict]] = {
    "other architecture": (Facts(HUB, None, ("b is another architecture",)), "unfit", Verdict.APART),
    "another base by the recipe": (Facts(lineage({}, {"foreign": "other"})), "other base", Verdict.APART),
    "another base by its weights": (Facts(HUB, evidence(size=0.9)), "other base", Verdict.APART),
    "far but trained on the base": (Facts(TWO, evidence(size=0.9)), "experts", Verdict.MERGE),
    "unrelated whatever the recipe says": (Facts(TWO, evidence(size=1.4)), "other base", Verdict.APART),
    "barrier without data": (Facts(HUB, evidence()._replace(curves=(STEEP,))), "barrier", Verdict.APART),
    "barrier with data": (Facts(TWO, evidence()._replace(curves=(STEEP,))), "barrier", Verdict.TRAIN),
    "barrier below the limit": (Facts(HUB, evidence()._replace(curves=(FLAT,))), "experts", Verdict.MERGE),
    "barrier on the way from the base": (
        Facts(lineage({"data": ["chats"]}), evidence(1)._replace(curves=(STEEP,))),
        "barrier",
        Verdict.APART,
    ),
    "one model": (Facts(lineage({"data": ["chats"]})), "one model", Verdict.INTERPOLATE),
    "same data": (Facts(SAME, evidence()), "same data", Verdict.SOUP),
    "opposed without data": (Facts(HUB, evidence(cosine=-0.4)), "opposed", Verdict.APART),
    "opposed with data": (Facts(TWO, evidence(cosine=-0.4)), "opposed", Verdict.TRAIN),
    "conflict without data": (Facts(HUB, evidence(conflict=0.3)), "conflict", Verdict.MERGE),
    "conflict with data": (Facts(TWO, evidence(conflict=0.3)), "conflict", Verdict.TRAIN),
    "five domains": (Facts(lineage(*({"data": [name]} for name in "vwxyz"))), "many domains", Verdict.TRAIN),
    "small with data": (Facts(TWO, evidence(parameters=135_000_000)), "small model", Verdict.TRAIN),
    "small without data": (Facts(HUB, evidence(parameters=135_000_000)), "experts", Verdict.MERGE),
    "adapters": (Facts(ADAPTERS, evidence()), "adapters", Verdict.MERGE),
    "experts": (Facts(TWO, evidence()), "experts", Verdict.MERGE),
    "experts from lineage alone": (Facts(TWO), "experts", Verdict.MERGE),
}


@pytest.mark.parametrize("case", CASES)
def test_rule_fires_on_its_facts_and_names_its_source(case: str) -> None:
    facts, rule, verdict = CASES[case]
    found = advise(facts)
    assert (found.rule, found.verdict) == (rule, verdict)
    assert all(_is_source(said.source) for said in (found, *found.reasons))
    assert found.measured == (facts.evidence is not None)


def test_every_rule_has_a_case() -> None:
    assert {rule for _, rule, _ in CASES.values()} == RULES.keys()


def _is_source(text: str) -> bool:
    return bool(re.search(r"arXiv \d{4}\.\d{5}", text)) or text in (
        "by arithmetic",
        "the recipe",
        "the checks of the merge stage",
    )


@pytest.mark.parametrize("case", CASES)
def test_thresholds_are_called_uncalibrated(case: str) -> None:
    found = advise(CASES[case][0])
    for says in (found.says, *(reason.says for reason in found.reasons)):
        assert "uncalibrated" in says or not re.search(r"(more than|at most|fewer than) -?[\d.]", says), says


@pytest.mark.parametrize("case", [*CASES, "files of one format", "base of another name"])
def test_lines_are_what_the_recipe_takes(case: str) -> None:
    more = {
        "files of one format": Facts(
            TWO.model_copy(update={"files": ("a.jsonl", "b.jsonl"), "replay": "old"}), evidence(parameters=1)
        ),
        "base of another name": Facts(lineage({}, {}, base="mine"), evidence()),
    }
    steps = advise(more[case] if case in more else CASES[case][0]).steps
    assert steps
    for step in steps:
        for section, entries in _written(step).items():
            for entry in entries.values():
                SECTIONS[section].model_validate(entry)


def test_lines_state_the_sources_of_models_that_have_no_name() -> None:
    given = {"name": "base:a-1b2c3d", "source": "{path: a}"}
    alone, both = (_written(advise(Facts(lineage(*parents))).steps[0])["merge"] for parents in ([given], [given, {}]))
    assert alone["a-1b2c3d-kept"]["models"] == [{"use": {"path": "a"}}]
    assert both["summed"]["models"] == [{"use": {"path": "a"}}, {"use": "b"}]


def test_interpolation_lines_search_alpha_on_the_named_base_by_the_recipes_own_goal() -> None:
    facts = Facts(lineage({"name": "tuned"}, base="mine", objective="minimize: words/bits_per_byte", suite="trial"))
    entry = MergeEntry.model_validate(_written(advise(facts).steps[0])["merge"]["tuned-kept"])
    assert entry.base == "mine" and entry.search
    assert entry.search.over == {"method.alpha": (0.3, 0.5, 0.7, 0.85, 1.0)}
    assert (entry.search.objective.minimize, entry.search.suite) == ("words/bits_per_byte", "trial")


def test_joint_training_of_two_datasets_mixes_them_half_and_half() -> None:
    step = advise(CASES["small with data"][0]).steps[0]
    assert _written(step)["train"]["joint"] == {
        "on": "chats",
        "replay": {"from": "code", "ratio": 0.5},
        "method": {"kind": "full"},
        "learning_rate": 1.0e-4,
    }


def test_high_overlap_of_adapters_is_said() -> None:
    assert "align them" in advise(Facts(ADAPTERS, evidence(overlap=0.8))).says
    assert "align them" not in advise(Facts(ADAPTERS, evidence(overlap=0.1))).says


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (Facts(HUB), "no weights were read"),
        (
            Facts(HUB, SECOND_LONGER),
            "that of a (more than 3, uncalibrated) and drowns it in a plain sum: give b weight 0.25",
        ),
        (Facts(HUB, evidence(unchanged=0.8)), "80% of a's weights are the base's in bfloat16"),
        (Facts(HUB, evidence(size=0.4)), "far for a fine-tune"),
        (Facts(HUB, evidence(size=0.0)), "a is the base itself"),
        (Facts(lineage({}, {"foreign": "other"}), evidence()), "near enough"),
        (Facts(lineage({}, {}, {}, {}, {}), evidence(5)), "1/k"),
        (Facts(HUB, evidence(parameters=135_000_000)), "135M parameters: below about 3B"),
        (Facts(HUB, evidence(parameters=4_000_000_000)), "4B parameters: published results turn"),
        (Facts(HUB, evidence()), "methods differ little"),
        (Facts(ADAPTERS, evidence()), "a few hundred rows"),
        (
            Facts(lineage({"data": ["chats"]}), evidence(1)._replace(curves=(GAIN,))),
            "at alpha 0.5 a keeps 95% of the loss",
        ),
        (Facts(HUB, evidence()), "ship a merge only if the gates"),
    ],
)
def test_caution_is_given_where_it_applies(facts: Facts, said: str) -> None:
    assert any(said in reason.says for reason in advise(facts).reasons)


def test_caution_is_not_given_where_it_does_not_apply() -> None:
    found: Advice = advise(Facts(TWO, evidence()))
    assert [reason.says for reason in found.reasons] == [
        "methods differ little at this size: begin with the plainest",
        "ship a merge only if the gates say that it beats the base and its best parent",
    ]


def test_lineage_counts_domains_and_sees_the_same_data() -> None:
    assert (SAME.same_data, SAME.domains, SAME.datasets) == (True, 1, ("chats",))
    assert (TWO.same_data, TWO.domains, TWO.has_data) == (False, 2, True)
    assert (HUB.same_data, HUB.domains, HUB.has_data) == (False, 2, False)


def _written(step: Step) -> dict[str, Any]:
    """The lines as the recipe's own reader reads them: `on` is a key, no truth value."""
    return plain(parse_yaml("\n".join(step.lines), "lines")) if step.lines else {}
