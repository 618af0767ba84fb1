"""``max_overhead`` is kept by the monitor in a real Trainer."""

import time
from pathlib import Path
from typing import Any

import pytest
from support.modules import Classifier, loader, trainer
from support.planted import ReadsTheTag, tagged
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_cam import CUES, CAMMonitor, Evidence, ShortcutTests
from lightning_cam.shortcuts.cues import Cue


def test_a_share_in_words_is_refused(unchecked: None) -> None:
    with pytest.raises(TypeError, match="max_overhead: got '5 %'; give a share"):
        CAMMonitor(max_overhead="5 %")


def slow(evidence: Evidence) -> Tensor:
    time.sleep(0.2)
    return evidence.activations.mean(dim=1).relu()


def watched(directory: Path, max_overhead: float | None) -> list[int]:
    monitor = CAMMonitor(probe=6, method=slow, max_overhead=max_overhead, shortcuts=None)
    fitted = trainer(directory, callbacks=[monitor], max_epochs=4)
    fitted.fit(Classifier(), loader(), loader(seed=1))
    assert fitted.current_epoch == 4
    assert "cam/border_mass" in fitted.callback_metrics
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

    monkeypatch.setitem(
        CUES,
        "slow",
        Cue(unhurried, lambda views: views.pooled[:, :, :4, :4].flatten(1), "nothing", may_warn=False),
    )
    monitor = CAMMonitor(probe=9, max_overhead=1.0, shortcuts=ShortcutTests(cues=["slow"]))
    batches = DataLoader(tagged(), batch_size=12)
    with pytest.warns(UserWarning, match="max_overhead: looks with shortcut tests would take"):
        trainer(tmp_path, callbacks=[monitor]).fit(TakesItsTime(), batches, batches)
    assert [look.epoch for look in monitor.history.looks if look.epoch >= 0] == [0, 1]
    assert monitor._run.record.tests == 1
