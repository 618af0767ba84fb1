"""Where pictures and texts go: every logger that takes them, or a file."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from support.writers import Foreign, Writer, events

from lightning_cam.loggers.publish import publish, publish_text, validation_step, where_to


def test_publish_goes_to_every_logger_that_takes_pictures(tmp_path: Path, picture: Image.Image) -> None:
    boards, tables, writer = TensorBoardLogger(tmp_path / "boards"), CSVLogger(tmp_path / "tables"), Writer()
    trainer = Trainer(logger=[tables, boards, Foreign(writer)], accelerator="cpu")
    words = publish(where_to(trainer), "cam/overlay", picture)
    assert len(events(boards, "cam/overlay")) == 1
    assert len(writer.calls) == 1
    assert "--samples_per_plugin images=1000" in words
    assert str(boards.root_dir) in words
    assert not list(tmp_path.rglob("*.jpg"))


@pytest.mark.parametrize("csv", [True, False])
def test_publish_writes_files_where_no_logger_takes_pictures(
    csv: bool, tmp_path: Path, picture: Image.Image
) -> None:
    trainer = Trainer(
        logger=CSVLogger(tmp_path) if csv else False, default_root_dir=tmp_path, accelerator="cpu"
    )
    words = publish(where_to(trainer), "cam/overlay", picture)
    (path,) = tmp_path.rglob("*.jpg")
    assert path.parts[-3:] == ("cam", "overlay", "epoch=000-step=000000.jpg")
    assert str(path.parent.parent) in words


def test_publish_leaves_nothing_of_a_fast_run(tmp_path: Path, picture: Image.Image) -> None:
    trainer = Trainer(fast_dev_run=True, default_root_dir=tmp_path, accelerator="cpu")
    assert publish(where_to(trainer), "cam/overlay", picture) == ""
    assert not list(tmp_path.rglob("*"))


def test_other_ranks_write_nothing_but_ask_for_the_directory_too(
    tmp_path: Path, picture: Image.Image
) -> None:
    class Rank:
        """A trainer on rank one, where asking for ``log_dir`` is a collective."""

        asked, default_root_dir, is_global_zero, fast_dev_run, current_epoch, global_step = (
            0,
            tmp_path,
            False,
            0,
            2,
            9,
        )
        fit_loop = SimpleNamespace(epoch_loop=None)
        loggers: tuple = ()

        @property
        def log_dir(self) -> str:
            self.asked += 1
            return str(tmp_path)

    rank = Rank()
    destination = where_to(rank)
    assert (rank.asked, destination.writes, destination.epoch, destination.step) == (1, False, 2, 8)
    assert publish(destination, "cam/overlay", picture) == ""
    publish_text(destination, "cam/findings", "text")
    assert not list(tmp_path.iterdir())


def test_an_experiment_is_built_when_the_trainer_is_asked(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    assert logger._experiment is None
    where_to(Trainer(logger=logger, accelerator="cpu"))
    assert logger._experiment is not None


def test_validation_step_before_training() -> None:
    assert validation_step(Trainer(logger=False, accelerator="cpu")) == 0
    assert validation_step(SimpleNamespace(fit_loop=SimpleNamespace(epoch_loop=None), global_step=5)) == 4
    assert validation_step(SimpleNamespace(fit_loop=SimpleNamespace(epoch_loop=None), global_step=0)) == 0
