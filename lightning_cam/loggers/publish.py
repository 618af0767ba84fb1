"""One picture, text or animation to every logger that takes it, else to a file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from lightning_cam.loggers.backends import LOGGERS, backend_of, experiment_of, show, show_gif, tell
from lightning_cam.loggers.files import encode_gif, encode_jpeg
from lightning_cam.loggers.folder import Folder


class PublishError(ExceptionGroup):
    """What some loggers did not take; the message says which, and where it is kept instead, ``exceptions``
    say why.
    """


@dataclass(frozen=True)
class Destination:
    """Where the pictures and texts of one look go; made on the main thread.

    Args:
        folder: Of the files, where no logger takes a picture or a text; None: these are not kept.
        step: That of the scalars of this validation.
        writes: Whether this process writes at all.
        any_thread: Whether another thread may write there while the main thread goes on logging scalars.
    """

    loggers: tuple[Any, ...]
    folder: Folder | None
    epoch: int
    step: int
    writes: bool
    any_thread: bool


def where_to(trainer: Any, folder: Folder | None) -> Destination:
    """Where this look goes. Every rank calls it, on its main thread.

    Args:
        folder: Of the files; None: there are none.
    """
    writes = may_write(trainer)
    loggers = tuple(trainer.loggers) if writes else ()
    for logger in loggers:
        experiment_of(logger)  # built when first asked for, which packages expect on the main thread
    rows = [backend_of(logger) for logger in loggers]
    any_thread = all(row is None or row.any_thread for row in rows)
    return Destination(loggers, folder, trainer.current_epoch, validation_step(trainer), writes, any_thread)


def folder_for(trainer: Any, log_dir: str | Path | None, name: str) -> Folder | None:
    """The folder of a monitor's files; None where there are none.

    Args:
        log_dir: Where it lies; None: where the first logger's files and checkpoints lie.
        name: The monitor's.
    """
    if not may_write(trainer) or (log_dir is None and not trainer.loggers):
        return None
    return Folder(log_dir or _directory_of(trainer.loggers[0], trainer.default_root_dir), name)


def may_write(trainer: Any) -> bool:
    """Whether this process writes: rank zero alone, and not in a ``fast_dev_run`` or with ``barebones``."""
    return trainer.is_global_zero and not trainer.fast_dev_run and not trainer.barebones


def _directory_of(logger: Any, default: str) -> str:
    own = getattr(logger, "log_dir", None)
    if own is not None:
        return str(own)
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    return "/".join([str(logger.save_dir or default), str(logger.name), version])


def publish(destination: Destination, tag: str, picture: Image.Image) -> str:
    """Hands a picture to every logger that takes pictures, or to a file where none does; returns where to
    find it, in words.

    Raises:
        PublishError: A logger failed. The others have the picture; where none has, a file does.
    """
    if not destination.writes:
        return ""
    epoch, step = destination.epoch, destination.step
    name = f"{_kind(tag)}/epoch={epoch:03d}-step={step:06d}.jpg"
    taken, path = _hand_out(
        destination,
        tag,
        lambda logger: show(logger, tag, picture, step),
        lambda folder: folder.write(name, encode_jpeg(picture)),
    )
    if path:
        return f"pictures are in {path.removesuffix(f'/{name}')}"
    boards = [
        getattr(logger, "root_dir", None) or logger.save_dir
        for logger in taken
        if backend_of(logger) is LOGGERS.get("tensorboard")
    ]
    return (
        f"in TensorBoard: tensorboard --logdir {boards[0]} --samples_per_plugin images=1000" if boards else ""
    )


def publish_animation(destination: Destination, tag: str, frames: Sequence[Image.Image]) -> None:
    """Hands pictures that follow one another, as a GIF, to every logger that takes one, or to a file where
    none does.

    Raises:
        PublishError: A logger failed. The others have it; where none has, a file does.
    """
    if not destination.writes:
        return
    gif, size, step = encode_gif(frames), frames[0].size, destination.step
    _hand_out(
        destination,
        tag,
        lambda logger: show_gif(logger, tag, gif, size, step),
        lambda folder: folder.write(f"{_kind(tag)}.gif", gif),
    )


def publish_text(destination: Destination, tag: str, text: str) -> None:
    """Hands a text to every logger that takes texts, or appends it to a file where none does.

    Raises:
        PublishError: A logger failed. The others have the text; where none has, the file does.
    """
    if not destination.writes:
        return
    _hand_out(
        destination,
        tag,
        lambda logger: tell(logger, tag, text, destination.step),
        lambda folder: folder.append(f"{_kind(tag)}.md", text),
    )


def _kind(tag: str) -> str:
    """The tag without the monitor's name, which the folder has."""
    return tag.rpartition("/")[2]


def _hand_out(
    destination: Destination, tag: str, hand: Callable[[Any], bool], keep: Callable[[Folder], str]
) -> tuple[list[Any], str]:
    """Who took it, and the file where nobody did, "" where there is none. All are tried before a failure is
    told.
    """
    taken, failed, errors, path = [], [], [], ""
    for logger in destination.loggers:
        try:
            if hand(logger):
                taken.append(logger)
        except Exception as error:  # noqa: BLE001 - a failing logger keeps nothing from the next one; raised below
            failed.append(f"{type(logger).__name__} ({type(error).__name__}: {error})")
            errors.append(error)
    if not taken and destination.folder is not None:
        try:
            path = keep(destination.folder)
        except Exception as error:  # noqa: BLE001 - each store has errors of its own; raised below
            failed.append(f"the file ({type(error).__name__}: {error})")
            errors.append(error)
    if errors:
        instead = f"it is in {path}" if path else "the other loggers have it" if taken else "it is lost"
        raise PublishError(
            f"{tag} of step {destination.step} was not taken by {', '.join(failed)}; {instead}", errors
        )
    return taken, path


def validation_step(trainer: Any) -> int:
    """The step that Lightning gives the scalars of this validation; ``global_step`` would stand beside
    them.
    """
    return getattr(trainer.fit_loop.epoch_loop, "_batches_that_stepped", max(trainer.global_step - 1, 0))
