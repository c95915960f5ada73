"""The loss of each step, new and replayed tokens apart."""

import pytest
import torch

from pipelines.errors import UserError
from pipelines.train.ledger import Ledger, Point


def test_close_means_are_over_all_passes_of_the_step():
    ledger = Ledger()
    ledger.add(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([False, False, True]))
    ledger.add(torch.tensor([6.0]), torch.tensor([False]))
    assert ledger.close(1, False) == (Point(1, 3.0, 9.0), False)


def test_close_step_without_replay_has_no_replay_loss():
    ledger = Ledger()
    ledger.add(torch.tensor([1.0]), torch.tensor([False]))
    ledger.close(1, False)
    ledger.add(torch.tensor([4.0]), torch.tensor([True]))
    ledger.close(2, True)
    assert ledger.curve == [Point(1, 1.0, None), Point(2, None, 4.0)]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_close_loss_that_is_no_number_is_refused(loss):
    ledger = Ledger()
    ledger.add(torch.tensor([1.0, loss]), torch.tensor([False, True]))
    with pytest.raises(UserError, match="no number at step 7"):
        ledger.close(7, False)


def test_load_gives_what_was_saved(tmp_path):
    ledger = Ledger([Point(1, 0.1, None), Point(2, None, 0.3)])
    ledger.save(tmp_path)
    assert Ledger.load(tmp_path).curve == ledger.curve
