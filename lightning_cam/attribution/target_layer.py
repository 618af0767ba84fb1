"""The target layer: found by the shapes of one forward, or by name."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_cam.attribution.layout import CONVOLUTIONS, Layout, Size, first_tensor, in_proportion, layout
from lightning_cam.registry import did_you_mean

SMALLEST_MAP = 4  # below this many positions a side, a note names an earlier layer
PASSED_OVER = (
    nn.Identity,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)


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


def dimensions(model: nn.Module) -> int:
    """Spatial dimensions of the model's images: 1 for signals, 2, or 3 for volumes; 2 where no convolution
    tells.
    """
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
        hint = (
            did_you_mean(_plain(name), paths)
            or f"; its children are {', '.join(dict(model.named_children())) or 'none'}."
        )
        raise ValueError(f"target_layer: no layer {name!r} in {type(model).__name__}{hint}")
    return TargetLayer(_plain(name), paths[_plain(name)])


def automatic_layer(model: nn.Module, forward: Callable[[], Tensor], size: Size) -> TargetLayer:
    """The target layer of a classifier, from the shapes of one forward.

    Of a convolutional network it is the last convolution whose output has spatial extent, then the last
    module to finish, no pooling and run only once, that still yields that spatial size: ResNet ``layer4``,
    VGG-16 ``features.29``, DenseNet ``features``.

    Where maps live on after the last convolution, as tokens or channels-last, it is the last block or norm
    that yields a map on which the scores depend. After the last attention only the class token counts, so in
    a ViT that is the norm before the last attention. Whether they depend is asked of the network:
    not-a-number in the patch tokens must reach the scores. Tokens are patches only on the grid of a
    convolution, or on one halved from it; queries and latents are no places in the image.

    Args:
        forward: Runs the model on one image, in eval mode and without grad, and returns its scores.
        size: The image's.

    Raises:
        ValueError: No module yields a map on which the scores depend, or all that could be chosen runs more
            than once: the message lists candidates.
    """
    with recording(model, size) as trace:
        forward()
    convolutions = [run for run in trace if isinstance(run.module, CONVOLUTIONS) and run.extent]
    last = convolutions[-1] if convolutions else None
    chosen = None
    if last is not None:
        after = trace[trace.index(last) :]
        alike = (
            run
            for run in reversed(after)
            if run.extent == last.extent and _is_map(run.module) and _once(run, trace)
        )
        chosen = next(alike, None)
        works = [run for run in after if run.weighted and run.positions > 1]
        lives_on = any(trace.index(run) > trace.index(chosen or last) for run in works)
        if chosen is None and not lives_on:
            raise ValueError(
                f"target_layer: the last convolution {last.name!r} of {type(model).__name__} runs more than once in a forward, so "
                f"the layer cannot be guessed; name one that runs once. {_candidates(trace)}"
            )
        # What works on tokens within it may hand on a class token alone.
        if lives_on or (
            chosen and any(run.extent is None for run in works) and not _decides(chosen, forward)
        ):
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
    """Every submodule that yields a tensor for one image while the block runs, in the order in which they
    finish.
    """
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


def _maps(trace: list[Run]) -> list[Run]:
    """Every map of the forward, in its order: run once, in the first one's proportions, no larger, and tokens
    on a known grid.
    """
    convolutions = [run for run in trace if isinstance(run.module, CONVOLUTIONS)]
    known = [run.extent for run in convolutions if run.extent]
    of_heads = [
        run.shape[2:] for run in convolutions
    ]  # which come first in some attentions, as if they were images
    maps = []
    for run in trace:
        if run.grid and run.layout and _is_map(run.module) and _once(run, trace):
            known = known or [run.grid]
            # Some number before some grid fits queries, latents and merged tokens too: it counts where that
            # very grid is known.
            is_known = run.grid in known + of_heads or (
                not run.layout.prefix and any(_is_half(run.grid, grid) for grid in known)
            )
            fits = in_proportion(run.grid, known[0]) and math.prod(run.grid) <= math.prod(known[0])
            if fits and (run.extent or is_known):
                maps.append(run)
                known = [*known, run.grid]
    return maps


def _is_half(grid: Size, whole: Size) -> bool:
    return all(
        side in (whole_side // 2, (whole_side + 1) // 2) for side, whole_side in zip(grid, whole, strict=True)
    )


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
