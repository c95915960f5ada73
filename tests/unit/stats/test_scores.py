"""Two scores artifacts brought together, or the reason why not."""

import numpy as np

from pipelines.stats.scores import pair, read_scores
from tests.unit.stats.scores import CONTRACT, scores_artifact

VALUES = {"intents/acc": [0.0, 1.0, 1.0, 0.0, 1.0, 1.0]}


def scores(folder, name, **options):
    return read_scores(scores_artifact(folder, name, VALUES, **options).path)


def test_pair_reads_clusters_as_codes_in_the_order_in_which_they_come(tmp_path):
    base, candidate = (scores(tmp_path, name, clusters=["b", "b", "a", None, "a", "b"]) for name in ("base", "best"))
    paired = pair(base, candidate, "intents/acc")
    assert paired.clusters.tolist() == [0, 0, 1, 2, 1, 0]
    assert paired.weights is None and paired.base.dtype == np.float64


def test_pair_of_documents_that_all_differ_in_cluster_is_unclustered(tmp_path):
    base, candidate = (scores(tmp_path, name, clusters=list("abcdef")) for name in ("base", "best"))
    assert pair(base, candidate, "intents/acc").clusters is None


def test_pair_of_scores_with_different_clusters_says_so(tmp_path):
    base, candidate = (
        scores(tmp_path, name, clusters=list(made)) for name, made in (("base", "aabbcc"), ("best", "abbacc"))
    )
    assert pair(base, candidate, "intents/acc") == "the clusters of the documents differ"


def test_pair_ignores_the_tokenizer_and_nothing_else(tmp_path):
    base = scores(tmp_path, "base", contract=CONTRACT | {"tokenizer": "a" * 64})
    other = scores(tmp_path, "best", contract=CONTRACT | {"tokenizer": "b" * 64})
    assert not isinstance(pair(base, other, "intents/acc"), str)
    changed = scores(tmp_path, "last", contract=CONTRACT | {"tokenizer": "b" * 64, "dtype": "bfloat16"})
    assert pair(base, changed, "intents/acc") == "dtype differs (float32 and bfloat16)"
    missing = scores(tmp_path, "less", contract={key: value for key, value in CONTRACT.items() if key != "torch"})
    assert pair(base, missing, "intents/acc").startswith("torch differs")
