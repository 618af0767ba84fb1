"""The target layer: found by the shapes of one forward, or by name.

Which layer to look at is a heuristic, so each of its rules says below which networks it is for. What the
rules have in common: they read shapes and ask the network; no table of architectures, and no guess where
several answers fit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_cam.attribution.forward_trace import Run, maps_of, may_be_chosen, no_scores, recording
from lightning_cam.attribution.layout import CONVOLUTIONS, Layout, Size, first_tensor
from lightning_cam.attribution.submodule import closed_hint, hint, is_closed, plain, submodule_paths

SMALLEST_MAP = 7  # below this many positions a side, a note names an earlier layer
MOST_CANDIDATES = 8  # that a message lists
# What to do about siamese networks, and others that see several images.
RUN_ONCE = (
    "Or give a function in which it runs once: network=lambda module, images: "
    "module.head(module.embed(images) - reference), where reference are features that are kept, explains "
    "what one image adds."
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

    A map of one channel is never taken where one of several channels has the same extent: it says how much
    each place counts (attention pooling), and not what is there.

    Args:
        forward: Runs the model on ``count`` images, in eval mode and without grad, and returns its scores.
        size: The images'.
        count: One will do, unless the model takes batches of one size only.

    Raises:
        ValueError: No module yields a map on which the scores depend, or all that could be chosen runs more
            than once: the message lists candidates.
    """
    with recording(model, size, count) as trace:
        scores = forward()
    trace = no_scores(trace, scores)
    found = _of_convolutions(model, trace, forward) or _of_tokens(trace, forward)
    chosen = _of_several_channels(found, trace, forward)
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
    alike = (run for run in reversed(after) if run.extent == last.extent and may_be_chosen(run, trace))
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
    stages = (run for run in reversed(maps_of(trace)) if _is_block(run.module) or _is_norm(run.module))
    return next((run for run in stages if _decides(run, forward)), None)


def _of_several_channels(found: Run | None, trace: list[Run], forward: Callable[[], Tensor]) -> Run | None:
    """The layer that was found; instead of a map of one channel the last of several with the same extent.

    Attention pooling weighs the features by such a map. The scores then depend on the features beside it,
    also while its own map is held still: so they do not on what only makes that map, and the features are
    meant. Where nothing is beside it, the one channel is what the maps before it were summed up to.
    """
    if found is None or found.channels > 1:
        return found
    broad = [run for run in reversed(maps_of(trace)) if run.grid == found.grid and run.channels > 1]
    # Of convolutions any module will do, of tokens a block or a norm.
    broad = [run for run in broad if run.extent or _is_block(run.module) or _is_norm(run.module)]
    beside = (run for run in broad if _decides(run, forward, held=found))
    before = (run for run in broad if _decides(run, forward))
    return next(beside, None) or next(before, found)


def _is_block(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def _decides(run: Run, forward: Callable[[], Tensor], held: Run | None = None) -> bool:
    """Whether the scores depend on this map, and not only on the tokens before it, nor by way of the map
    ``held`` alone.

    Asked of the network, because no shape tells: not-a-number spreads through every sum and product, so if
    the map counts at all, the scores are not numbers any more. The class token is left as it is.
    """

    def filled(own: Layout | None, value: float, output: Any) -> Any:
        whole = first_tensor(output)
        if own is None:
            return output
        changed = own.from_map(torch.full_like(own.to_map(whole), value), whole)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    values = {run: torch.nan} if held is None else {run: torch.nan, held: 0.0}
    handles = [
        each.module.register_forward_hook(
            lambda module, args, output, each=each, value=value: filled(each.layout, value, output)
        )
        for each, value in values.items()
    ]
    try:
        return bool(forward().isnan().any())
    finally:
        for handle in handles:
            handle.remove()


def _last_by_grid(trace: list[Run]) -> dict[Size, Run]:
    """For each resolution the last map, in the order of the network."""
    maps: dict[Size, Run] = {}
    for run in maps_of(trace):
        if run.channels == 1 and run.grid in maps and maps[run.grid].channels > 1:
            continue  # it weighs the other, or sums it up
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
    more, and a method for earlier layers. On 80 composites of real photographs Grad-CAM at 4 x 4 hit the
    object in 24 % (16 % by chance), LayerCAM one stage earlier in 71 %, and at 7 x 7 in 65 %.
    """
    grid = chosen.grid or ()
    if min(grid) >= SMALLEST_MAP:
        return ""
    note = small_map(plain(chosen.name), grid)
    larger = [run for grid, run in _last_by_grid(trace).items() if min(grid) >= SMALLEST_MAP]
    if not larger:
        return note
    finer = larger[-1]
    return (
        f"{note}; target_layer={plain(finer.name)!r} with method='layercam' gives {_times(finer.grid or ())}"
    )


def small_map(name: str, grid: Size) -> str:
    """What a note on a small map begins with."""
    return f"target_layer: {name!r} gives maps of only {_times(grid)}, which often miss the object"


def _times(grid: Size) -> str:
    return " x ".join(str(side) for side in grid)
