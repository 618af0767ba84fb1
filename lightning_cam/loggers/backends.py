"""What each logger takes: pictures, texts, animations.

Lightning has each logger twice, in two namespaces, and a logger's package may be missing; so what a logger
and its experiment can do decides, not their class, and no package of a logger is imported here.
"""

import inspect
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary

from lightning_cam.loggers.files import encode_jpeg

Show = Callable[[Any, str, Image.Image, int], Any]
Tell = Callable[[Any, str, str, int], Any]
LOGGERS: dict[type, Show] = {}
"""A function ``(logger, tag, picture, step)`` by logger class; it comes before what a logger is seen to be
able to do.
"""


def show(logger: Any, tag: str, picture: Image.Image, step: int) -> bool:
    """Hands a picture to a logger; says whether the logger takes pictures at all."""
    row = _picture_row(logger)
    if row is not None:
        row(logger, tag, picture, step)
    return row is not None


def _picture_row(logger: Any) -> Show | None:
    return next((LOGGERS[kind] for kind in type(logger).__mro__ if kind in LOGGERS), None) or _first_fit(
        PICTURES, logger
    )


def _writes_on_any_thread(logger: Any) -> bool:
    """Not Comet: its experiment has one current step, so a picture would move scalars of the main thread to
    its own step.

    Of a user's function nobody knows.
    """
    row = _picture_row(logger)
    return row is None or row in (show_in_tensorboard, show_in_wandb, show_in_mlflow, show_in_litlogger)


def tell(logger: Any, tag: str, text: str, step: int) -> bool:
    """Hands a text in Markdown to a logger; says whether the logger takes texts at all."""
    row = _first_fit(TEXTS, logger)
    if row is not None:
        row(logger, tag, text, step)
    return row is not None


def show_gif(logger: Any, tag: str, gif: bytes, size: tuple[int, int], step: int) -> bool:
    """Hands a GIF to a logger whose viewer moves it: torch's TensorBoard writer, W&B; says whether this is
    one.
    """
    experiment = _experiment(logger)
    if type(experiment).__module__.startswith("torch.utils.tensorboard"):
        image = Summary.Image(width=size[0], height=size[1], colorspace=3, encoded_image_string=gif)
        experiment._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)
        return True
    if not _takes(logger, "log_video", ("key", "videos", "step")):
        return False
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "animation.gif"
        path.write_bytes(gif)
        logger.log_video(tag, [str(path)], step=step, format=["gif"])
    return True


def takes_add_image(logger: Any) -> bool:
    """Whether the logger's experiment is a summary writer, whichever package it comes from."""
    return _takes(_experiment(logger), "add_image", ())


def show_in_tensorboard(logger: Any, tag: str, picture: Image.Image, step: int) -> None:
    """As JPEG through torch's writer, which by itself would encode PNG, slower and larger. Else
    ``add_image``.
    """
    experiment = logger.experiment
    if type(experiment).__module__.startswith("torch.utils.tensorboard"):
        image = Summary.Image(
            height=picture.height,
            width=picture.width,
            colorspace=3,
            encoded_image_string=encode_jpeg(picture),
        )
        experiment._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)
    else:
        experiment.add_image(tag, np.asarray(picture), step, dataformats="HWC")


def tell_in_tensorboard(logger: Any, tag: str, text: str, step: int) -> None:
    """Under the tab of texts, which reads Markdown."""
    logger.experiment.add_text(tag, text, step)


def show_in_wandb(logger: Any, tag: str, picture: Image.Image, step: int) -> None:
    """Through the logger: the experiment counts steps of its own, and drops what comes with an earlier
    one.
    """
    logger.log_image(tag, [picture], step=step, caption=[f"{tag} · step {step}"])


def tell_in_wandb(logger: Any, tag: str, text: str, step: int) -> None:
    """A table of one cell, the form that W&B has for texts."""
    logger.log_text(tag, columns=["text"], data=[[text]], step=step)


def show_in_mlflow(logger: Any, tag: str, picture: Image.Image, step: int) -> None:
    """An image of the run, by key and step."""
    logger.experiment.log_image(logger.run_id, picture, key=_mlflow_key(tag), step=step)


def tell_in_mlflow(logger: Any, tag: str, text: str, step: int) -> None:
    """An artifact for each step, as a text of MLflow has no step."""
    logger.experiment.log_text(logger.run_id, text, f"{_mlflow_key(tag)}/step={step:06d}.md")


def _mlflow_key(tag: str) -> str:
    """The tag without what MLflow refuses; the logger of Lightning leaves the same out of the names of
    scalars.
    """
    return re.sub(r"[^a-zA-Z0-9_/. -]+", "", tag)


def show_in_comet(logger: Any, tag: str, picture: Image.Image, step: int) -> None:
    """A graphic of the experiment, by name and step."""
    logger.experiment.log_image(picture, name=tag, step=step)


def tell_in_comet(logger: Any, tag: str, text: str, step: int) -> None:
    """With the tag beside it, as a text of Comet has no name."""
    logger.experiment.log_text(text, step=step, metadata={"tag": tag})


def show_in_litlogger(logger: Any, tag: str, picture: Image.Image, step: int) -> None:
    """From a file, which LitLogger uploads before it returns."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "picture.jpg"
        path.write_bytes(encode_jpeg(picture))
        logger.experiment.log_media(tag, str(path), step=step, caption=f"{tag} · step {step}")


def tell_in_litlogger(logger: Any, tag: str, text: str, step: int) -> None:
    """From a file too; its ending says that it is a text."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "text.txt"
        path.write_text(text, encoding="utf-8")
        logger.experiment.log_media(tag, str(path), step=step)


PICTURES: tuple[tuple[str, str, tuple[str, ...], Show], ...] = (
    ("experiment", "add_image", (), show_in_tensorboard),
    ("logger", "log_image", ("key", "images", "step"), show_in_wandb),
    ("experiment", "log_image", ("run_id", "key", "step"), show_in_mlflow),
    ("experiment", "log_image", ("image_data", "name", "step"), show_in_comet),
    ("experiment", "log_media", ("name", "path", "step", "caption"), show_in_litlogger),
)
"""By a method of the logger or its experiment and what that must take: how to show a picture. The first that
fits decides.
"""


TEXTS: tuple[tuple[str, str, tuple[str, ...], Tell], ...] = (
    ("experiment", "add_text", (), tell_in_tensorboard),
    ("logger", "log_text", ("key", "columns", "data", "step"), tell_in_wandb),
    ("experiment", "log_text", ("run_id", "text", "artifact_file"), tell_in_mlflow),
    ("experiment", "log_text", ("text", "step", "metadata"), tell_in_comet),
    ("experiment", "log_media", ("name", "path", "step", "caption"), tell_in_litlogger),
)
"""Likewise, how to tell a text."""


def _first_fit(rows: tuple[tuple[str, str, tuple[str, ...], Callable], ...], logger: Any) -> Callable | None:
    sides = {"logger": logger, "experiment": _experiment(logger)}
    return next(
        (row for side, method, arguments, row in rows if _takes(sides[side], method, arguments)), None
    )


def _experiment(logger: Any) -> Any:
    return getattr(logger, "experiment", None)


def _takes(side: Any, method: str, arguments: tuple[str, ...]) -> bool:
    """Whether there is such a method, with arguments of these names: packages have methods of one name for
    different things.
    """
    function = getattr(side, method, None)
    return callable(function) and (
        not arguments or set(arguments) <= set(inspect.signature(function).parameters)
    )
