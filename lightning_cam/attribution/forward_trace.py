"""What one forward shows of a model: which modules ran, in which order, and which outputs are maps."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lightning_cam.attribution.layout import CONVOLUTIONS, Layout, Size, first_tensor, in_proportion, layout
from lightning_cam.attribution.submodule import is_closed
from lightning_cam.attribution.tokens import placed

# Modules that hand on what they get, in eval mode: their output is that of the module before them, whose name
# says more. A classifier may end in one, as in `features`, `Dropout`, `Linear`.
PASSED_OVER = (
    nn.Identity,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)


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
    def channels(self) -> int:
        """How many channels the map has; 0 where there is none."""
        if self.layout is None:
            return 0
        return self.shape[-1 if self.layout.channels_last else 1]

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


def no_scores(trace: list[Run], scores: Tensor) -> list[Run]:
    """The trace without maps that are the scores themselves (n, C, h, w), as segmentation has them: a map of
    these only repeats what is predicted.
    """
    if scores.ndim < 3:
        return trace
    return [run for run in trace if run.shape[1:] != tuple(scores.shape[1:])]


def may_be_chosen(run: Run, trace: list[Run]) -> bool:
    """Whether a module's output is a map of its own, and the only one that it yields.

    Pooling without weights repeats what came before it, coarser. A module that runs twice (shared weights,
    one activation for all) has two maps, and the hook could not tell them apart.
    """
    pools = "pool" in type(run.module).__name__.lower() and next(run.module.parameters(), None) is None
    is_map = not (isinstance(run.module, PASSED_OVER) or pools)
    return is_map and sum(other.module is run.module for other in trace) == 1


def maps_of(trace: list[Run]) -> list[Run]:
    """Every map of the forward, in its order: run once, in the first one's proportions, no larger, and tokens
    only on a known grid.
    """
    # Any token count can be split into "prefix + h * w" for some h and w, also that of DETR queries or of a
    # Perceiver's latents. So tokens count as patches only if a convolution, or an earlier map, had exactly
    # this grid: the patch embedding of a ViT is a convolution.
    convolutions = [run for run in trace if isinstance(run.module, CONVOLUTIONS)]
    known = [run.extent for run in convolutions if run.extent]
    # Some attentions put their heads where images belong before a convolution: its output is no map of one
    # image, but its last sides are a grid all the same.
    of_heads = [run.shape[2:] for run in convolutions]
    maps = []
    for run in trace:
        if not (run.grid and run.layout and may_be_chosen(run, trace)):
            continue
        # Where patches are cut out without a convolution, the first map sets the grid.
        known = known or [run.grid]
        # Some networks halve both sides without a convolution: Swin merges patches, LeViT takes every other.
        # A prefix is not allowed there: with up to 32 tokens before the grid, too many counts would fit half
        # a grid by accident.
        halved = not run.layout.prefix and any(_is_half(run.grid, grid) for grid in known)
        on_known_grid = run.extent is not None or run.grid in known + of_heads or halved
        # A larger map than the first is a decoder's; other proportions are no picture of the image (an
        # attention matrix, tokens x tokens).
        fits = in_proportion(run.grid, known[0]) and math.prod(run.grid) <= math.prod(known[0])
        if fits and on_known_grid:
            maps.append(run)
            known = [*known, run.grid]
    return maps


def _is_half(grid: Size, whole: Size) -> bool:
    """Whether each side is half of the other's, rounded either way: merging pads an odd side or drops it."""
    sides = zip(grid, whole, strict=True)
    return all(side in (whole_side // 2, (whole_side + 1) // 2) for side, whole_side in sides)
