"""A task may name a metric as one of ours is named."""

import json

import pytest

from pipelines.stats.scores import pair, read_scores
from tests.unit.stats.scores import scores_artifact


def test_metric_of_a_task_that_is_called_bits_per_byte_is_read_by_that_name(tmp_path):
    folders = [scores_artifact(tmp_path, name, {"answers/bits_per_byte": [1.0, 2.0]}).path for name in ("a", "b")]
    for folder, more in zip(folders, (0.0, 0.5), strict=True):
        path = folder / "samples" / "answers.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        kept = [row | {"scores": {"bits_per_byte": place + 1.0 + more}} for place, row in enumerate(rows)]
        path.write_text("".join(json.dumps(row) + "\n" for row in kept))
        scores = json.loads((folder / "scores.json").read_text())
        scores["scores"]["answers/bits_per_byte"]["value"] = 1.5 + more
        (folder / "scores.json").write_text(json.dumps(scores))
    pairs = pair(*map(read_scores, folders), "answers/bits_per_byte")
    assert not isinstance(pairs, str)
    assert (pairs.candidate - pairs.base).tolist() == [pytest.approx(0.5)] * 2
