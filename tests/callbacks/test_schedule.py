"""When the monitor looks: the rhythm, and the arithmetic of ``max_overhead`` with times that are made up."""

from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from support.fits import epochs, events, fit

from lightning_cam import CAMMonitor
from lightning_cam.callbacks.schedule import Budget, Work, budget_of

WORKS = [Work.LOOK, Work.TESTS]


def test_the_first_look_is_always_made() -> None:
    begun = Budget(0.05).begun(100.0)
    assert begun.affordable(WORKS, 100.0) == WORKS
    assert begun.after(Work.UNTRAINED_LOOK, 50.0).affordable(WORKS, 101.0) == WORKS


@pytest.mark.parametrize(
    ("now", "kept"),
    [
        (100.0, []),
        (219.9, []),
        (220.1, [Work.LOOK]),  # (5 + 1) / 120 s = 5 %
        (299.9, [Work.LOOK]),
        (300.1, WORKS),  # (5 + 1 + 4) / 200 s = 5 %
    ],
)
def test_looks_come_before_tests(now: float, kept: list[Work]) -> None:
    budget = Budget(0.05).begun(100.0).after(Work.LOOK, 1.0).after(Work.TESTS, 4.0)
    assert budget.affordable(WORKS, now) == kept


def test_what_a_work_took_last_is_what_it_is_expected_to_take() -> None:
    budget = Budget(0.5).begun(0.0).after(Work.LOOK, 9.0).after(Work.LOOK, 1.0)
    assert budget.share([Work.LOOK], 20.0) == pytest.approx(11 / 20)
    assert budget.share([Work.LOOK, Work.TESTS], 20.0) == pytest.approx(11 / 20)
    assert budget.share([], 20.0) == pytest.approx(10 / 20)


def test_a_new_training_has_spent_nothing() -> None:
    assert Budget(0.5).begun(0.0).after(Work.LOOK, 9.0).begun(7.0) == Budget(0.5, start=7.0)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3])
def test_over_a_long_training_the_share_is_used_and_kept(share: float) -> None:
    budget, now = Budget(share).begun(0.0), 0.0
    for _ in range(5000):
        now += 10.0
        for work in budget.affordable(WORKS, now):
            seconds = {Work.LOOK: 1.0, Work.TESTS: 3.0}[work]
            now, budget = now + seconds, budget.after(work, seconds)
    assert 0.9 * min(share, 4 / 14) <= budget.spent / now <= share


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, ValueError),
        (-0.1, ValueError),
        (1.5, ValueError),
        (float("nan"), ValueError),
        (True, TypeError),
        ("5 %", TypeError),
    ],
)
def test_wrong_shares(value: Any, error: type[Exception], unchecked: None) -> None:
    with pytest.raises(
        error,
        match=r"max_overhead: got .*; give a share of the training time in \(0, 1\], such as 0.05, \"auto\", or None",
    ):
        CAMMonitor(max_overhead=value)


def test_by_default_a_minute_is_free_and_then_a_tenth() -> None:
    found = budget_of("auto")
    assert found is not None
    spent = found.begun(0.0).after(Work.LOOK, 29.0)
    assert spent.affordable([Work.LOOK], 1.0) == [Work.LOOK]  # 58 s of a minute
    more = spent.after(Work.LOOK, 29.0)
    assert more.affordable([Work.LOOK], 869.9) == []
    assert more.affordable([Work.LOOK], 870.1) == [Work.LOOK]  # 87 s are 10 %
    assert budget_of(None) is None


def test_every_n_epochs(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6, every_n_epochs=2)
    logger = TensorBoardLogger(tmp_path)
    fit(tmp_path, monitor, max_epochs=5, logger=logger, log_every_n_steps=1)
    assert epochs(monitor) == [0, 1, 3]
    found = events(Path(logger.log_dir))
    assert len(found.Images("cam/overlay")) == 3
    assert len(found.Scalars("cam/border_mass")) == 5  # the last value at every validation


@pytest.mark.parametrize("n", [1, 3, 4])
def test_looks_fall_together_with_the_checkpoints_after_the_first(n: int, tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6, every_n_epochs=n)
    saving = ModelCheckpoint(tmp_path, every_n_epochs=n, save_top_k=-1, filename="{epoch}")
    fit(tmp_path, monitor, callbacks=[monitor, saving], max_epochs=9, enable_checkpointing=True)
    saved = {int(path.stem.removeprefix("epoch=")) for path in tmp_path.glob("epoch=*.ckpt")}
    assert epochs(monitor) == sorted({0} | saved)


def test_every_validation_of_an_epoch_that_is_due(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6, every_n_epochs=3)
    fit(tmp_path, monitor, max_epochs=3, val_check_interval=1)
    assert epochs(monitor) == [0, 0, 0, 2, 2, 2]


def test_every_n_validations(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6, every_n_validations=4)
    fit(tmp_path, monitor, max_epochs=3, val_check_interval=1)  # three validations an epoch
    assert epochs(monitor) == [0, 1, 2]
    assert [look.step for look in monitor.history.looks if look.epoch >= 0] == [0, 3, 7]


def test_a_rhythm_that_never_meets_the_validations_still_looks_once_a_block(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6, every_n_epochs=2)
    fit(tmp_path, monitor, max_epochs=6, check_val_every_n_epoch=3)
    assert epochs(monitor) == [2, 5]
