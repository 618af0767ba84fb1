"""A model connected as functions for the length of a ``with`` block, and no trace left of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from lightning_cam.attribution.config import ModelConfig
from lightning_cam.attribution.network import Network
from lightning_cam.attribution.preserve import in_full_precision, leaving_no_trace
from lightning_cam.attribution.running import check_runnable
from lightning_cam.devices import device_of

FEWEST_ROWS = 16  # of covered copies that go through the model at once, however few the images are


@contextmanager
def connected(
    model: nn.Module,
    count: int,
    config: ModelConfig,
    *,
    any_shape: bool = False,
    target: Any = None,
    first: int = 0,
    truth: Tensor | None = None,
) -> Iterator[Network]:
    """The model as functions, in its own precision; arguments as in ``Network``.

    Args:
        count: How many images there are: as many rows go through the model at once where ``config`` does not
            say, at least 16.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: The model cannot be run as ``config`` says.
    """
    check_runnable(model, config)
    rows = max(count, FEWEST_ROWS)
    with leaving_no_trace(model), in_full_precision(device_of(model)) as precision:
        yield Network(
            model,
            config,
            rows,
            first=first,
            any_shape=any_shape or callable(target),
            precision=precision,
            target=target,
            truth=truth,
        )
