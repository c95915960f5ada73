"""The gate stage: every gate judged on paired samples, one verdict over all of them."""

import difflib
import json
from pathlib import Path
from typing import Any

from pipelines.engine.stage import Inputs
from pipelines.errors import wrong
from pipelines.gate.config import Gate, GateConfig
from pipelines.gate.rules import Verdict, gain, improve, no_regression, overall
from pipelines.gate.says import refused, says, too_few, unit
from pipelines.stats.estimate import Estimate, Pairs, estimate
from pipelines.stats.multiple import holm
from pipelines.stats.scores import Scores, pair, read_scores

LEAST = 5
"""Fewer documents than this give no interval worth the name."""


def run(config: GateConfig, inputs: Inputs, out_dir: Path) -> dict[str, Any]:
    """Fill `out_dir` with verdict.json; the metrics are the same object.

    Two measurements that do not agree in their contracts are no evidence: such a gate fails, and says what differs.
    """
    candidate = {suite: read_scores(inputs[ref].path) for suite, ref in config.candidate.items()}
    base = {suite: read_scores(inputs[ref].path) for suite, ref in config.base.items()}
    named = [(gate, name) for i, gate in enumerate(config.gates) for name in _names(f"gates[{i}]", gate, candidate)]
    paired = [pair(base[gate.suite], candidate[gate.suite], name) for gate, name in named]
    seen = [_estimate(pairs, gate) for pairs, (gate, _) in zip(paired, named, strict=True)]
    adjusted = iter(holm([one.p for one in seen if one is not None]))
    gates = [
        _judge(gate, name, pairs, one, next(adjusted) if one else None, base[gate.suite], candidate[gate.suite])
        for (gate, name), pairs, one in zip(named, paired, seen, strict=True)
    ]
    verdicts = [Verdict(judged["verdict"]) for judged in gates]
    blocks = any(
        verdict == Verdict.FAIL or (verdict == Verdict.INCONCLUSIVE and gate.on_inconclusive == "fail")
        for verdict, (gate, _) in zip(verdicts, named, strict=True)
    )
    names = sorted({_model(inputs[ref].name) for ref in config.candidate.values()})
    result = {"verdict": overall(verdicts), "blocks": blocks, "candidate": ", ".join(names), "gates": gates}
    (out_dir / "verdict.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return result


def _model(scores: str) -> str:
    """The model in the name of its scores: best in evaluate.best@test."""
    return scores.removeprefix("evaluate.").partition("@")[0]


def _names(where: str, gate: Gate, candidate: dict[str, Scores]) -> list[str]:
    """The scores that a gate is about: one, or all of a group in the suite's order."""
    if gate.suite not in candidate:
        raise wrong(f"{where}.suite", "no such suite", gate.suite, _instead(gate.suite, list(candidate)))
    scores = candidate[gate.suite].scores
    if gate.metric is not None:
        if gate.metric not in scores:
            raise wrong(f"{where}.metric", "no such score", gate.metric, _instead(gate.metric, list(scores)))
        return [gate.metric]
    names = [name for name, score in scores.items() if score["group"] == gate.group]
    if not names:
        groups = sorted({score["group"] for score in scores.values()})
        raise wrong(f"{where}.group", "no score is in this group", str(gate.group), _instead(str(gate.group), groups))
    return names


def _instead(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}"


def _estimate(pairs: Pairs | str, gate: Gate) -> Estimate | None:
    return None if isinstance(pairs, str) or len(pairs.base) < LEAST else estimate(pairs, gate.alpha)


def _judge(
    gate: Gate,
    name: str,
    pairs: Pairs | str,
    seen: Estimate | None,
    p_holm: float | None,
    base: Scores,
    candidate: Scores,
) -> dict[str, Any]:
    score = candidate.scores[name]
    result: dict[str, Any] = {
        "name": name,
        "suite": gate.suite,
        "rule": gate.rule,
        "base": base.scores[name]["value"] if name in base.scores else None,
        "candidate": score["value"],
        **dict.fromkeys(("delta", "low", "high", "p", "p_holm")),
        "n": score["n"],
        "threshold": gate.threshold,
        "alpha": gate.alpha,
        **dict.fromkeys(("method", "mde")),
    }
    if isinstance(pairs, str):
        return result | {"verdict": Verdict.FAIL, "says": refused(name, pairs)}
    if seen is None or p_holm is None:
        return result | {"verdict": Verdict.INCONCLUSIVE, "says": too_few(name, len(pairs.base), LEAST)}
    turned = gain(seen.delta, seen.low, seen.high, score["lower_is_better"])
    if gate.rule == "improve":
        verdict = improve(turned, gate.by)
    else:
        verdict = no_regression(turned, gate.margin, p_holm, gate.alpha)
    fraction = all(values.min() >= 0 and values.max() <= 1 for values in (pairs.base, pairs.candidate))
    written = unit(name.partition("/")[2], fraction and score["kind"] == "mean")
    sentence = says(name, gate.rule, gate.threshold, gate.alpha, seen, turned, verdict, written)
    measured = {key: value for key, value in seen._asdict().items() if key not in ("base", "candidate")}
    return result | measured | {"p_holm": p_holm, "verdict": verdict, "says": sentence}
