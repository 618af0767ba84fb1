"""The target layer: found by the shapes of one forward, or by name; and how its output holds a map."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_cam.tables import did_you_mean
from lightning_cam.typing import Activations

SMALLEST_MAP = 4  # below this many positions a side, a note names an earlier layer
MOST_PREFIX = 32  # class tokens and registers before the patch tokens
ROUNDED = 8  # so many more of these are rather believed than a grid whose proportions are the image's but for rounding
PASSED_OVER = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)

Size = tuple[int, ...]  # of an image, or of a map: one number per spatial dimension


@dataclass(frozen=True)
class TargetLayer:
    """Where to look.

    Args:
        name: As the user writes it, ``"layer4"``.
        path: As ``model.get_submodule`` takes it; a compiled submodule adds ``_orig_mod``.
        note: What the user should know of this layer, or nothing.
    """

    name: str
    path: str
    note: str = ""


@dataclass(frozen=True)
class Layout:
    """How a layer's output holds a map.

    Args:
        grid: The map's resolution.
        channels_last: (n, *grid, k) rather than (n, k, *grid); so are tokens.
        prefix: For tokens (n, prefix + h*w, k): how many come before the patches. None where the output is no token list.
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

    (n, k, *grid) as it is; (n, *grid, k) where only so the map has the image's proportions, or where these do not tell and the
    module ends by mapping or normalizing the last dimension; (n, prefix + h*w, k) with few tokens before a grid of the image's
    proportions.
    """
    if len(shape) == len(size) + 2:
        first, last = shape[2:], shape[1:-1]
        as_last = _works_on_last(module, shape)
        if not isinstance(module, CONVOLUTIONS) and _in_proportion(last, size) != _in_proportion(first, size):
            as_last = _in_proportion(last, size)
        return Layout(last, channels_last=True) if as_last else Layout(first)
    if len(shape) == 3 and len(size) == 2 and not isinstance(module, CONVOLUTIONS):
        grids = ((h, w) for h in range(1, size[0] + 1) for w in _proportional(h, size) if 0 <= shape[1] - h * w <= MOST_PREFIX)
        grid = min(grids, key=lambda grid: _doubt(grid, shape[1], size), default=(1, 1))
        return Layout(grid, channels_last=True, prefix=shape[1] - math.prod(grid)) if math.prod(grid) > 1 else None
    return None


def _doubt(grid: Size, tokens: int, size: Size) -> int:
    exact = grid[0] * size[1] == grid[1] * size[0]
    return tokens - math.prod(grid) + (0 if exact else ROUNDED)


def first_tensor(output: Any) -> Any:
    """The output, or the first part of a tuple: some blocks return their map with something else."""
    return output[0] if isinstance(output, tuple) and output else output


def dimensions(model: nn.Module) -> int:
    """Spatial dimensions of the model's images: 1 for signals, 2, or 3 for volumes; 2 where no convolution tells."""
    first = next((module for module in model.modules() if isinstance(module, CONVOLUTIONS)), None)
    return next((count for count, kind in enumerate(CONVOLUTIONS, start=1) if isinstance(first, kind)), 2)


def named_layer(model: nn.Module, name: str) -> TargetLayer:
    """The layer of that name, with or without the ``_orig_mod`` that ``torch.compile`` adds.

    Raises:
        TypeError: ``name`` is not a string.
        ValueError: No such layer; the message names the closest one.
    """
    if not isinstance(name, str):
        raise TypeError(f"target_layer: got {name!r}; give the name of a submodule, such as 'layer4'.")
    paths = {_plain(path): path for path, _ in model.named_modules() if path}
    if _plain(name) not in paths:
        hint = did_you_mean(_plain(name), paths) or f"; its children are {', '.join(dict(model.named_children())) or 'none'}."
        raise ValueError(f"target_layer: no layer {name!r} in {type(model).__name__}{hint}")
    return TargetLayer(_plain(name), paths[_plain(name)])


def automatic_layer(model: nn.Module, forward: Callable[[], Tensor], size: Size) -> TargetLayer:
    """The target layer of a classifier, from the shapes of one forward.

    Of a convolutional network it is the last convolution whose output has spatial extent, then the last module to finish, no
    pooling and run only once, that still yields that spatial size: ResNet ``layer4``, VGG-16 ``features.29``, DenseNet
    ``features``.

    Where maps live on after the last convolution, as tokens or channels-last, it is the last block or norm that yields a map on
    which the scores depend. After the last attention only the class token counts, so in a ViT that is the norm before the last
    attention. Whether they depend is asked of the network: not-a-number in the patch tokens must reach the scores. Tokens are
    patches only on the grid of a convolution, or on one halved from it; queries and latents are no places in the image.

    Args:
        forward: Runs the model on one image, in eval mode and without grad, and returns its scores.
        size: The image's.

    Raises:
        ValueError: No module yields a map on which the scores depend, or all that could be chosen runs more than once: the message
            lists candidates.
    """
    with recording(model, size) as trace:
        forward()
    convolutions = [run for run in trace if isinstance(run.module, CONVOLUTIONS) and run.extent]
    last = convolutions[-1] if convolutions else None
    chosen = None
    if last is not None:
        after = trace[trace.index(last) :]
        alike = (run for run in reversed(after) if run.extent == last.extent and _is_map(run.module) and _once(run, trace))
        chosen = next(alike, None)
        works = [run for run in after if run.weighted and run.positions > 1]
        lives_on = any(trace.index(run) > trace.index(chosen or last) for run in works)
        if chosen is None and not lives_on:
            raise ValueError(
                f"target_layer: the last convolution {last.name!r} of {type(model).__name__} runs more than once in a forward, so "
                f"the layer cannot be guessed; name one that runs once. {_candidates(trace)}"
            )
        # What works on tokens within it may hand on a class token alone.
        if lives_on or (chosen and any(run.extent is None for run in works) and not _decides(chosen, forward)):
            chosen = None
    if chosen is None:
        stages = (run for run in reversed(_maps(trace)) if _is_block(run.module) or _is_norm(run.module))
        chosen = next((run for run in stages if _decides(run, forward)), None)
    if chosen is None:
        raise ValueError(
            f"target_layer: no block or norm of {type(model).__name__} was found that yields a map on which the scores depend, "
            f"so the layer cannot be guessed; name one. {_candidates(trace)}"
        )
    return TargetLayer(_plain(chosen.name), chosen.name, _note(chosen, trace))


@dataclass(frozen=True, eq=False)
class Run:
    """One module that finished during a forward, the shape it yielded, and how that holds a map."""

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
def recording(model: nn.Module, size: Size) -> Iterator[list[Run]]:
    """Every submodule that yields a tensor for one image while the block runs, in the order in which they finish."""
    trace: list[Run] = []
    handles = []
    try:
        for name, module in model.named_modules():
            if name:
                handles.append(module.register_forward_hook(_recorder(name, trace, size)))
        yield trace
    finally:
        for handle in handles:
            handle.remove()


def _recorder(name: str, trace: list[Run], size: Size) -> Callable[..., None]:
    def record(module: nn.Module, args: Any, output: Any) -> None:
        output = first_tensor(output)
        if isinstance(output, Tensor) and output.is_floating_point():
            shape = tuple(output.shape)
            # Of one image: windows, heads and tokens that come first are no images.
            trace.append(Run(name, module, shape, layout(module, shape, size) if shape[:1] == (1,) else None))

    return record


def _is_map(module: nn.Module) -> bool:
    pools = "pool" in type(module).__name__.lower() and next(module.parameters(), None) is None
    return not (isinstance(module, PASSED_OVER) or pools)


def _once(run: Run, trace: list[Run]) -> bool:
    return sum(other.module is run.module for other in trace) == 1


def _is_block(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def _decides(run: Run, forward: Callable[[], Tensor]) -> bool:
    """Whether the scores depend on this map, and not only on the tokens before it."""

    def spoil(module: nn.Module, args: Any, output: Any) -> Any:
        whole, own = first_tensor(output), run.layout
        if own is None:
            return output
        spoiled = own.from_map(torch.full_like(own.to_map(whole), torch.nan), whole)
        return (spoiled, *output[1:]) if isinstance(output, tuple) else spoiled

    handle = run.module.register_forward_hook(spoil)
    try:
        return bool(forward().isnan().any())
    finally:
        handle.remove()


def _works_on_last(module: nn.Module, shape: Size) -> bool:
    """Whether the last linear map, norm or convolution in a module works on the last dimension."""
    inner = [one for one in module.modules() if isinstance(one, (nn.Linear, *CONVOLUTIONS)) or _normalized(one)]
    if not inner or (shape[1] == shape[-1] and any(isinstance(one, CONVOLUTIONS) for one in inner)):
        return False
    last = inner[-1]
    return last.out_features == shape[-1] if isinstance(last, nn.Linear) else _normalized(last)[-1:] == shape[-1:]


def _normalized(module: nn.Module) -> Size:
    """The last dimensions that a norm works on, but for those that move them there first."""
    shape = getattr(module, "normalized_shape", None)
    return shape if isinstance(shape, tuple) and "2d" not in type(module).__name__.lower() else ()


def _in_proportion(grid: Size, size: Size) -> bool:
    """Whether a map has the image's proportions, but for rounding by one position."""
    sides = list(zip(grid, size, strict=True))
    return all(abs(a * height - b * width) <= width + height for a, width in sides for b, height in sides)


def _proportional(height: int, size: Size) -> set[int]:
    """The widths that go with a map's height."""
    exact = height * size[1] / size[0]
    return {max(1, math.floor(exact)), math.ceil(exact)}


def _maps(trace: list[Run]) -> list[Run]:
    """Every map of the forward, in its order: run once, in the first one's proportions, no larger, and tokens on a known grid."""
    convolutions = [run for run in trace if isinstance(run.module, CONVOLUTIONS)]
    known = [run.extent for run in convolutions if run.extent]
    of_heads = [run.shape[2:] for run in convolutions]  # which come first in some attentions, as if they were images
    maps = []
    for run in trace:
        if run.grid and run.layout and _is_map(run.module) and _once(run, trace):
            known = known or [run.grid]
            # Some number before some grid fits queries, latents and merged tokens too: it counts where that very grid is known.
            is_known = run.grid in known + of_heads or (not run.layout.prefix and any(_is_half(run.grid, grid) for grid in known))
            fits = _in_proportion(run.grid, known[0]) and math.prod(run.grid) <= math.prod(known[0])
            if fits and (run.extent or is_known):
                maps.append(run)
                known = [*known, run.grid]
    return maps


def _is_half(grid: Size, whole: Size) -> bool:
    return all(side in (whole_side // 2, (whole_side + 1) // 2) for side, whole_side in zip(grid, whole, strict=True))


def _last_by_grid(trace: list[Run]) -> dict[Size, Run]:
    """For each resolution the last map, in the order of the network."""
    maps: dict[Size, Run] = {}
    for run in _maps(trace):
        maps.pop(run.grid or (), None)
        maps[run.grid or ()] = run
    return maps


def _candidates(trace: list[Run]) -> str:
    maps = _last_by_grid(trace)
    if not maps:
        return "No module yields a map (n, k, h, w)."
    names = [f"{_plain(run.name)!r} ({_times(grid)})" for grid, run in reversed(maps.items())]
    return f"Candidates: {', '.join(names[:8])}."


def _note(chosen: Run, trace: list[Run]) -> str:
    grid = chosen.grid or ()
    if min(grid) >= SMALLEST_MAP:
        return ""
    note = f"target_layer: {_plain(chosen.name)!r} gives maps of only {_times(grid)}"
    larger = [run for grid, run in _last_by_grid(trace).items() if min(grid) >= SMALLEST_MAP]
    if not larger:
        return note
    return f"{note}; target_layer={_plain(larger[-1].name)!r} gives {_times(larger[-1].grid or ())}"


def _times(grid: Size) -> str:
    return " x ".join(str(side) for side in grid)


def _plain(path: str) -> str:
    return re.sub(r"(^|\.)_orig_mod(?=\.|$)", "", path).removeprefix(".")
