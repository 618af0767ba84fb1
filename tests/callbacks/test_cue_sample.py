"""Features of cues that the monitor takes from the first validation."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from support.fits import epochs, fit
from support.modules import data
from torch.utils.data import DataLoader, IterableDataset

from lightning_cam import CUES, CAMMonitor, Probe
from lightning_cam.shortcuts.predictivity import CueFeatures, predictivity


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter(data(24, seed=1))


class Shifts(IterableDataset):
    """Other images at every validation."""

    start = 0

    def __iter__(self) -> Any:
        Shifts.start += 1
        return iter(data(24, seed=Shifts.start))

    def __len__(self) -> int:
        return 24


def test_shortcut_tests_wait_for_a_whole_validation_where_its_end_is_not_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A probe of the user's own is looked at from the first batch on."""
    monitor = CAMMonitor(probe=Probe(*data(9, seed=1).tensors))
    fit(tmp_path, monitor, val=DataLoader(Stream(), batch_size=8), max_epochs=3)
    assert epochs(monitor) == [0, 1, 2]
    assert [epoch for epoch, _ in monitor._run.record.reliances] == [1, 2]
    told = caplog.text
    assert told.count("shortcut tests begin at the next validation") == 1


def test_features_are_of_the_first_whole_validation_and_leave_no_trace(tmp_path: Path) -> None:
    monitor, seen = CAMMonitor(probe=6), []

    class Looks(Callback):
        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append(monitor.session._collection.cues.is_released)

    callbacks = [monitor, Looks()]
    fit(tmp_path, monitor, val=DataLoader(Shifts(), batch_size=8), callbacks=callbacks, max_epochs=3)
    assert seen == [True] * 4, "the sanity check takes none, and after the first look they are let go"
    told = monitor._run.record.predictivities
    expected = predictivity(*data(24, seed=Shifts.start - 2).tensors)
    assert told == pytest.approx({name: one.kappa for name, one in expected.items()})


@pytest.mark.parametrize("count", [40, 1300])
def test_features_are_bounded_and_draw_no_number_of_the_trainings(count: int) -> None:
    images, labels = data(count).tensors
    kept, state, own = CueFeatures({"colour": CUES["colour"]}), torch.get_rng_state(), random.getstate()
    for some, classes in zip(images.split(100), labels.split(100), strict=True):
        kept.add(some, classes, None)
    assert len(kept.kept) == min(count, 1000)
    assert kept.passed == count
    torch.testing.assert_close(torch.get_rng_state(), state, rtol=0, atol=0)
    assert random.getstate() == own
