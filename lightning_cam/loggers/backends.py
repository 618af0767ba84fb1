"""What each logger takes: pictures, texts, animations. One row a logger, in ``LOGGERS``.

Lightning has each logger twice, in two namespaces, and a logger's package may be missing; so what a logger
and its experiment can do decides, not their class, and no package of a logger is imported before it is used.
"""

import inspect
import io
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageSequence

from lightning_cam.loggers.files import encode_jpeg, encode_webp

Show = Callable[[Any, str, Image.Image, int], Any]  # (logger, tag, picture, step)
Tell = Callable[[Any, str, str, int], Any]  # (logger, tag, text, step)
Gif = Callable[[Any, str, bytes, tuple[int, int], int], Any]  # (logger, tag, gif, (width, height), step)


@dataclass(frozen=True)
class Owner:
    """A logger is known by a method, and by the names of the arguments that this method takes: packages have
    methods of one name for different things.

    Args:
        side: Who has the method: the logger, or its experiment.
        arguments: What it must take at least; () where its name is enough.
    """

    side: Literal["logger", "experiment"]
    method: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Backend:
    """One kind of logger: how it is recognised, and how it takes pictures, texts and animations.

    What a function answers with ``False`` it did not take; a file keeps that instead.

    Args:
        name: Its key in ``LOGGERS``.
        owner: A class of loggers, or an ``Owner``. The nearest class decides; classes come before
            methods.
        show: ``(logger, tag, picture, step)`` shows a picture, a ``PIL.Image.Image``.
        tell: ``(logger, tag, text, step)`` takes a text in Markdown; None: texts go to a file.
        gif: ``(logger, tag, gif, size, step)`` takes a GIF file's bytes; None: animations go to a file.
        any_thread: Whether another thread may use the logger while the main thread logs scalars. Then the
            training does not wait for it.

    Example:
        >>> class Wall:
        ...     def __init__(self) -> None:
        ...         self.pictures = {}
        >>> def hang(wall, tag, picture, step):
        ...     wall.pictures[tag, step] = picture.size
        >>> LOGGERS["wall"] = Backend("wall", Wall, show=hang)
        >>> wall = Wall()
        >>> show(wall, "cam/overlay", Image.new("RGB", (40, 30)), step=7), wall.pictures
        (True, {('cam/overlay', 7): (40, 30)})
        >>> tell(wall, "cam/findings", "a text", step=7)
        False
        >>> del LOGGERS["wall"]
    """

    name: str
    owner: type | Owner
    show: Show
    tell: Tell | None = None
    gif: Gif | None = None
    any_thread: bool = False


def show(logger: Any, tag: str, picture: Image.Image, step: int) -> bool:
    """Hands a picture to a logger; says whether the logger takes pictures at all."""
    row = backend_of(logger)
    return row is not None and row.show(logger, tag, picture, step) is not False


def tell(logger: Any, tag: str, text: str, step: int) -> bool:
    """Hands a text in Markdown to a logger; says whether the logger takes texts at all."""
    row = backend_of(logger)
    return row is not None and row.tell is not None and row.tell(logger, tag, text, step) is not False


def show_gif(logger: Any, tag: str, gif: bytes, size: tuple[int, int], step: int) -> bool:
    """Hands a GIF to a logger whose viewer moves it; says whether this is one."""
    row = backend_of(logger)
    return row is not None and row.gif is not None and row.gif(logger, tag, gif, size, step) is not False


def backend_of(logger: Any) -> Backend | None:
    """The row of a logger: of its nearest class that has one, else the first whose method it has; None where
    none fits. A user's own rows come before those that are built in.
    """
    own = [row for row in LOGGERS.values() if row not in BUILT_IN]
    rows = [*reversed(own), *(row for row in LOGGERS.values() if row in BUILT_IN)]
    for kind in type(logger).__mro__:
        for row in rows:
            if row.owner is kind:
                return row
    sides = {"logger": logger, "experiment": experiment_of(logger)}
    for row in rows:
        if isinstance(row.owner, Owner) and takes(sides[row.owner.side], row.owner):
            return row
    return None


def experiment_of(logger: Any) -> Any:
    """What the package itself calls a run, a writer or an experiment; built when first asked for."""
    return getattr(logger, "experiment", None)


def takes(side: Any, owner: Owner) -> bool:
    """Whether a logger, or an experiment, has such a method, with arguments of these names."""
    function = getattr(side, owner.method, None)
    if not callable(function):
        return False
    return not owner.arguments or set(owner.arguments) <= set(inspect.signature(function).parameters)


def is_torchs_writer(experiment: Any) -> bool:
    """Whether this is the writer of torch, which can be handed encoded pictures."""
    return type(experiment).__module__.startswith("torch.utils.tensorboard")


def show_in_tensorboard(logger: Any, tag: str, picture: Image.Image, step: int) -> None:
    """As WebP through torch's writer, which by itself would encode PNG, slower and ten times as large. Else
    ``add_image``.
    """
    if is_torchs_writer(logger.experiment):
        _add_encoded(logger.experiment, tag, encode_webp([picture]), picture.size, step)
    else:
        logger.experiment.add_image(tag, np.asarray(picture), step, dataformats="HWC")


def tell_in_tensorboard(logger: Any, tag: str, text: str, step: int) -> bool:
    """Under the tab of texts, which reads Markdown; not every writer has it."""
    if not takes(logger.experiment, Owner("experiment", "add_text")):
        return False
    logger.experiment.add_text(tag, text, step)
    return True


def move_in_tensorboard(logger: Any, tag: str, gif: bytes, size: tuple[int, int], step: int) -> bool:
    """Through torch's writer alone, as WebP: the viewer moves what stands where pictures stand."""
    if not is_torchs_writer(logger.experiment):
        return False
    frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(Image.open(io.BytesIO(gif)))]
    _add_encoded(logger.experiment, tag, encode_webp(frames), size, step)
    return True


def _add_encoded(writer: Any, tag: str, encoded: bytes, size: tuple[int, int], step: int) -> None:
    # Not at the head: who has no such logger need not load TensorBoard. Who has one has loaded this already,
    # so nothing is imported while another thread may fork processes.
    from tensorboard.compat.proto.summary_pb2 import Summary

    image = Summary.Image(width=size[0], height=size[1], colorspace=3, encoded_image_string=encoded)
    writer._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)


def show_in_wandb(logger: Any, tag: str, picture: Image.Image, step: int) -> None:
    """Through the logger: the experiment counts steps of its own, and drops what comes with an earlier
    one.
    """
    logger.log_image(tag, [picture], step=step, caption=[f"{tag} · step {step}"])


def tell_in_wandb(logger: Any, tag: str, text: str, step: int) -> bool:
    """A table of one cell, the form that W&B has for texts."""
    if not takes(logger, Owner("logger", "log_text", ("key", "columns", "data", "step"))):
        return False
    logger.log_text(tag, columns=["text"], data=[[text]], step=step)
    return True


def move_in_wandb(logger: Any, tag: str, gif: bytes, size: tuple[int, int], step: int) -> bool:
    """As a video, from a file; older loggers have none."""
    if not takes(logger, Owner("logger", "log_video", ("key", "videos", "step"))):
        return False
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "animation.gif"
        path.write_bytes(gif)
        logger.log_video(tag, [str(path)], step=step, format=["gif"])
    return True


def show_in_mlflow(logger: Any, tag: str, picture: Image.Image, step: int) -> None:
    """An image of the run, by key and step."""
    logger.experiment.log_image(logger.run_id, picture, key=_mlflow_key(tag), step=step)


def tell_in_mlflow(logger: Any, tag: str, text: str, step: int) -> bool:
    """An artifact for each step, as a text of MLflow has no step."""
    if not takes(logger.experiment, Owner("experiment", "log_text", ("run_id", "text", "artifact_file"))):
        return False
    logger.experiment.log_text(logger.run_id, text, f"{_mlflow_key(tag)}/step={step:06d}.md")
    return True


def _mlflow_key(tag: str) -> str:
    """The tag without what MLflow refuses; the logger of Lightning leaves the same out of the names of
    scalars.
    """
    return re.sub(r"[^a-zA-Z0-9_/. -]+", "", tag)


def show_in_comet(logger: Any, tag: str, picture: Image.Image, step: int) -> None:
    """A graphic of the experiment, by name and step."""
    logger.experiment.log_image(picture, name=tag, step=step)


def tell_in_comet(logger: Any, tag: str, text: str, step: int) -> bool:
    """With the tag beside it, as a text of Comet has no name."""
    if not takes(logger.experiment, Owner("experiment", "log_text", ("text", "step", "metadata"))):
        return False
    logger.experiment.log_text(text, step=step, metadata={"tag": tag})
    return True


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


BUILT_IN = (
    Backend(
        name="tensorboard",
        owner=Owner("experiment", "add_image"),
        show=show_in_tensorboard,
        tell=tell_in_tensorboard,
        gif=move_in_tensorboard,
        any_thread=True,
    ),
    Backend(
        name="wandb",
        owner=Owner("logger", "log_image", ("key", "images", "step")),
        show=show_in_wandb,
        tell=tell_in_wandb,
        gif=move_in_wandb,
        any_thread=True,
    ),
    Backend(
        name="mlflow",
        owner=Owner("experiment", "log_image", ("run_id", "key", "step")),
        show=show_in_mlflow,
        tell=tell_in_mlflow,
        any_thread=True,
    ),
    Backend(
        name="comet",
        owner=Owner("experiment", "log_image", ("image_data", "name", "step")),
        show=show_in_comet,
        tell=tell_in_comet,
        # Its experiment has one current step: a picture would move scalars of the main thread to its own.
        any_thread=False,
    ),
    Backend(
        name="litlogger",
        owner=Owner("experiment", "log_media", ("name", "path", "step", "caption")),
        show=show_in_litlogger,
        tell=tell_in_litlogger,
        any_thread=True,
    ),
)
LOGGERS: dict[str, Backend] = {row.name: row for row in BUILT_IN}
"""The loggers that take pictures. Your own, ``LOGGERS["mine"] = Backend("mine", MyLogger, show=...)``, come
before those that are built in.
"""
