"""Models that take batches of one size only, such as those with a hidden state of 32 rows written in."""

from collections.abc import Callable
from typing import TypeVar

import torch

from lightning_cam.devices import is_out_of_memory
from lightning_cam.typing import Images, Index, Labels, Rows

T = TypeVar("T")


class FixedBatchError(Exception):
    """The model does not take more rows at the layer than it got images."""


class RowsError(ValueError):
    """The model gave another number of rows than it got images."""


def first_that_runs(run: Callable[[int], T], batch: int) -> T:
    """``run`` with one image, which is cheapest; where the model does not take one, with a batch.

    Raises:
        RuntimeError: It takes neither; a note says what to do about batches of one size.
    """
    try:
        return run(1)
    except (RuntimeError, RowsError) as error:
        if batch == 1 or is_out_of_memory(error):
            raise
    try:
        return run(batch)
    except RuntimeError as error:
        error.add_note(
            f"The model was asked with 1 and with {batch} images; if it takes batches of one size only, say "
            "max_batch= that size."
        )
        raise


class BatchSize:
    """How many images a model takes at once: any number up to ``most``; or just so many, once it failed on
    fewer.
    """

    def __init__(self, most: int) -> None:
        self.most, self.is_fixed = most, False

    def ask(self, count: int, run: Callable[[], T]) -> T:
        """What ``run`` returns, which asks the model with ``count`` images that went through ``filled``.

        Where the model fails on fewer than ``most``, it is asked once more with as many, and from then on.
        """
        if self.is_fixed or count >= self.most:
            return run()
        try:
            return run()
        except (RuntimeError, RowsError) as error:
            if is_out_of_memory(error):
                raise
            first = error
        try:
            self.is_fixed = True
            return run()
        except (RuntimeError, ValueError):
            self.is_fixed = False
            raise first from None

    def rows(self, count: int) -> int:
        """How many rows the model gets for so many images."""
        return max(count, self.most) if self.is_fixed else count

    def filled(self, images: Images, index: Labels) -> tuple[Rows, Index]:
        """The images, and which image each row is of, repeated in turn to as many as the model takes."""
        if self.rows(len(images)) == len(images):
            return images, index
        rows = torch.arange(self.most, device=images.device) % len(images)
        return images[rows], index[rows]
