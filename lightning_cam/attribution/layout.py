"""How a layer's output holds a map: channels first or last, or tokens on a grid."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_cam.typing import Activations

MOST_PREFIX = 32  # class tokens, registers and prompts before the patch tokens
# A token count can be split in several ways. Eight more tokens in the prefix are more likely than a grid
# whose proportions are the image's only after rounding: square images give square grids.
ROUNDED = 8
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
Size = tuple[int, ...]  # of an image, or of a map: one number per spatial dimension


@dataclass(frozen=True)
class Layout:
    """How a layer's output holds a map.

    Args:
        grid: The map's resolution.
        channels_last: (n, *grid, k) rather than (n, k, *grid); so are tokens.
        prefix: For tokens (n, prefix + h*w, k): how many come before the patches. None where the output is no
            token list.
    """

    grid: Size
    channels_last: bool = False
    prefix: int | None = None

    def to_map(self, output: Tensor) -> Activations:
        """The map (n, k, *grid)."""
        if self.prefix is not None:
            output = output[:, self.prefix :].unflatten(1, self.grid)
        return output.movedim(-1, 1) if self.channels_last else output

    def from_map(self, maps: Activations, output: Tensor) -> Tensor:
        """A map in the place of the layer's own; the tokens before the patches stay those of ``output``."""
        maps = maps.movedim(1, -1) if self.channels_last else maps
        if self.prefix is None:
            return maps
        before = output[:, : self.prefix].expand(len(maps), -1, -1)
        return torch.cat([before, maps.flatten(1, -2)], dim=1)


def layout(module: nn.Module, shape: Size, size: Size) -> Layout | None:
    """How an output of that shape holds a map of an image of that size, or None where it holds none.

    (n, k, *grid) as it is; (n, *grid, k) where only so the map has the image's proportions, or where these do
    not tell and the module ends by mapping or normalizing the last dimension; (n, prefix + h*w, k) with few
    tokens before a grid of the image's proportions.
    """
    # As many dimensions as images have: channels come first (most networks) or last (Swin, and within the
    # blocks of ConvNeXt). A convolution always has them first. Else the side lengths tell: (1, 7, 7, 768) of
    # a square image can only be channels-last. They do not where both readings fit, as (1, 7, 7, 7) does;
    # then it counts on which dimension the module's last layer works.
    if len(shape) == len(size) + 2:
        first, last = shape[2:], shape[1:-1]
        as_last = _works_on_last(module, shape)
        if not isinstance(module, CONVOLUTIONS) and in_proportion(last, size) != in_proportion(first, size):
            as_last = in_proportion(last, size)
        return Layout(last, channels_last=True) if as_last else Layout(first)
    # Three dimensions where images have four: tokens (ViT). Their number is that of a grid with the image's
    # proportions, and of a few tokens before it. Of signals, (n, t, k) is a map already, in the case above.
    if len(shape) == 3 and len(size) == 2 and not isinstance(module, CONVOLUTIONS):
        grids = [grid for grid in _proportional(size) if 0 <= shape[1] - math.prod(grid) <= MOST_PREFIX]
        grid = min(grids, key=lambda grid: _doubt(grid, shape[1], size), default=(1, 1))
        if math.prod(grid) > 1:
            return Layout(grid, channels_last=True, prefix=shape[1] - math.prod(grid))
    return None


def _doubt(grid: Size, tokens: int, size: Size) -> int:
    """How little a split into prefix and grid is to be believed: the fewer tokens come first, the better.

    197 tokens of a square image are 1 + 14 * 14, and not 28 + 13 * 13.
    """
    exact = grid[0] * size[1] == grid[1] * size[0]
    return tokens - math.prod(grid) + (0 if exact else ROUNDED)


def first_tensor(output: Any) -> Any:
    """The output, or the first part of a tuple: some blocks return their map with something else."""
    return output[0] if isinstance(output, tuple) and output else output


def _works_on_last(module: nn.Module, shape: Size) -> bool:
    """Whether the last linear map, norm or convolution in a module works on the last dimension.

    A linear layer and a layer norm work on the last dimension and fix its length; so if the module's last
    such layer has exactly that length, channels are last.
    """
    inner = [
        one for one in module.modules() if isinstance(one, (nn.Linear, *CONVOLUTIONS)) or _normalized(one)
    ]
    # Where the lengths of both are equal, they tell nothing, and a convolution within speaks for channels
    # first. A module without any of these (an activation) tells nothing either: channels first, as usual.
    if not inner or (shape[1] == shape[-1] and any(isinstance(one, CONVOLUTIONS) for one in inner)):
        return False
    last = inner[-1]
    if isinstance(last, nn.Linear):
        return last.out_features == shape[-1]
    return _normalized(last)[-1:] == shape[-1:]


def _normalized(module: nn.Module) -> Size:
    """The last dimensions that a norm works on; none of a ``LayerNorm2d``, which moves channels there."""
    shape = getattr(module, "normalized_shape", None)
    return shape if isinstance(shape, tuple) and "2d" not in type(module).__name__.lower() else ()


def in_proportion(grid: Size, size: Size) -> bool:
    """Whether a map has the image's proportions, but for rounding by one position.

    A side of the map times any side of the image must equal the reverse, but for what one position more or
    less changes: 225 x 224 pixels give maps of 8 x 7.
    """
    sides = list(zip(grid, size, strict=True))
    return all(abs(a * height - b * width) <= width + height for a, width in sides for b, height in sides)


def _proportional(size: Size) -> Iterator[Size]:
    """Every grid of the image's proportions, from one row on; the width is rounded either way."""
    for height in range(1, size[0] + 1):
        exact = height * size[1] / size[0]
        yield from ((height, width) for width in {max(1, math.floor(exact)), math.ceil(exact)})
