"""The observed call of a network, made again with other images."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lightning_cam.data.nested import Path, leaves, mapped
from lightning_cam.data.observed_facts import ObservedCall


@dataclass(frozen=True, eq=False)
class CallAgain:
    """The observed call, to be made with other images; it holds none.

    Args:
        arguments: (args, kwargs) as they were, the images left out.
        place: Where images go.
        count: How many they were, as many as rows in other arguments.
    """

    module: nn.Module
    arguments: tuple[tuple, dict[str, Any]]
    place: Path
    count: int

    def __call__(self, images: Tensor, rows: Tensor | None = None) -> Any:
        """The output with other images; all other arguments as they were.

        Args:
            rows: For each image, the row of the observed batch whose other arguments go with it; None where
                the images are as many as then, or nothing else has rows.
        """

        def put(place: Path, tensor: Tensor) -> Tensor:
            if place == self.place:
                return images
            if rows is not None and tensor.ndim and len(tensor) == self.count:
                return tensor[rows.to(tensor.device)]
            return tensor.clone()  # a forward that writes into it would change the next replay

        args, kwargs = mapped(self.arguments, put)
        return self.module(*args, **kwargs)

    @property
    def has_other_rows(self) -> bool:
        """Whether there are other arguments with a row for each image."""
        others = (tensor for place, tensor in leaves(self.arguments) if place != self.place)
        return any(tensor.ndim > 0 and len(tensor) == self.count for tensor in others)


def call_again(seen: ObservedCall) -> CallAgain:
    """The observed call, without its images.

    Raises:
        ValueError: The call's arguments were not kept.
    """
    call, image = seen.call, seen.image
    if call is None or image is None or call.arguments is None:
        raise ValueError("replay: the observed call cannot be run again; its arguments were not kept.")
    place = image.place
    emptied = mapped(call.arguments, lambda at, tensor: tensor.new_empty(0) if at == place else tensor)
    return CallAgain(call.module, emptied, place, image.shape[0])


def replay_call(seen: ObservedCall, images: Tensor, rows: Tensor | None = None) -> Any:
    """The output of the observed call with other images; all other arguments as they were.

    Args:
        rows: As in ``CallAgain``.

    Raises:
        ValueError: The call's arguments were not kept.
    """
    return call_again(seen)(images, rows)
