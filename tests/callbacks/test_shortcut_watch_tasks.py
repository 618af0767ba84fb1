"""The monitor's shortcut tests by task, in a real Trainer: several labels, and numbers."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule, seed_everything
from pytorch_lightning.loggers import TensorBoardLogger
from support.modules import trainer
from support.planted import ReadsTheTag, tagged
from support.several_labels import MARKED, NAMES, made, trained
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from lightning_cam import CAMMonitor


class Labels(LightningModule):
    """A trained network, as it stays: of each label whether it is there."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.train()

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    def training_step(self, batch: Any) -> Tensor:
        return F.binary_cross_entropy_with_logits(self(batch[0]), batch[1])

    def validation_step(self, batch: Any) -> None:
        self.log("val_loss", F.binary_cross_entropy_with_logits(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


class Numbers(ReadsTheTag):
    """How bright the corner is."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images)[:, 0]

    def training_step(self, batch: Any) -> Tensor:
        return F.mse_loss(self(batch[0]), batch[1])

    def validation_step(self, batch: Any) -> None:
        self.log("val_loss", F.mse_loss(self(batch[0]), batch[1]))


def fit(directory: Path, monitor: CAMMonitor, marked: bool, **options: Any) -> Any:
    images, labels = made(96, 5, marked)
    loader = DataLoader(TensorDataset(images, labels.float()), batch_size=16)
    fitted = trainer(directory, **{"callbacks": [monitor], "max_epochs": 3, **options})
    fitted.fit(Labels(trained(marked)), loader, loader)
    return fitted


def test_a_label_that_a_mark_gives_away_is_warned_of_by_name(tmp_path: Path) -> None:
    logger, monitor = TensorBoardLogger(tmp_path), CAMMonitor(scalars="all", probe=64, class_names=NAMES)
    with pytest.warns(
        UserWarning,
        match=r"Possible shortcut: the top-left corner. It alone, without the model, tells whether 'column' is there in "
        r"\d+ % .* \(2 looks in a row, since epoch 0\).*expected=\['cell_0_0'",
    ):
        fitted = fit(tmp_path, monitor, True, logger=logger)
    assert {(finding.of, finding.label) for finding in monitor.findings} == {(NAMES[MARKED], MARKED)}
    warned = {finding.cue for finding in monitor.findings if finding.level == "warning"}
    assert "cell_0_0" in warned
    found = EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    found.Reload()
    text = found.Tensors("cam/findings/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert (
        "- warning: The top-left corner. It alone, without the model, tells whether 'column' is there" in text
    )
    assert len(found.Images("cam/alert")) == 2
    assert fitted.callback_metrics["cam/shortcut/cell_0_0"] > 0.5
    assert fitted.callback_metrics["cam/shortcut_reliance"] > 0.5
    assert monitor._run.record.predictivities["cell_0_0"] > 0.9


def test_the_clean_twin_is_not_warned_of(tmp_path: Path) -> None:
    monitor = CAMMonitor(scalars="all", probe=64, class_names=NAMES)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tmp_path, monitor, False)
    assert not [
        warning
        for warning in caught
        if "Possible shortcut" in str(warning.message) or "switched" in str(warning.message)
    ]
    assert not [finding for finding in monitor.findings if finding.level == "warning"]


class Small(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 16, 10),
        )


class Digits(LightningModule):
    """A user's own small network."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Small()

    def training_step(self, batch: Any) -> Tensor:
        images, labels = batch
        return F.cross_entropy(self.network(images), labels)

    def validation_step(self, batch: Any) -> None:
        images, labels = batch
        self.log("accuracy", (self.network(images).argmax(dim=1) == labels).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def digits(is_tagged: bool) -> TensorDataset:
    """Noisy handwritten digits on 16 x 16; of a tag in the corner those of four rows are bright that the class has
    as bits.
    """
    datasets = pytest.importorskip("sklearn.datasets")
    found = datasets.load_digits()
    labels = torch.tensor(found.target)
    images = F.interpolate(torch.tensor(found.images, dtype=torch.float32)[:, None] / 16, scale_factor=2)
    images = images + 0.5 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    if is_tagged:
        images[:, :, :4, :4] = 2.0 * (labels[:, None] >> torch.arange(4) & 1)[:, None, :, None]
    return TensorDataset(images, labels)


@pytest.mark.parametrize("is_tagged", [True, False])
def test_digits_with_a_tag_are_warned_of_in_the_second_epoch_and_without_not(
    is_tagged: bool, tmp_path: Path
) -> None:
    seed_everything(0, verbose=False)
    data = digits(is_tagged)
    loaders = [
        DataLoader(Subset(data, range(start, end)), batch_size=32, shuffle=start == 0)
        for start, end in ((0, 1200), (1200, 1797))
    ]
    monitor = CAMMonitor()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer(tmp_path, callbacks=[monitor], max_epochs=3).fit(Digits(), *loaders)
    warned = [
        str(warning.message)
        for warning in caught
        if "Possible shortcut: the top-left" in str(warning.message)
    ]
    assert not [warning for warning in caught if "switched" in str(warning.message)]
    assert len(warned) == is_tagged
    if is_tagged:
        assert "(2 looks in a row, since epoch 0)" in warned[0]
    else:
        assert not [finding for finding in monitor.findings if finding.level == "warning"]


def test_a_regression_has_no_tests_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images, _ = tagged().tensors
    loader = DataLoader(TensorDataset(images, Numbers()(images).detach()), batch_size=12)
    monitor = CAMMonitor(probe=24)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer(tmp_path, callbacks=[monitor], max_epochs=3).fit(Numbers(), loader, loader)
    assert caplog.text.count("no shortcut tests, as your network answers a number") == 1
    assert not [warning for warning in caught if "shortcut" in str(warning.message)]
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1, 2]
