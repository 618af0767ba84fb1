"""What one forward shows of a model: which modules ran, in which order, and which outputs are maps."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lightning_cam.attribution.layout import CONVOLUTIONS, Layout, Size, first_tensor, layout
from lightning_cam.attribution.submodule import is_closed
from lightning_cam.attribution.tokens import placed


@dataclass(frozen=True, eq=False)
class Run:
    """One module that finished during a forward, the shape it yielded, and how that holds a map.

    A module that runs twice has two of these.
    """

    name: str
    module: nn.Module
    shape: Size
    layout: Layout | None

    @property
    def extent(self) -> Size | None:
        """The grid of a map (n, k, *grid) with more than one position, else None."""
        plain = self.layout is not None and not self.layout.channels_last
        return self.grid if plain else None

    @property
    def grid(self) -> Size | None:
        """The map's resolution where it has more than one position, else None."""
        return self.layout.grid if self.layout is not None and math.prod(self.layout.grid) > 1 else None

    @property
    def positions(self) -> int:
        """Positions of a map, or vectors in any other order: 1 where nothing is spatial."""
        return math.prod(self.layout.grid if self.layout is not None else self.shape[:-1])

    @property
    def weighted(self) -> bool:
        """Whether the module has parameters of its own."""
        return next(self.module.parameters(recurse=False), None) is not None


@contextmanager
def recording(model: nn.Module, size: Size, count: int = 1) -> Iterator[list[Run]]:
    """Every submodule that yields a tensor for so many images while the block runs, in the order in which
    they finish.
    """
    trace: list[Run] = []
    handles = []
    try:
        for name, module in model.named_modules():
            if name and not is_closed(module):
                handles.append(module.register_forward_hook(_recorder(name, trace, size, count, model)))
        yield trace
    finally:
        for handle in handles:
            handle.remove()


def _recorder(name: str, trace: list[Run], size: Size, count: int, model: nn.Module) -> Callable[..., None]:
    def record(module: nn.Module, args: Any, output: Any) -> None:
        output = first_tensor(output)
        if isinstance(output, Tensor) and output.is_floating_point():
            shape = tuple(output.shape)
            # Of the images: windows, heads and tokens that come first are none.
            own = layout(module, shape, size) if shape[:1] == (count,) else None
            if shape[:1] == (count,):
                known = [run.shape[2:] for run in trace if isinstance(run.module, CONVOLUTIONS)]
                own = placed(own, module, shape, known, model) or own
            trace.append(Run(name, module, shape, own))

    return record
