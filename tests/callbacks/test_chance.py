"""Where the probe is answered by chance and the user's own metric says more, one line says so."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.modules import Classifier, data, loader, trainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lightning_cam import CAMMonitor, Probe
from lightning_cam.callbacks.chance import chance_hint
from lightning_cam.data.history import History, remember
from lightning_cam.data.reading import Reading
from lightning_cam.report.record import RunRecord

LABELS = torch.tensor([0, 0, 0, 1, 1, 2])
SEEN, UNSEEN = Reading("explains it", is_verified=True), Reading("assumed")


def record(right: list[float], reading: Reading | None, labels: Tensor | None = LABELS) -> RunRecord:
    answers = torch.zeros(6, dtype=torch.int64)
    look = remember(0, 0, torch.rand(6, 2, 2), answers, torch.rand(6), {}, torch.tensor(right), None)
    probe = Probe(torch.rand(6, 1, 4, 4), labels)
    return RunRecord(probe=probe, history=History().added(look), reading=reading)


BY_CHANCE, BETTER = [1.0, 1, 1, 0, 0, 0], [1.0, 1, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("right", "reading", "metrics", "says"),
    [
        (BY_CHANCE, SEEN, {"val_acc": 0.91}, "3 of 6 .*your own val_acc says 0.91"),
        (BY_CHANCE, SEEN, {"val_acc": torch.tensor(91.0)}, "your own val_acc says 0.91"),
        (BY_CHANCE, SEEN, {"train_acc": 0.99, "val/Accuracy": 0.8}, "your own val/Accuracy says 0.80"),
        (BY_CHANCE, SEEN, {"val_acc": 0.6}, ""),  # an honest model that has not learnt yet
        (BY_CHANCE, SEEN, {"val_loss": 0.1}, ""),
        (BY_CHANCE, UNSEEN, {"val_loss": 0.1}, "3 of 6 are answered rightly, no more than one class alone"),
        (BY_CHANCE, None, {}, "labels or scores are read wrongly"),
        (BETTER, UNSEEN, {"val_acc": 0.99}, ""),
        ([1.0, 1, 1, torch.nan, torch.nan, 0], UNSEEN, {}, "3 of 4"),
    ],
)
def test_it_speaks_only_where_there_is_reason(right: list, reading: Any, metrics: dict, says: str) -> None:
    said = chance_hint(record(right, reading), metrics)
    assert bool(said) == bool(says)
    if says:
        with pytest.raises(ValueError, match=says):
            raise ValueError(said)


@pytest.mark.parametrize("labels", [None, torch.rand(6), torch.ones(6, 3)])
def test_without_classes_it_is_silent(labels: Tensor | None) -> None:
    assert chance_hint(record(BY_CHANCE, None, labels), {}) == ""
    assert chance_hint(RunRecord(), {}) == ""


class Hidden(Classifier):
    """Its step hides from view what it validates, and validates something else than ``forward``."""

    def validation_step(self, batch: Any, batch_idx: int = 0) -> None:
        self.log("val_acc", 0.97)

    def training_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
        return F.cross_entropy(self(batch[0]), torch.zeros_like(batch[1]))


def test_it_is_said_in_a_fit_at_the_third_look(tmp_path: Path) -> None:
    images, labels = data(24, seed=1).tensors
    val = DataLoader(TensorDataset(images, labels % 3), batch_size=8)
    monitor = CAMMonitor(probe=9, shortcuts=None, report=False)
    fitted = trainer(tmp_path, callbacks=[monitor], max_epochs=3)
    with pytest.warns(
        UserWarning, match=r"of the probe 3 of 9 are answered rightly.*your own val_acc says 0.97"
    ):
        fitted.fit(Hidden(), loader(), val)
