"""``max_overhead``: the arithmetic with times that are made up, and the monitor in a real Trainer."""

import time
from pathlib import Path
from typing import Any

import pytest
from modules import Classifier, loader, trainer
from test_monitor_shortcuts import ReadsTheTag, tagged
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_cam import CUES, CAMMonitor, Evidence
from lightning_cam.callbacks.schedule import Budget
from lightning_cam.shortcuts.cues import Cue

WORKS = ["look", "tests"]


def test_the_first_look_is_always_made() -> None:
    begun = Budget(0.05).begun(100.0)
    assert begun.affordable(WORKS, 100.0) == WORKS
    assert begun.after("untrained look", 50.0).affordable(WORKS, 101.0) == WORKS


@pytest.mark.parametrize(
    ("now", "kept"),
    [
        (100.0, []),
        (219.9, []),
        (220.1, ["look"]),  # (5 + 1) / 120 s = 5 %
        (299.9, ["look"]),
        (300.1, WORKS),  # (5 + 1 + 4) / 200 s = 5 %
    ],
)
def test_looks_come_before_tests(now: float, kept: list[str]) -> None:
    budget = Budget(0.05).begun(100.0).after("look", 1.0).after("tests", 4.0)
    assert budget.affordable(WORKS, now) == kept


def test_what_a_work_took_last_is_what_it_is_expected_to_take() -> None:
    budget = Budget(0.5).begun(0.0).after("look", 9.0).after("look", 1.0)
    assert budget.share(["look"], 20.0) == pytest.approx(11 / 20)
    assert budget.share(["look", "unknown"], 20.0) == pytest.approx(11 / 20)
    assert budget.share([], 20.0) == pytest.approx(10 / 20)


def test_a_new_training_has_spent_nothing() -> None:
    assert Budget(0.5).begun(0.0).after("look", 9.0).begun(7.0) == Budget(0.5, start=7.0)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3])
def test_over_a_long_training_the_share_is_used_and_kept(share: float) -> None:
    budget, now = Budget(share).begun(0.0), 0.0
    for _ in range(5000):
        now += 10.0
        for work in budget.affordable(WORKS, now):
            seconds = {"look": 1.0, "tests": 3.0}[work]
            now, budget = now + seconds, budget.after(work, seconds)
    assert 0.9 * min(share, 4 / 14) <= budget.spent / now <= share


@pytest.mark.parametrize(
    ("value", "error"),
    [(0, ValueError), (-0.1, ValueError), (1.5, ValueError), (float("nan"), ValueError), (True, TypeError)],
)
def test_wrong_shares(value: Any, error: type[Exception], unchecked: None) -> None:
    with pytest.raises(
        error,
        match=r"max_overhead: got .*; give a share of the training time in \(0, 1\], such as 0.05, or None",
    ):
        CAMMonitor(max_overhead=value)


def test_a_share_in_words_is_refused(unchecked: None) -> None:
    with pytest.raises(TypeError, match="max_overhead: got '5 %'; give a share"):
        CAMMonitor(max_overhead="5 %")


def slow(evidence: Evidence) -> Tensor:
    time.sleep(0.2)
    return evidence.activations.mean(dim=1).relu()


def watched(directory: Path, max_overhead: float | None) -> list[int]:
    monitor = CAMMonitor(probe=6, method=slow, cues=None, max_overhead=max_overhead)
    fitted = trainer(directory, callbacks=[monitor], max_epochs=4)
    fitted.fit(Classifier(), loader(), loader(seed=1))
    assert fitted.current_epoch == 4
    assert "cam/entropy" in fitted.callback_metrics
    return [look.epoch for look in monitor.history.looks if look.epoch >= 0]


def test_a_slow_method_is_asked_less_often(tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning, match=r"max_overhead: looks would take [\d.]+ % of the training time, more than 5 %"
    ) as caught:
        epochs = watched(tmp_path, 0.05)
    assert epochs[0] == 0
    assert len(epochs) < 4
    assert sum("max_overhead" in str(warning.message) for warning in caught) == 1


def test_without_a_limit_every_epoch_is_looked_at(tmp_path: Path) -> None:
    assert watched(tmp_path, None) == [0, 1, 2, 3]


def test_slow_shortcut_tests_are_left_out_and_the_look_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class TakesItsTime(ReadsTheTag):
        def training_step(self, batch: Any) -> Tensor:
            time.sleep(0.15)
            return super().training_step(batch)

    def unhurried(pair: Any) -> Tensor:
        time.sleep(2.5)
        return pair.hosts

    monkeypatch.setitem(CUES, "slow", Cue(unhurried, 1, "B", "nothing"))
    monitor = CAMMonitor(probe=9, cues=["slow"], max_overhead=1.0)
    batches = DataLoader(tagged(), batch_size=12)
    with pytest.warns(UserWarning, match="max_overhead: looks with shortcut tests would take"):
        trainer(tmp_path, callbacks=[monitor]).fit(TakesItsTime(), batches, batches)
    assert [look.epoch for look in monitor.history.looks if look.epoch >= 0] == [0, 1]
    assert monitor._memory.tests == 1
