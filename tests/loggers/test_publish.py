"""Where pictures and texts go: every logger that takes them, or a file."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from support.files import picture_at
from support.modules import Classifier, loader, trainer
from support.writers import Foreign, Writer, close, events

from lightning_cam.loggers.folder import Folder
from lightning_cam.loggers.publish import folder_for, publish, publish_text, validation_step, where_to


def test_publish_goes_to_every_logger_that_takes_pictures(tmp_path: Path, picture: Image.Image) -> None:
    boards, tables, writer = TensorBoardLogger(tmp_path / "boards"), CSVLogger(tmp_path / "tables"), Writer()
    trainer = Trainer(logger=[tables, boards, Foreign(writer)], accelerator="cpu")
    words = publish(where_to(trainer, Folder(tmp_path, "cam")), "cam/overlay", picture)
    assert len(events(boards, "cam/overlay")) == 1
    assert len(writer.calls) == 1
    assert "--samples_per_plugin images=1000" in words
    assert str(boards.root_dir) in words
    assert not list(tmp_path.rglob("*.jpg"))


def test_publish_writes_files_where_no_logger_takes_pictures(tmp_path: Path, picture: Image.Image) -> None:
    trainer = Trainer(logger=CSVLogger(tmp_path), accelerator="cpu")
    words = publish(where_to(trainer, Folder(tmp_path, "cam")), "cam/overlay", picture)
    (path,) = tmp_path.rglob("*.jpg")
    assert path == tmp_path / "cam" / "overlay" / "epoch=000-step=000000.jpg"
    assert words == f"pictures are in {tmp_path / 'cam'}"
    close(picture_at(path), picture)


def test_without_a_logger_and_a_folder_nothing_is_written(
    tmp_path: Path, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trainer = Trainer(logger=False, accelerator="cpu")
    assert folder_for(trainer, None, "cam") is None
    assert publish(where_to(trainer, None), "cam/overlay", picture) == ""
    publish_text(where_to(trainer, None), "cam/findings", "text")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("quick", [{"fast_dev_run": True}, {"barebones": True}])
def test_publish_leaves_nothing_of_a_quick_run(quick: dict, tmp_path: Path, picture: Image.Image) -> None:
    trainer = Trainer(default_root_dir=tmp_path, accelerator="cpu", **quick)
    assert folder_for(trainer, tmp_path, "cam") is None
    assert publish(where_to(trainer, Folder(tmp_path, "cam")), "cam/overlay", picture) == ""
    assert not list(tmp_path.rglob("*"))


def test_other_ranks_write_nothing(tmp_path: Path, picture: Image.Image) -> None:
    rank = SimpleNamespace(
        is_global_zero=False,
        fast_dev_run=0,
        barebones=False,
        loggers=[CSVLogger(tmp_path)],
        current_epoch=2,
        global_step=9,
        fit_loop=SimpleNamespace(epoch_loop=None),
    )
    destination = where_to(rank, folder_for(rank, tmp_path, "cam"))
    assert (destination.folder, destination.writes) == (None, False)
    assert (destination.epoch, destination.step) == (2, 8)
    assert publish(destination, "cam/overlay", picture) == ""
    publish_text(destination, "cam/findings", "text")
    assert not list(tmp_path.iterdir())


class Named(Foreign):
    """A logger that does not say where its files lie, but how its runs are called."""

    def __init__(self, save_dir: Path | None, version: int | str) -> None:
        super().__init__()
        self._save_dir, self._version = save_dir, version

    @property
    def save_dir(self) -> Path | None:
        return self._save_dir

    @property
    def version(self) -> int | str:
        return self._version


@pytest.mark.parametrize("saves", [True, False])
@pytest.mark.parametrize("version", [3, "x7f2"])
def test_files_lie_beside_the_checkpoints(saves: bool, version: int | str, tmp_path: Path) -> None:
    logger = Named(tmp_path / "own" if saves else None, version)
    fitted = trainer(tmp_path / "root", logger=logger, enable_checkpointing=True, max_epochs=1)
    fitted.fit(Classifier(), loader())
    folder = folder_for(fitted, None, "cam")
    assert Path(folder.path).parent == Path(fitted.checkpoint_callback.best_model_path).parents[1]
    assert Path(folder.path).parent.parent.parent == tmp_path / ("own" if saves else "root")
    assert folder_for(fitted, tmp_path / "mine", "cam").path == f"{tmp_path / 'mine'}/cam"


def test_an_experiment_is_built_when_the_trainer_is_asked(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    assert logger._experiment is None
    where_to(Trainer(logger=logger, accelerator="cpu"), None)
    assert logger._experiment is not None


def test_validation_step_before_training() -> None:
    assert validation_step(Trainer(logger=False, accelerator="cpu")) == 0
    assert validation_step(SimpleNamespace(fit_loop=SimpleNamespace(epoch_loop=None), global_step=5)) == 4
    assert validation_step(SimpleNamespace(fit_loop=SimpleNamespace(epoch_loop=None), global_step=0)) == 0
