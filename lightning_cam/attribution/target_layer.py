"""The target layer: found by the shapes of one forward, or by name.

Which layer to look at is a heuristic, so each of its rules says below which networks it is for. What the
rules have in common: they read shapes and ask the network; no table of architectures, and no guess where
several answers fit.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_cam.attribution.forward_trace import Run, recording
from lightning_cam.attribution.layout import CONVOLUTIONS, Size, first_tensor, in_proportion
from lightning_cam.attribution.submodule import closed_hint, hint, is_closed, plain, submodule_paths

SMALLEST_MAP = 4  # below this many positions a side, a note names an earlier layer
MOST_CANDIDATES = 8  # that a message lists
# What to do about siamese networks, and others that see several images.
RUN_ONCE = (
    "Or give a function in which it runs once: network=lambda module, images: "
    "module.head(module.embed(images) - reference), where reference are features that are kept, explains "
    "what one image adds."
)
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
    paths = submodule_paths(model)
    if plain(name) not in paths:
        raise ValueError(
            f"target_layer: no layer {name!r} in {type(model).__name__}{hint(model, name, paths)}"
        )
    if is_closed(model.get_submodule(paths[plain(name)])):
        raise ValueError(f"target_layer: {name!r} cannot be looked at.{closed_hint(model)}")
    return TargetLayer(plain(name), paths[plain(name)])


def automatic_layer(
    model: nn.Module, forward: Callable[[], Tensor], size: Size, count: int = 1
) -> TargetLayer:
    """The target layer of a classifier, from the shapes of one forward.

    Convolutional networks (ResNet ``layer4``, VGG-16 ``features.29``, DenseNet ``features``): take the last
    convolution whose output has more than one position. Then take the last module to finish that still yields
    that size, runs only once and is no pooling.

    Networks whose maps live on after the last convolution, as tokens or channels-last (ViT, Swin):
    take the last block or norm that yields a map on which the scores depend. The network itself is asked
    whether they do: not-a-number in the map must reach the scores. In a ViT only the class token counts after
    the last attention, so the layer is the norm before the last attention.

    Args:
        forward: Runs the model on ``count`` images, in eval mode and without grad, and returns its scores.
        size: The images'.
        count: One will do, unless the model takes batches of one size only.

    Raises:
        ValueError: No module yields a map on which the scores depend, or all that could be chosen runs more
            than once: the message lists candidates.
    """
    with recording(model, size, count) as trace:
        forward()
    chosen = _of_convolutions(model, trace, forward) or _of_tokens(trace, forward)
    if chosen is None:
        raise ValueError(
            f"target_layer: no block or norm of {type(model).__name__} was found that yields a map on which "
            f"the scores depend, so the layer cannot be guessed; name one. {_candidates(trace)}"
            f"{closed_hint(model)}"
        )
    return TargetLayer(plain(chosen.name), chosen.name, _note(chosen, trace))


def _of_convolutions(model: nn.Module, trace: list[Run], forward: Callable[[], Tensor]) -> Run | None:
    """The layer of a convolutional network; None where the map goes on in another form after the last
    convolution.
    """
    convolutions = [run for run in trace if isinstance(run.module, CONVOLUTIONS) and run.extent]
    if not convolutions:
        return None  # patches may be cut out without one
    last = convolutions[-1]
    after = trace[trace.index(last) :]

    # The map is complete only after the norm, the activation and the skip connection that follow the last
    # convolution. So not that convolution, but the last module to finish with a map of its size: a block
    # finishes after what is in it, which gives `layer4` and not `layer4.1.conv2`.
    alike = (run for run in reversed(after) if run.extent == last.extent and _may_be_chosen(run, trace))
    chosen = next(alike, None)

    # Does the map live on in another form? In a ViT the last convolution is the first layer: after it, blocks
    # with weights work on tokens, and the convolution's own map would show almost nothing of the network.
    # What comes after the chosen module and has neither weights nor positions is the head.
    works = [run for run in after if run.weighted and run.positions > 1]
    lives_on = any(trace.index(run) > trace.index(chosen or last) for run in works)
    # Where all of that size runs twice, norms of the convolution's size are no other form.
    if chosen is None and all(run.extent == last.extent for run in works):
        lives_on = False
    if chosen is None and not lives_on:
        # One block is applied several times: nothing tells which of its outputs is meant.
        raise ValueError(
            f"target_layer: the last convolution {last.name!r} of {type(model).__name__} runs more than once "
            f"in a forward, so the layer cannot be guessed; name one that runs once. {_candidates(trace)} "
            f"{RUN_ONCE}"
        )

    # A block with the convolution's size may hold tokens or channels-last maps within it. Mostly it yields
    # the result of these (ConvNeXt), but it may also hand on a class token beside the map, which alone is
    # classified (PiT). Then the scores do not depend on the map.
    has_tokens = any(run.extent is None for run in works)
    if lives_on or (chosen is not None and has_tokens and not _decides(chosen, forward)):
        return None
    return chosen


def _of_tokens(trace: list[Run], forward: Callable[[], Tensor]) -> Run | None:
    """The last block or norm whose map decides: for transformers, and for whatever is channels-last.

    Blocks and norms only, as a linear layer inside an attention or an MLP is a part of a step, not its
    result.
    """
    stages = (run for run in reversed(_maps(trace)) if _is_block(run.module) or _is_norm(run.module))
    return next((run for run in stages if _decides(run, forward)), None)


def _may_be_chosen(run: Run, trace: list[Run]) -> bool:
    """Whether a module's output is a map of its own, and the only one that it yields.

    Pooling without weights repeats what came before it, coarser. A module that runs twice (shared weights,
    one activation for all) has two maps, and the hook could not tell them apart.
    """
    pools = "pool" in type(run.module).__name__.lower() and next(run.module.parameters(), None) is None
    is_map = not (isinstance(run.module, PASSED_OVER) or pools)
    return is_map and sum(other.module is run.module for other in trace) == 1


def _is_block(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def _decides(run: Run, forward: Callable[[], Tensor]) -> bool:
    """Whether the scores depend on this map, and not only on the tokens before it.

    Asked of the network, because no shape tells: not-a-number spreads through every sum and product, so if
    the map counts at all, the scores are not numbers any more. The class token is left as it is.
    """

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
        if not (run.grid and run.layout and _may_be_chosen(run, trace)):
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


def _last_by_grid(trace: list[Run]) -> dict[Size, Run]:
    """For each resolution the last map, in the order of the network."""
    maps: dict[Size, Run] = {}
    for run in _maps(trace):
        maps.pop(run.grid or (), None)
        maps[run.grid or ()] = run
    return maps


def _candidates(trace: list[Run]) -> str:
    """What the user may name instead: the last map of each resolution, the latest first."""
    maps = _last_by_grid(trace)
    if not maps:
        return "No module yields a map (n, k, h, w)."
    names = [f"{plain(run.name)!r} ({_times(grid)})" for grid, run in reversed(maps.items())]
    return f"Candidates: {', '.join(names[:MOST_CANDIDATES])}."


def _note(chosen: Run, trace: list[Run]) -> str:
    """A word on small maps: on images of 32 x 32 the maps of ResNet-18 are 2 x 2, which hardly shows a place.

    The layer is kept, as the methods' papers mean the last one; the note names the latest one that shows
    more.
    """
    grid = chosen.grid or ()
    if min(grid) >= SMALLEST_MAP:
        return ""
    note = f"target_layer: {plain(chosen.name)!r} gives maps of only {_times(grid)}"
    larger = [run for grid, run in _last_by_grid(trace).items() if min(grid) >= SMALLEST_MAP]
    if not larger:
        return note
    return f"{note}; target_layer={plain(larger[-1].name)!r} gives {_times(larger[-1].grid or ())}"


def _times(grid: Size) -> str:
    return " x ".join(str(side) for side in grid)
