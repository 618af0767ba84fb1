"""Which logger takes pictures, and how: TensorBoard's event file, other writers, rows of the table."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from support.writers import Foreign, Writer, close, events
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from lightning_cam.loggers.backends import LOGGERS, Backend, backend_of, show


class Child(Foreign):
    """A subclass, as vendors have them."""


def test_tensorboard_gets_webp(tmp_path: Path, picture: Image.Image) -> None:
    logger = TensorBoardLogger(tmp_path)
    for step in (7, 23):
        assert show(logger, "cam/overlay", picture, step) is True
    first, second = events(logger, "cam/overlay")
    assert (first.step, second.step) == (7, 23)
    assert (first.width, first.height) == (96, 64)
    decoded = Image.open(io.BytesIO(first.encoded_image_string))
    assert decoded.format == "WEBP"
    close(decoded.convert("RGB"), picture)


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


def test_a_writer_derived_from_torchs_gets_webp_or_bytes(tmp_path: Path, picture: Image.Image) -> None:
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
