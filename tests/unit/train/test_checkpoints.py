"""Only whole checkpoints count."""

from pipelines.train import checkpoints


def made(folder, step, whole=True):
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "weights").write_text(str(step))
    if whole:
        checkpoints.complete(checkpoint)
    return checkpoint


def test_newest_half_written_one_is_passed_over(tmp_path):
    whole = made(tmp_path, 9)
    made(tmp_path, 10, whole=False)
    assert checkpoints.newest(tmp_path) == whole


def test_newest_nothing_there_is_none(tmp_path):
    assert checkpoints.newest(tmp_path / "absent") is None


def test_complete_removes_the_ones_before(tmp_path):
    made(tmp_path, 9)
    last = made(tmp_path, 10)
    assert list(tmp_path.iterdir()) == [last]


def test_discard_partial_leaves_the_whole_one(tmp_path):
    whole = made(tmp_path, 9)
    made(tmp_path, 11, whole=False)
    checkpoints.discard_partial(tmp_path)
    assert list(tmp_path.iterdir()) == [whole]
