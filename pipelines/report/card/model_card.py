"""The model card: metadata for the Hub, and for people what the weights are, what they gained, and what they lost."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.report.card.ancestry import own_part
from pipelines.report.card.card_metadata import licences, metadata
from pipelines.report.data.collect import Report
from pipelines.report.data.forgetting import DRIFT
from pipelines.report.data.measures import BASE
from pipelines.report.markdown.blocks import bullets, section, table
from pipelines.report.markdown.judged import verdict
from pipelines.report.markdown.made import data, training
from pipelines.report.markdown.origin import limits, reproduce
from pipelines.report.markdown.scored import direction
from pipelines.report.numbers import count, difference, interval, value
from pipelines.report.text import name, prose

_ASK = "ask before you use or pass on these weights"
_USE = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "safetensors"  # the exported folder, or the repository that it was uploaded to
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
{inputs}
answer = model.generate(**inputs, max_new_tokens=200)
print(tokenizer.decode(answer[0][inputs["input_ids"].shape[1]:], skip_special_tokens=True))
```"""
_CHAT = """\
messages = [{"role": "user", "content": "..."}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")"""
_PLAIN = 'inputs = tokenizer("...", return_tensors="pt")'


def model_card(report: Report) -> str:
    """README.md in the format of the Hub. States what the report knows, and that it does not know the rest."""
    part = own_part(report)
    blocks = [
        f"---\n{metadata(report, part).to_yaml()}\n---",
        f"# {prose(report['recipe'])}",
        _about(report),
        verdict(report),
        section("Base", bullets(_base(entry) for entry in part["bases"])),
        section("Licence", bullets(_licences(report, part))),
        data(part),
        training(part),
        _evaluation(report),
        section("Not shown", bullets(_unproven(report))),
        section("Lost against the base", bullets(_losses(report))),
        limits(report),
        _use(report),
        reproduce(report),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _about(report: Report) -> str:
    if not report["candidate"]:
        return "Made with Burnish. The recipe judges no model, so this card has no evaluation."
    return f"The model {name(report['candidate'])} of this recipe, made with Burnish.{_shape(report)}"


def _shape(report: Report) -> str:
    """Architecture, size and type of the exported weights, as far as the export told them."""
    facts = report["exports"][0]["facts"] if report["exports"] else {}
    size = f"{count(facts['parameters'])} parameters" if "parameters" in facts else None
    told = [one for one in (facts.get("architecture"), size, facts.get("dtype")) if one]
    return f" {prose(', '.join(told))}." if told else ""


def _base(entry: Mapping[str, Any]) -> str:
    facts = entry["facts"]
    told = [prose(str(facts.get("source", entry["id"]))), f"licence {_licence(facts.get('licence'))}"]
    return "; ".join([*told, *(prose(note) for note in facts.get("notes", ()))])


def _licences(report: Report, part: Report) -> Iterator[str]:
    weights = licences(report, part)
    yield f"Weights: {', '.join(map(_licence, weights))}{f'; {_ASK}' if None in weights else ''}."
    for entry in part["data"]:
        if entry["facts"].get("files"):
            yield f"Data {name(entry['id'])}: {_licence(entry['facts'].get('licence'))}."


def _licence(stated: str | None) -> str:
    return prose(stated) if stated else "unknown"


def _evaluation(report: Report) -> str:
    """The candidate beside the base; the interval is that of the paired difference."""
    tables = []
    for title, suite in report["suites"].items():
        if {BASE, report["candidate"]} <= set(suite["models"]):
            level = f"{100 * (1 - suite['alpha']):g} % CI"
            heads = [f"suite {name(title)}", "group", "n", "base", "this model", "difference", level]
            tables.append(table(heads, [_row(report["candidate"], suite, row) for row in suite["rows"]], left=2))
    return section("Evaluation", *tables)


def _row(model: str, suite: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    seen, unit = suite["estimates"].get(row["name"], {}).get(model, {}), row["unit"]
    own = [value(row["values"].get(key), unit) for key in (BASE, model)]
    if "differs" in seen:
        compared = ["not comparable", prose(seen["differs"])]
    else:
        compared = [difference(seen.get("delta"), unit), interval(seen.get("low"), seen.get("high"), unit)]
    return [name(row["name"]) + direction(row), name(row["group"]), count(row["n"].get(model)), *own, *compared]


def _unproven(report: Report) -> Iterator[str]:
    """Every gate that did not pass, in its own words."""
    for gate in report["gates"]:
        if gate["verdict"] != "PASS":
            yield f"**{gate['verdict']}** {prose(gate['says'])}"


def _losses(report: Report) -> Iterator[str]:
    """Scores that are worse than the base's, and whether that can be chance. Drift is a distance, and no score."""
    model = report["candidate"]
    worse = [
        (row, seen)
        for suite in report["suites"].values()
        for row in suite["rows"]
        if row["group"] != DRIFT
        and "delta" in (seen := suite["estimates"].get(row["name"], {}).get(model, {}))
        and (seen["delta"] > 0) == row["lower_is_better"]
        and seen["delta"] != 0
    ]
    for row, seen in worse:
        sure = seen["low"] > 0 or seen["high"] < 0
        span = interval(seen["low"], seen["high"], row["unit"])
        said = "" if sure else ", which can be chance"
        yield f"{name(row['name'])}: {difference(seen['delta'], row['unit'])} {span}{said}."
    if report["suites"] and model and not worse:
        yield "No score that was measured is worse than the base's. What was not measured may be."


def _use(report: Report) -> str:
    if not report["exports"]:
        why = "the gates held them back" if report["held_back"] else "the recipe exports none"
        return section("Use", f"There are no weights to load: {why}.")
    template = report["exports"][0]["facts"].get("template_sha256")
    return section("Use", _USE.replace("{inputs}", _CHAT if template else _PLAIN))
