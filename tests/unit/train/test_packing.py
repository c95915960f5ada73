"""Rows dealt to forward passes and laid end to end."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.train.packing import Row, Span, deal, pack


def made(ids, labels):
    return Row(np.array(ids), np.array(labels))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 90), max_size=24), st.integers(1, 4), st.integers(6, 9))
def test_deal_every_row_goes_to_one_hand_that_is_not_too_full(lengths, parts, capacity):
    rows = lengths[: parts * capacity]
    hands = deal(rows, parts, capacity)
    assert sorted(row for hand in hands for row in hand) == list(range(len(rows)))
    assert len(hands) == parts
    assert all(len(hand) <= capacity for hand in hands)


def test_deal_hands_hold_about_equal_tokens():
    lengths = [10, 1, 9, 2, 8, 3]
    assert [sum(lengths[row] for row in hand) for hand in deal(lengths, 3, 2)] == [11, 11, 11]


def test_pack_positions_and_targets_of_two_rows():
    packed = pack([made([5, 6, 7], [-100, 6, 7]), made([8, 9], [8, 9])], [False, True])
    assert packed.input_ids.tolist() == [[5, 6, 7, 8, 9]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 0, 1]]
    assert packed.layout.spans == (Span(3), Span(2))
    assert packed.keep.tolist() == [0, 1, 3]
    assert packed.targets.tolist() == [6, 7, 9]
    assert packed.replayed.tolist() == [False, False, True]


def test_pack_no_rows_gives_a_token_without_a_target():
    packed = pack([], [])
    assert packed.input_ids.shape == (1, 1)
    assert packed.keep.shape == packed.targets.shape == packed.replayed.shape == (0,)


def test_pack_shared_prompt_is_laid_once():
    prompt = [1, 2, 3, 4, 5]
    rows = [made([*prompt, 6, 7], [-100] * 6 + [7]), made([9, 9], [-100, 9]), made([*prompt, 8], [-100] * 5 + [8])]
    packed = pack(rows, [False, False, True], share=True)
    assert packed.input_ids.tolist() == [[1, 2, 3, 4, 5, 6, 7, 5, 8, 9, 9]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 4, 5, 6, 4, 5, 0, 1]]
    assert packed.layout.spans == (Span(4), Span(3, 0), Span(2, 0), Span(2))
    assert packed.keep.tolist() == [5, 7, 9]
    assert packed.targets.tolist() == [7, 8, 9]
    assert packed.replayed.tolist() == [False, True, False]


def test_pack_targets_are_never_shared():
    rows = [made([1, 2, 3, 4, 5, 6, 7], [-100, 2, 3, 4, 5, 6, 7])] * 2
    assert pack(rows, [False, False], share=True).input_ids.shape == (1, 14)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(2, 5)), min_size=1, max_size=8))
def test_pack_sharing_or_not_every_target_comes_once(shapes):
    rows = []
    for one, other, own in shapes:
        ids = [1] * one + [2] * other + list(range(10, 10 + own))
        rows.append(made(ids, [-100] * (len(ids) - 1) + ids[-1:]))
    packed = pack(rows, [False] * len(rows), share=True)
    assert sorted(packed.targets.tolist()) == sorted(int(row.labels[-1]) for row in rows)
    assert len(set(packed.keep.tolist())) == len(rows)
    assert packed.input_ids.shape[1] <= sum(len(row.input_ids) for row in rows)
    spans = packed.layout.spans
    seen = [span.length + (0 if span.prefix is None else spans[span.prefix].length) for span in spans]
    assert set(seen) >= {len(row.input_ids) for row in rows}
