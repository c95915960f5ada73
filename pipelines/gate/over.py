"""What the seed of the training changes: the same difference to the base, over several models made alike."""

import numpy as np

from pipelines.gate.evidence import finite
from pipelines.gate.rows import Measured, Row
from pipelines.stats.cluster import Codes, Floats
from pipelines.stats.estimate import Pairs
from pipelines.stats.scores import Scores, pair
from pipelines.stats.seeds import OverSeeds, over_seeds


def over(row: Row, measured: Measured) -> OverSeeds | str | None:
    """The row's difference over the candidate and the other seeds; or why there is none; None where none was asked."""
    if not measured.seeds or measured.base is None:
        return None
    models: dict[str, Scores | str] = {"the candidate": measured.candidate, **measured.seeds}
    parts = []
    for name in row.scores:
        paired = _paired(name, measured.base, models)
        if isinstance(paired, str):
            return paired
        parts.append(paired)
    if not any(np.any(one.candidate != one.base) for part in parts for one in part):
        return "no document has another score with any of the models than with the base"
    differences, clusters = _joined([_differences(part) for part in parts], [part[0].clusters for part in parts])
    return over_seeds(np.zeros(differences.shape[1]), differences, row.gate.alpha, clusters)


def _paired(name: str, base: Scores, models: dict[str, Scores | str]) -> list[Pairs] | str:
    """The base against every model on one score, or what stands against it."""
    found = []
    for model, scores in models.items():
        if isinstance(scores, str):
            return scores
        if name not in scores.scores:
            return f"{model} has no {name}"
        if not finite(scores.scores[name]["value"]):
            return f"{name} of {model} is no finite number"
        pairs = pair(base, scores, name)
        if isinstance(pairs, str):
            return f"{model} cannot be compared: {pairs}"
        found.append(pairs)
    return found


def _differences(paired: list[Pairs]) -> Floats:
    """Differences to the base, shape (models, documents), whose plain mean over documents is that of the scores.

    A ratio of sums is linearised: (d_i - w_i R) / mean(w) + R (Cochran 1977, Sampling Techniques, eq. 6.13).
    """
    return np.stack([_linear(one) for one in paired])


def _linear(pairs: Pairs) -> Floats:
    differences, weights = pairs.candidate - pairs.base, pairs.weights
    if weights is None:
        return differences
    ratio = differences.sum() / weights.sum()
    linear: Floats = (differences - weights * ratio) / weights.mean() + ratio
    return linear


def _joined(tasks: list[Floats], clusters: list[Codes | None]) -> tuple[Floats, Codes | None]:
    """Several scores as one whose mean over documents is the mean of theirs, all equally heavy.

    Documents are counted K n_k / N times lighter, and moved by what sets their task apart from the others: how far
    tasks differ from each other is no chance.
    """
    if len(tasks) == 1:
        return tasks[0], clusters[0]
    total, means = sum(task.shape[1] for task in tasks), [float(task.mean()) for task in tasks]
    mean = sum(means) / len(means)
    scales = [total / (len(tasks) * task.shape[1]) for task in tasks]
    moved = [(task - own) * scale + mean for task, own, scale in zip(tasks, means, scales, strict=True)]
    return np.concatenate(moved, axis=1), _joined_clusters(tasks, clusters)


def _joined_clusters(tasks: list[Floats], clusters: list[Codes | None]) -> Codes | None:
    if all(codes is None for codes in clusters):
        return None
    found: list[Codes] = []
    for task, codes in zip(tasks, clusters, strict=True):
        own = np.arange(task.shape[1]) if codes is None else codes
        found.append(own + (found[-1].max() + 1 if found else 0))
    return np.concatenate(found)
