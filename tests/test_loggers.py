"""Where pictures go: TensorBoard's event file, other writers, rows of the table, files."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator, ImageEvent
from torch.utils.tensorboard import SummaryWriter

from lightning_cam.loggers.backends import LOGGERS, Backend, backend_of, show
from lightning_cam.loggers.files import encode_jpeg, save
from lightning_cam.loggers.publish import publish, publish_text, validation_step, where_to


@pytest.fixture
def picture() -> Image.Image:
    """Wider than high, with four colours that tell its corners apart."""
    picture = Image.new("RGB", (96, 64), (255, 255, 255))
    for place, color in (
        ((0, 0), (200, 0, 0)),
        ((64, 0), (0, 150, 0)),
        ((0, 32), (0, 0, 200)),
        ((64, 32), (30, 30, 30)),
    ):
        picture.paste(color, (*place, place[0] + 32, place[1] + 32))
    return picture


class Writer:
    """A summary writer of another package: it has ``add_image``, and that is all."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any, int, str]] = []

    def add_image(
        self, tag: str, img_tensor: Any, global_step: int | None = None, dataformats: str = "CHW"
    ) -> None:
        self.calls.append((tag, img_tensor, global_step, dataformats))


class Foreign(Logger):
    """A logger of which we know nothing but its experiment."""

    def __init__(self, experiment: Any = None) -> None:
        self._experiment = experiment
        self.taken: list[tuple[str, int]] = []

    @property
    def experiment(self) -> Any:
        return self._experiment

    @property
    def name(self) -> str:
        return "foreign"

    @property
    def version(self) -> int:
        return 0

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        raise AssertionError("only pictures are shown here")

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        raise AssertionError("only pictures are shown here")


class Child(Foreign):
    """A subclass, as vendors have them."""


def events(logger: TensorBoardLogger, tag: str) -> list[ImageEvent]:
    logger.experiment.flush()
    accumulator = EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    accumulator.Reload()
    return accumulator.Images(tag)


def close(found: Image.Image, expected: Image.Image) -> None:
    """Equal but for what JPEG does to edges."""
    difference = np.abs(np.asarray(found, dtype=int) - np.asarray(expected, dtype=int))
    assert difference.mean() < 2
    assert found.size == expected.size


def test_tensorboard_gets_a_jpeg(tmp_path: Path, picture: Image.Image) -> None:
    logger = TensorBoardLogger(tmp_path)
    for step in (7, 23):
        assert show(logger, "cam/overlay", picture, step) is True
    first, second = events(logger, "cam/overlay")
    assert (first.step, second.step) == (7, 23)
    assert (first.width, first.height) == (96, 64)
    decoded = Image.open(io.BytesIO(first.encoded_image_string))
    assert decoded.format == "JPEG"
    close(decoded, picture)


def test_tensorboard_keeps_scalars_and_pictures_side_by_side(tmp_path: Path, picture: Image.Image) -> None:
    logger = TensorBoardLogger(tmp_path)
    logger.log_metrics({"cam/entropy": 0.5}, step=7)
    show(logger, "cam/overlay", picture, 7)
    logger.experiment.flush()
    accumulator = EventAccumulator(logger.log_dir)
    accumulator.Reload()
    assert accumulator.Scalars("cam/entropy")[0].step == accumulator.Images("cam/overlay")[0].step == 7


def test_a_foreign_writer_gets_bytes(picture: Image.Image) -> None:
    writer = Writer()
    assert show(Foreign(writer), "cam/overlay", picture, 3) is True
    ((tag, image, step, layout),) = writer.calls
    assert (tag, step, layout) == ("cam/overlay", 3, "HWC")
    assert (image.dtype, image.shape) == (np.uint8, (64, 96, 3))
    np.testing.assert_array_equal(image, np.asarray(picture))


def test_a_writer_derived_from_torchs_gets_its_jpeg_or_its_bytes(
    tmp_path: Path, picture: Image.Image
) -> None:
    class Derived(SummaryWriter):
        pass

    logger = Foreign(Derived(str(tmp_path)))
    assert show(logger, "cam/overlay", picture, 5)
    logger.experiment.flush()
    accumulator = EventAccumulator(str(tmp_path))
    accumulator.Reload()
    (event,) = accumulator.Images("cam/overlay")
    close(Image.open(io.BytesIO(event.encoded_image_string)).convert("RGB"), picture)
    assert event.step == 5


@pytest.mark.parametrize(
    "experiment", [None, SimpleNamespace(), SimpleNamespace(add_image=None), {"add_image": len}]
)
def test_who_takes_no_pictures_is_not_shown_any(experiment: Any, picture: Image.Image) -> None:
    assert backend_of(Foreign(experiment)) is None
    assert show(Foreign(experiment), "cam/overlay", picture, 0) is False


def test_the_csv_logger_takes_no_pictures(tmp_path: Path, picture: Image.Image) -> None:
    assert show(CSVLogger(tmp_path), "cam/overlay", picture, 0) is False
    assert not list(tmp_path.rglob("*.jpg"))


def noting(name: str, kind: type) -> Backend:
    def note(logger: Any, tag: str, picture: Image.Image, step: int) -> None:
        logger.taken.append((name, tag, picture.size, step))

    return Backend(name, kind, note)


@pytest.mark.parametrize("kind", [Foreign, Child])
def test_a_row_decides_for_its_class_and_those_derived_from_it(
    kind: type[Foreign], monkeypatch: pytest.MonkeyPatch, picture: Image.Image
) -> None:
    monkeypatch.setitem(LOGGERS, "row", noting("row", Foreign))
    logger = kind(Writer())
    assert show(logger, "cam/overlay", picture, 11) is True
    assert logger.taken == [("row", "cam/overlay", (96, 64), 11)]
    assert logger.experiment.calls == [], "a row comes before what the logger is seen to be able to do"


def test_the_nearest_class_decides(monkeypatch: pytest.MonkeyPatch, picture: Image.Image) -> None:
    for kind in (Logger, Foreign, Child):
        monkeypatch.setitem(LOGGERS, kind.__name__, noting(kind.__name__, kind))
    child, foreign = Child(), Foreign()
    assert show(child, "cam/overlay", picture, 1)
    assert show(foreign, "cam/overlay", picture, 2)
    assert (child.taken[0][0], foreign.taken[0][0]) == ("Child", "Foreign")


def test_a_row_for_another_class_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, picture: Image.Image
) -> None:
    monkeypatch.setitem(LOGGERS, "child", noting("child", Child))
    parent = Foreign(Writer())
    assert show(parent, "cam/overlay", picture, 1)
    assert (len(parent.experiment.calls), parent.taken) == (1, [])


def test_save(tmp_path: Path, picture: Image.Image) -> None:
    path = save(tmp_path / "logs", "cam/overlay", picture, 3, 41)
    assert path == tmp_path / "logs" / "cam" / "overlay" / "epoch=003-step=000041.jpg"
    close(Image.open(path), picture)
    assert save(str(tmp_path / "logs"), "cam/overlay", picture, 3, 41) == path


def test_files_sort_by_time(tmp_path: Path, picture: Image.Image) -> None:
    paths = [save(tmp_path, "cam/overlay", picture, epoch, 10 * epoch) for epoch in (0, 2, 10, 100)]
    assert sorted(paths) == paths


def test_jpeg_keeps_small_letters_clean(picture: Image.Image) -> None:
    # Full colour resolution: a red line of one pixel stays red.
    picture.paste((255, 0, 0), (0, 20, 96, 21))
    decoded = np.asarray(Image.open(io.BytesIO(encode_jpeg(picture))))
    red, green, blue = decoded[20, 40:56].mean(axis=0)
    assert (red > 220, green < 60, blue < 60) == (True, True, True)


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


@pytest.mark.parametrize(
    "function", [lambda image: None, lambda *args, **kwargs: None, lambda run_id, image: None]
)
def test_a_method_of_a_known_name_with_other_arguments_is_left_alone(
    function: Any, picture: Image.Image
) -> None:
    assert (
        show(Foreign(SimpleNamespace(log_image=function, log_text=function)), "cam/overlay", picture, 0)
        is False
    )


def test_validation_step_before_training() -> None:
    assert validation_step(Trainer(logger=False, accelerator="cpu")) == 0
    assert validation_step(SimpleNamespace(fit_loop=SimpleNamespace(epoch_loop=None), global_step=5)) == 4
    assert validation_step(SimpleNamespace(fit_loop=SimpleNamespace(epoch_loop=None), global_step=0)) == 0
