"""Where pictures go: to each logger that takes images, else to files."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary

Show = Callable[[Any, str, Image.Image, int], None]

LOGGERS: dict[type, Show] = {}
"""A function ``(logger, tag, picture, step)`` by logger class; it comes before what a logger is seen to be able to do."""


@dataclass(frozen=True)
class Destination:
    loggers: tuple
    directory: str
    epoch: int
    step: int
    writes: bool


def where_to(trainer: Any) -> Destination:
    directory = trainer.log_dir or trainer.default_root_dir  # a collective: every rank asks
    writes = trainer.is_global_zero and not trainer.fast_dev_run
    return Destination(tuple(trainer.loggers), directory, trainer.current_epoch, validation_step(trainer), writes)


def publish(destination: Destination, tag: str, picture: Image.Image) -> str:
    """Hands a picture to every logger that takes pictures, or to a file where none does; returns where to find it, in words."""
    taken = [logger for logger in destination.loggers if show(logger, tag, picture, destination.step)]
    if not taken:
        path = save(destination.directory, tag, picture, destination.epoch, destination.step)
        return f"no logger takes pictures; they are in {path.parent.parent}"
    boards = [getattr(logger, "root_dir", None) or logger.save_dir for logger in taken if takes_add_image(logger)]
    return f"to see every look:  tensorboard --logdir {boards[0]} --samples_per_plugin images=1000" if boards else ""


def publish_text(destination: Destination, tag: str, text: str) -> str:
    for logger in destination.loggers:
        add_text = getattr(getattr(logger, "experiment", None), "add_text", None)
        if callable(add_text):
            add_text(tag, text, destination.step)
    return ""


def validation_step(trainer: Any) -> int:
    """The step that Lightning gives the scalars of this validation; ``global_step`` would stand beside them."""
    return getattr(trainer.fit_loop.epoch_loop, "_batches_that_stepped", max(trainer.global_step - 1, 0))


def show(logger: Any, tag: str, picture: Image.Image, step: int) -> bool:
    """Hands a picture to a logger; says whether the logger takes pictures at all."""
    row = next((LOGGERS[kind] for kind in type(logger).__mro__ if kind in LOGGERS), None)
    if row is None and takes_add_image(logger):
        row = show_in_tensorboard
    if row is not None:
        row(logger, tag, picture, step)
    return row is not None


def takes_add_image(logger: Any) -> bool:
    """Whether the logger's experiment is a summary writer, whichever package it comes from."""
    return callable(getattr(getattr(logger, "experiment", None), "add_image", None))


def show_in_tensorboard(logger: Any, tag: str, picture: Image.Image, step: int) -> None:
    """As JPEG through torch's writer, which by itself would encode PNG, slower and larger. Else ``add_image``."""
    experiment = logger.experiment
    if type(experiment).__module__.startswith("torch.utils.tensorboard"):
        image = Summary.Image(height=picture.height, width=picture.width, colorspace=3, encoded_image_string=encode_jpeg(picture))
        experiment._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)
    else:
        experiment.add_image(tag, np.asarray(picture), step, dataformats="HWC")


def save(directory: str | Path, tag: str, picture: Image.Image, epoch: int, step: int) -> Path:
    """Writes ``<directory>/<tag>/epoch=000-step=000000.jpg`` and returns its path."""
    path = Path(directory) / tag / f"epoch={epoch:03d}-step={step:06d}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_jpeg(picture))
    return path


def encode_jpeg(picture: Image.Image) -> bytes:
    """JPEG of quality 90 with full colour resolution, which keeps small letters clean."""
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=90, subsampling=0)
    return buffer.getvalue()
