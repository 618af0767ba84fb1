"""What a fit leaves of pictures: every way to draw, animations, and where files lie."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from support.files import frames_at
from support.modules import Classifier, loader, trainer
from support.pages import written
from support.planted import ReadsTheTag, tagged
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn import functional
from torch.utils.data import DataLoader

from lightning_cam import CAMMonitor, Style

KINDS = ("classes", "evolution", "overlay")
LOOKS = ((0, 2), (1, 5))  # epoch and step of each look in a fit


def test_every_way_to_draw_in_a_fit(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    monitors = [
        CAMMonitor(probe=6, style=Style(color_scale="run", foreground=0.5), shortcuts=None),
        CAMMonitor(
            probe=6,
            method="hirescam",
            name="signed",
            style=Style(color_scale="run", colormap="RdBu_r", foreground=0.5, animation=True),
            shortcuts=None,
        ),
    ]
    trainer(tmp_path, callbacks=monitors, logger=logger, max_epochs=9).fit(
        Classifier(), loader(), loader(seed=1)
    )
    found = EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    found.Reload()
    for name in ("cam", "signed"):
        # At the end; of 2, 4 and 8 looks, the untrained one among them, and at the end.
        assert (f"{name}/animation" in found.Tags()["images"]) == (name == "signed")
        assert len(found.Images(f"{name}/classes")) == 4


def test_an_animation_in_weights_and_biases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    trainer(
        tmp_path, callbacks=[CAMMonitor(probe=6, shortcuts=None, style=Style(animation=True))], logger=logger
    ).fit(Classifier(), loader(), loader(seed=1))
    logger.experiment.finish()
    (path,) = tmp_path.rglob("*.gif")
    assert frames_at(path) == 3


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with nothing in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def remote() -> Iterator[str]:
    """A directory that is not on this machine's disk."""
    yield "memory://of-a-publisher"
    fsspec.filesystem("memory").rm("/of-a-publisher", recursive=True)


def remote_files() -> list[str]:
    found = fsspec.filesystem("memory").find("/of-a-publisher")
    return [path.removeprefix("/of-a-publisher/") for path in found]


def train(monitor: CAMMonitor, **options: Any) -> Trainer:
    quiet = {"accelerator": "cpu", "max_epochs": 2, "enable_progress_bar": False, "callbacks": [monitor]}
    fitted = Trainer(**{**quiet, "enable_model_summary": False, **options})
    fitted.fit(Classifier(), loader(), loader(seed=1))
    return fitted


def files(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


def test_without_a_logger_the_working_directory_stays_as_it_was(empty: Path) -> None:
    monitor = CAMMonitor(probe=6)
    fitted = train(monitor, logger=False, enable_checkpointing=False)
    fitted.validate(Classifier(), loader(seed=1), verbose=False)
    fitted.test(WithTestStep(), loader(seed=1), verbose=False)
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1], "it looks all the same"
    assert files(empty) == []


def test_without_a_logger_but_with_a_folder_all_is_there(empty: Path) -> None:
    train(
        CAMMonitor(probe=6, log_dir="mine", style=Style(animation=True)),
        logger=False,
        enable_checkpointing=False,
    )
    names = [f"{kind}/epoch=00{epoch}-step=00000{step}.jpg" for kind in KINDS for epoch, step in LOOKS]
    assert files(empty / "mine" / "cam") == sorted(["animation.gif", "report.html", *names])
    assert [path.name for path in empty.iterdir()] == ["mine"]


def test_the_pictures_of_two_runs_never_mix(empty: Path) -> None:
    for epochs in (1, 2):
        train(
            CAMMonitor(probe=6, log_dir="mine"), logger=False, enable_checkpointing=False, max_epochs=epochs
        )
    first, second = (len(list((empty / "mine" / name / "overlay").iterdir())) for name in ("cam", "cam-v1"))
    assert (first, second) == (1, 2)
    assert [len(written(empty / f"mine/{name}/report.html")["looks"]) for name in ("cam", "cam-v1")] == [2, 3]


@pytest.mark.parametrize("logger", [TensorBoardLogger, CSVLogger, None])
def test_a_remote_directory_is_no_folder_of_this_machine(
    logger: type | None, remote: str, empty: Path
) -> None:
    chosen = {"logger": False if logger is None else logger(remote)}
    log_dir = f"{remote}/lightning_logs/version_0" if logger is None else None
    train(CAMMonitor(probe=6, log_dir=log_dir), enable_checkpointing=False, **chosen)
    assert files(empty) == []
    found = [path for path in remote_files() if "/cam/" in path]
    assert "lightning_logs/version_0/cam/report.html" in found
    pictures = [path for path in found if path.endswith((".jpg", ".gif"))]
    assert len(pictures) == (0 if logger is TensorBoardLogger else 6), "else they are in the event file"


def test_what_tests_found_is_told_in_a_remote_directory(remote: str, empty: Path) -> None:
    val, monitor = DataLoader(tagged(), batch_size=12), CAMMonitor(probe=24, log_dir=remote)
    fitted = Trainer(
        accelerator="cpu",
        max_epochs=2,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[monitor],
        logger=False,
        enable_checkpointing=False,
    )
    with pytest.warns(UserWarning, match="Possible shortcut: "):
        fitted.fit(ReadsTheTag(), val, val)
    told = fsspec.filesystem("memory").cat("/of-a-publisher/cam/findings.md").decode()
    assert [line for line in told.splitlines() if line.startswith("epoch")] == [
        "epoch 0 · step 3",
        "epoch 1 · step 7",
    ]
    assert "cam/alert/epoch=001-step=000007.jpg" in remote_files()
    assert files(empty) == []


def test_a_barebones_trainer_writes_and_logs_nothing(empty: Path) -> None:
    monitor = CAMMonitor(probe=6, log_dir="mine")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = Trainer(accelerator="cpu", max_epochs=2, callbacks=[monitor], barebones=True)
        fitted.fit(Silent(), loader(), loader(seed=1))
    assert not [one for one in caught if "self.log" in str(one.message)]
    assert (files(empty), len(monitor.history)) == ([], 2)


class Silent(Classifier):
    """Logs nothing, so that a warning of Lightning that it is in vain would be of the monitor."""

    def validation_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> None:
        functional.cross_entropy(self(batch[0]), batch[1])


class WithTestStep(Classifier):
    def test_step(self, batch: Any) -> None:
        self(batch[0])
