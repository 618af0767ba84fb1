"""A fit with monitors, and what it left in the event file."""

import warnings
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, TensorDataset

from lightning_cam import CAMMonitor
from support.modules import Classifier, data, loader, trainer


def fit(
    directory: Path, monitor: CAMMonitor, model: Classifier | None = None, val: Any = None, **options: Any
) -> Trainer:
    seed_everything(0, verbose=False)
    fitted = trainer(directory, **{"callbacks": [monitor], **options})
    fitted.fit(
        Classifier() if model is None else model, loader(shuffle=True), loader(seed=1) if val is None else val
    )
    return fitted


def events(directory: Path) -> EventAccumulator:
    found = EventAccumulator(str(directory), size_guidance={"images": 0})
    found.Reload()
    return found


def with_no_warning_of_failure(directory: Path, monitor: CAMMonitor, **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*switched itself off.*")
        fit(directory, monitor, **options)


def epochs(monitor: CAMMonitor) -> list[int]:
    return [look.epoch for look in monitor.history.looks if look.epoch >= 0]


class AnyBatch(Classifier):
    def validation_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> None:
        self.log("val_loss", torch.tensor(0.0))


def run_with_checkpoint(
    directory: Path, monitor: CAMMonitor, epochs: int, resume: Path | None = None
) -> Path:
    seed_everything(0, verbose=False)
    saved = ModelCheckpoint(directory, save_last=True)
    fitted = trainer(directory, callbacks=[monitor, saved], max_epochs=epochs, enable_checkpointing=True)
    fitted.fit(Classifier(), loader(shuffle=True), loader(seed=1), ckpt_path=resume)
    return directory / "last.ckpt"


def val(images: Any, labels: Any, **options: Any) -> DataLoader:
    return DataLoader(TensorDataset(images, labels), batch_size=8, **options)


IMAGES, LABELS = data(24, seed=1).tensors
