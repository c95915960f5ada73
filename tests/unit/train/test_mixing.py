"""The plan of batches: exact shares, whole passes, the same order again."""

from collections import Counter
from itertools import accumulate, islice

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.train.mixing import interleave, passes, plan_blocks

tokens = st.lists(st.integers(1, 500), min_size=1, max_size=40)
ratios = st.floats(0.001, 0.95)


def plan(new, replay=(), ratio=0.0, batch_size=4, epochs=1.0, max_steps=None, seed=0):
    return plan_blocks(new, replay, ratio=ratio, batch_size=batch_size, epochs=epochs, max_steps=max_steps, seed=seed)


@settings(max_examples=150, deadline=None)
@given(tokens, tokens, ratios, st.integers(0, 9))
def test_interleave_any_point_is_within_half_a_row_of_the_ratio(new, replay, ratio, seed):
    every = [*new, *replay]
    order = list(islice(interleave(new, replay, ratio, seed), 400))
    total = accumulate(every[row] for row in order)
    replayed = accumulate(every[row] if row >= len(new) else 0 for row in order)
    bound = ((1 - ratio) * max(replay) + ratio * max(new)) / 2
    assert all(abs(old - ratio * both) <= bound + 1e-6 for old, both in zip(replayed, total, strict=True))


@settings(max_examples=60, deadline=None)
@given(tokens, tokens, ratios, st.integers(1, 9))
def test_blocks_each_one_is_within_a_row_of_the_ratio(new, replay, ratio, batch_size):
    every = [*new, *replay]
    for block in plan(new, replay, ratio, batch_size):
        both = sum(every[row] for row in block)
        old = sum(every[row] for row in block if row >= len(new))
        assert abs(old - ratio * both) <= (1 - ratio) * max(replay) + ratio * max(new) + 1e-6


@settings(max_examples=60, deadline=None)
@given(tokens, tokens, ratios, st.integers(1, 9), st.integers(1, 3))
def test_blocks_new_rows_come_once_an_epoch_and_blocks_are_full(new, replay, ratio, batch_size, epochs):
    blocks = plan(new, replay, ratio, batch_size, epochs=epochs)
    rows = Counter(row for block in blocks for row in block if row < len(new))
    assert rows == dict.fromkeys(range(len(new)), epochs)
    assert all(len(block) == batch_size for block in blocks[:-1])
    assert 1 <= len(blocks[-1]) <= batch_size


def test_blocks_share_below_a_row_a_batch_leaves_most_batches_without_replay():
    blocks = plan([50] * 1000, [50] * 100, ratio=0.01, batch_size=8)
    replayed = [sum(row >= 1000 for row in block) for block in blocks]
    assert set(replayed) == {0, 1}
    assert abs(sum(replayed) / sum(len(block) for block in blocks) - 0.01) < 0.001


def test_blocks_equal_rows_have_the_exact_count_in_every_batch():
    blocks = plan([10] * 60, [10] * 7, ratio=0.25, batch_size=8)
    assert [sum(row >= 60 for row in block) for block in blocks[:-1]] == [2] * (len(blocks) - 1)


def test_blocks_max_steps_decides_whatever_the_epochs():
    assert len(plan([5, 6, 7], max_steps=11, epochs=1)) == 11
    assert all(len(block) == 4 for block in plan([5, 6, 7], max_steps=11))


def test_blocks_half_an_epoch_takes_half_the_rows():
    assert sum(len(block) for block in plan([9] * 10, epochs=0.5)) == 5
    assert sum(len(block) for block in plan([9] * 10, epochs=1.5)) == 15


def test_passes_every_pass_is_whole_and_in_another_order():
    order = list(islice(passes(50, 3, "new"), 100))
    assert sorted(order[:50]) == sorted(order[50:]) == list(range(50))
    assert order[:50] != order[50:]


def test_plan_same_seed_gives_the_same_plan_and_another_seed_another():
    arguments = ([5] * 30, [6] * 9, 0.3)
    assert plan(*arguments, seed=4) == plan(*arguments, seed=4) != plan(*arguments, seed=5)


def test_passes_order_is_the_same_on_every_machine():
    assert list(islice(passes(6, 17, "new"), 12)) == [0, 3, 1, 4, 2, 5, 5, 4, 2, 1, 3, 0]
