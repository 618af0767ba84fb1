"""Kinds 67 to 71: loaders, folds, tuners, loggers, and a folder that cannot be written."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.tuner import Tuner
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor

from lightning_cam import CAMMonitor, Inputs
from support.read_case import Setup, case, plain, variant
from support.read_data import BATCH, VAL, figures, loader, training, validation
from support.read_modules import User, classified, trained_net
from support.read_outcome import QUIET

# --- several loaders


def held_loader() -> Any:
    held = validation()
    return loader(held.images, held.labels)


@case(67)
def two_loaders() -> Setup:
    return plain(User(trained_net()), val=[held_loader(), held_loader()])


@case(67)
def two_loaders_one_after_the_other() -> Setup:
    return plain(
        User(trained_net()), val=CombinedLoader({"a": held_loader(), "b": held_loader()}, "sequential")
    )


class TwoAtOnce(User):
    def step(self, batch):
        return super().step(batch["b"] if isinstance(batch, dict) else batch)


def at_once() -> Setup:
    """The step validates on the second of both."""
    other = figures(VAL, seed=2)
    both = {"a": loader(other.images, other.labels), "b": held_loader()}
    return plain(TwoAtOnce(trained_net()), val=CombinedLoader(both, "min_size"))


variant(67, "two_loaders_at_once", at_once, label=r"batch\[.b.\]\[1\]")
variant(67, "two_loaders_at_once_told", at_once, label=r"batch\[.b.\]\[1\]",
        arguments={"inputs": Inputs(images=lambda batch: batch["b"][0], labels=lambda batch: batch["b"][1])})  # fmt: skip


# --- folds


def fold(which: int) -> tuple[Any, Any, Tensor, Tensor, Tensor]:
    """Two halves that validate each other: loaders, and what is validated."""
    known = figures(2 * VAL, seed=3)
    held = torch.arange(2 * VAL) % 2 == which
    train = loader(known.images[~held], known.labels[~held], shuffle=True)
    val = loader(known.images[held], known.labels[held])
    return train, val, known.images[held], known.boxes[held], known.labels[held]


def second_fold() -> Setup:
    train, val, seen, boxes, labels = fold(1)
    return Setup(User(trained_net()), train, val, seen, boxes, labels)


def fit_first_fold(trainer: Trainer, monitor: CAMMonitor) -> None:
    """By a trainer of its own."""
    root = Path(trainer.default_root_dir) / "first"
    Trainer(max_epochs=1, callbacks=[monitor], default_root_dir=root, **QUIET).fit(
        User(trained_net()), *fold(0)[:2]
    )


def after_another_trainer(trainer: Trainer, setup: Setup) -> None:
    fit_first_fold(trainer, next(one for one in trainer.callbacks if isinstance(one, CAMMonitor)))
    trainer.fit(setup.module, setup.train, setup.val)


def after_itself(trainer: Trainer, setup: Setup) -> None:
    trainer.fit(User(trained_net()), *fold(0)[:2])
    trainer.fit_loop.max_epochs += 1
    trainer.fit(setup.module, setup.train, setup.val)


variant(68, "second_fold_with_another_trainer", second_fold, fit=after_another_trainer)
variant(68, "second_fold_with_the_same_trainer", second_fold, fit=after_itself,
        says=(r"the probe is of another fit's validation data",))  # fmt: skip


# --- tuners and short runs


class Tuned(User):
    """Makes its loaders itself, in batches of a size that is tried out."""

    def __init__(self) -> None:
        super().__init__(trained_net())
        self.lr, self.batch_size = 1e-5, BATCH

    def train_dataloader(self):
        return loader(training().images, training().labels, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return loader(validation().images, validation().labels, batch_size=self.batch_size)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.lr)


def tuned() -> Setup:
    held = validation()
    module = Tuned()
    return Setup(module, None, module.val_dataloader(), held.images, held.boxes, held.labels)


def after_finding_a_rate(trainer: Trainer, setup: Setup) -> None:
    Tuner(trainer).lr_find(setup.module, num_training=8, max_lr=1e-4)
    setup.module.lr = 1e-5  # what it suggests for trained weights would end the training
    trainer.fit(setup.module)


def after_finding_a_batch_size(trainer: Trainer, setup: Setup) -> None:
    Tuner(trainer).scale_batch_size(setup.module, max_trials=1, steps_per_trial=1, init_val=4)
    trainer.fit(setup.module)


variant(69, "after_lr_find", tuned, fit=after_finding_a_rate)
variant(69, "after_scale_batch_size", tuned, fit=after_finding_a_batch_size)


def simple() -> Setup:
    return plain(User(trained_net()))


def first_batch() -> Setup:
    held, few = validation(), slice(0, BATCH)
    images, labels = held.images[few], held.labels[few]
    return plain(
        User(trained_net()),
        seen=images,
        boxes=held.boxes[few],
        labels=labels,
        own=lambda module: classified(module(images), labels),
    )


variant(69, "barebones", simple, options={"barebones": True, "enable_checkpointing": None, "logger": None,
                                          "enable_progress_bar": None, "enable_model_summary": None})  # fmt: skip


variant(69, "fast_dev_run", first_batch, options={"fast_dev_run": True})


variant(69, "overfit_batches", first_batch, options={"overfit_batches": 1})


# --- what is written


def loads_weights_only(monitor: CAMMonitor, setup: Setup, folder: Path) -> None:
    (path,) = folder.rglob("*.ckpt")
    state = torch.load(path, weights_only=True)
    assert any(key.startswith("CAMMonitor") for key in state["callbacks"])
    assert list(folder.rglob("metrics.csv"))


def with_csv(trainer: Trainer, setup: Setup) -> None:
    trainer.logger = CSVLogger(trainer.default_root_dir)
    trainer.fit(setup.module, setup.train, setup.val)


variant(
    70, "csv_logger", simple, also=loads_weights_only, fit=with_csv, options={"enable_checkpointing": True}
)


variant(
    71,
    "folder_that_cannot_be_written",
    simple,
    arguments={"log_dir": __file__},  # a file, which no user's right can write into
    says=(r"lost|cannot|could not|Not a directory|File exists",),
)
