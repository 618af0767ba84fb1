"""What was observed, as a function of images: how the model is run and read at each look."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_cam.data.call_again import call_again
from lightning_cam.data.losses import PROBABILITIES
from lightning_cam.data.nested import Path, part_at
from lightning_cam.data.observed_facts import STEP, ObservedCall
from lightning_cam.data.replay import replay_step


@dataclass(frozen=True, eq=False)
class RunAgain:
    """The observed call, or the observed step up to its loss, with other images.

    Args:
        output: ``(model, images, rows)`` to what the call returns, or what the loss takes.
        scores: Where the scores are in it.
        are_probabilities: Whether they are probabilities of a sigmoid.
        images: Those of the observed batch, where each of its rows has other inputs of its own; else None.
        count: How many images the observed batch had.
    """

    output: Callable[[Any, Tensor, Tensor], Any]
    scores: Path
    are_probabilities: bool
    images: Tensor | None
    count: int

    @property
    def needs_its_rows(self) -> bool:
        """Whether other inputs go with each image, so that only the observed batch's can be explained."""
        return self.images is not None

    def network(self, probe: Tensor) -> Callable[[Any, Tensor, Tensor], Any]:
        """A function ``(model, images, index) -> output``; ``index`` says of which image of ``probe`` each
        row is.
        """
        rows = self._rows_of(probe)

        def run(model: Any, images: Tensor, index: Tensor) -> Any:
            return self.output(model, images, rows[index.to(rows.device)])

        return run

    def read(self, output: Any) -> Tensor:
        """The scores in what the network returned."""
        return part_at(output, self.scores)

    def knows(self, probe: Tensor) -> bool:
        """Whether each image goes with other inputs of its own."""
        return self.images is None or all(_place(image, self.images) is not None for image in probe)

    def _rows_of(self, probe: Tensor) -> Tensor:
        """For each image the row of the observed batch whose other inputs go with it."""
        turn = torch.arange(len(probe)) % self.count
        if self.images is None:
            return turn
        places = [_place(image, self.images) for image in probe]
        return torch.tensor([int(own) if at is None else at for at, own in zip(places, turn, strict=True)])


def run_again(seen: ObservedCall, images: Tensor) -> RunAgain:
    """What was observed, to be run with other images. A call is kept without its batch, a step with it.

    Args:
        images: Of the observed batch, as they are explained.

    Raises:
        ValueError: The call's arguments were not kept.
    """
    are_probabilities = seen.form == PROBABILITIES
    if seen.way == STEP:
        matters = seen.answer is None or not seen.answer.origin.parts <= _image_parts(seen)
        return RunAgain(
            output=lambda model, others, rows: replay_step(seen, model, others, rows),
            scores=(),
            are_probabilities=are_probabilities,
            images=images if matters else None,
            count=len(images),
        )
    again = call_again(seen)
    parts = None if seen.answer is None else seen.answer.origin.parts
    matters = again.has_other_rows and (parts is None or not parts <= _image_parts(seen))
    return RunAgain(
        output=lambda model, others, rows: again(others, rows),
        scores=seen.scores or (),
        are_probabilities=are_probabilities,
        images=images if matters else None,
        count=again.count,
    )


def _image_parts(seen: ObservedCall) -> frozenset[Path]:
    """The parts of the batch that the explained images are, or are computed from."""
    if seen.image is not None:
        return seen.image.parts
    here = seen.image_part or ()
    return frozenset(path for path in seen.record.parts.originals if path[: len(here)] == here)


def _place(image: Tensor, images: Tensor) -> int | None:
    """The row that is this image, to the last bit."""
    return next((i for i, one in enumerate(images) if torch.equal(one.to(image.device), image)), None)
