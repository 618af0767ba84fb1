"""Where the patch tokens of a named layer stand: on the grid that a convolution before it had."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lightning_cam.attribution.layout import CONVOLUTIONS, MOST_PREFIX, Layout, Size, layout
from lightning_cam.selectors import describe

# Their weights may look like a few tokens: (rows, width).
NO_TOKENS = (nn.Linear, nn.Bilinear, *CONVOLUTIONS)


def layout_of(
    name: str,
    module: nn.Module,
    output: Any,
    rows: int,
    size: Size,
    known: Sequence[Size],
    model: nn.Module,
) -> Layout:
    """How the output of the layer ``name`` holds maps of ``rows`` images of that size.

    Raises:
        ValueError: It holds none, or nothing says where its tokens stand.
    """
    is_map = isinstance(output, Tensor) and output.is_floating_point() and len(output) == rows
    guess = layout(module, tuple(output.shape), size) if is_map else None
    own = placed(guess, module, tuple(output.shape), known, model) if is_map else None
    if own is None:
        grids = ", ".join(" x ".join(map(str, grid)) for grid in dict.fromkeys(known))
        where = f" that a convolution before it had: {grids}" if is_map and output.ndim == 3 and grids else ""
        raise ValueError(
            f"target_layer: {name!r} yields {describe(output)} for {rows} images; "
            f"name a layer that yields one map (n, k, h, w), or tokens (n, t, k) on a grid{where}."
        )
    return own


def placed(
    guess: Layout | None, module: nn.Module, shape: Size, known: Sequence[Size], model: nn.Module
) -> Layout | None:
    """How tokens of that shape (n, prefix + h*w, k) stand; None where nothing says it. What holds no tokens
    stays as it is guessed.

    The guess is of the image's proportions. Where a convolution before the layer had just this grid, it
    holds. Else the patches have the grid of such a convolution, as in a model that resizes its images; or,
    where patches were merged since, half of it and so on. Before the patches there are no more tokens than
    the model has parameters for.

    Args:
        known: Grids that convolutions before the layer had, in the order of the forward.
        model: Has the parameters.
    """
    are_tokens = len(shape) == 3 and not isinstance(module, CONVOLUTIONS)
    if not are_tokens or (guess is not None and (guess.prefix is None or guess.grid in known)):
        return guess
    most = prefix_tokens(model, shape[-1])
    fitting = [grid for grid in known if 0 <= shape[1] - _count(grid) <= most and _count(grid) > 1]
    if fitting:
        grid = max(reversed(fitting), key=_count)  # of equal ones the latest
        return Layout(grid, channels_last=True, prefix=shape[1] - _count(grid))
    if guess is None or guess.prefix is None or guess.prefix > most:
        return None
    return guess if not known or any(guess.grid in _halved(grid) for grid in known) else None


def prefix_tokens(model: nn.Module, width: int) -> int:
    """The most tokens of that width that the model may put before its patches: as many as its parameters
    (..., tokens, width) hold, of class tokens, registers and prompts.
    """
    rows, is_vector = 0, False
    for module in model.modules():
        if isinstance(module, NO_TOKENS):
            continue
        for parameter in module.parameters(recurse=False):
            if parameter.ndim > 1 and parameter.shape[-1] == width and parameter.shape[-2] <= MOST_PREFIX:
                rows += parameter.shape[-2]
            # A class token may be a vector; but so are scales and biases. Where there are tokens beside
            # them, they are none.
            is_vector = is_vector or parameter.shape == (width,)
    return min(MOST_PREFIX, rows or int(is_vector))


def _count(grid: Size) -> int:
    return grid[0] * grid[1] if len(grid) == 2 else 0


def _halved(grid: Size) -> set[Size]:
    """The grids that merging 2 x 2 patches leads to, again and again, each side rounded either way."""
    found: set[Size] = set()
    sides = {grid}
    while sides := {half for side in sides for half in _halves(side)} - found:
        found |= sides
    return found


def _halves(grid: Size) -> list[Size]:
    if len(grid) != 2 or min(grid) < 2:
        return []
    return [
        (height, width)
        for height in {grid[0] // 2, (grid[0] + 1) // 2}
        for width in {grid[1] // 2, (grid[1] + 1) // 2}
    ]
