"""Writers of pictures that a user may bring, and what reached the event file."""

from typing import Any

import numpy as np
from PIL import Image
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator, ImageEvent


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
