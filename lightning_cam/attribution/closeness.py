"""Does the layer carry the score? How close scores come to another image's when its maps are put there."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_cam.attribution.config import ModelConfig
from lightning_cam.attribution.connection import connected
from lightning_cam.attribution.forward_trace import Run, maps_of, no_scores, recording
from lightning_cam.attribution.network import Network
from lightning_cam.attribution.preserve import leaving_no_trace
from lightning_cam.attribution.submodule import plain
from lightning_cam.attribution.target_layer import TargetLayer
from lightning_cam.devices import is_out_of_memory
from lightning_cam.typing import Images, Labels, Outputs

CLOSE = (
    0.9  # layers that carry the score have 1.000, passages past a layer that training uses leave 0.62 at most
)
LEAST_SPREAD = 1e-4  # of the scores' size: below it two images have the same scores, and nothing can be told
MOST_IMAGES = 8  # that a layer is judged by
FEWER_IMAGES = 4  # that other layers are tried with
MOST_TRIED = 32  # layers, in one search
MOST_ADDED = 2  # layers that a list of layers may lack


@dataclass(frozen=True)
class Closeness:
    """How much of what tells two images apart passes through layers.

    Args:
        value: The closeness, at most 1: 1 where the scores become those of the other image, 0 where they do
            not come nearer.
        share: The part of the way to the other image's scores, about 0 to 1, and by accident beyond. It adds
            up to 1 over branches whose scores are summed; judge by ``value``, speak of ``share``.
        beside_tokens: Whether a layer has class tokens or registers before its map, which stayed the image's
            own.
    """

    value: float
    share: float
    beside_tokens: bool = False

    @property
    def is_close(self) -> bool:
        """Whether the layers carry the score."""
        return self.value >= CLOSE


@dataclass(frozen=True)
class LayerNote:
    """What the user should know of a layer; an empty sentence where there is nothing.

    Args:
        is_fault: Whether it calls for another layer; else it is a fact, such as of class tokens.
    """

    sentence: str = ""
    is_fault: bool = False


def way(replaced: Outputs, own: Outputs, other: Outputs) -> tuple[float, float] | None:
    """Closeness and share of the way from ``own`` scores to ``other`` ones that ``replaced`` scores went:
    ``1 - |t - s(A)| / |s(B) - s(A)|`` and ``<t - s(B), s(A) - s(B)> / |s(A) - s(B)|^2``, over all pairs.

    None where it cannot be told: scores that hardly differ, or are not finite.

    Args:
        replaced: t, of B's forward with A's maps.
        own: s(B).
        other: s(A).
    """
    whole = (other - own).double()
    size, length = other.double().norm(), whole.norm()
    are_finite = torch.stack([replaced, own, other]).isfinite().all()
    if not bool(are_finite & (length > LEAST_SPREAD * size)):
        return None
    near = 1 - (replaced - other).double().norm() / length
    part = ((replaced - own).double() * whole).sum() / length.square()
    return near.item(), part.item()


def closeness(
    model: nn.Module, images: Images, layers: Sequence[TargetLayer], config: ModelConfig
) -> Closeness | None:
    """How much of what tells images apart passes through the layers together; None where scores of different
    images hardly differ (untrained networks), are not finite, or there is one image only.

    At most eight images are used, evenly spread, each in a pair with the next: two forwards of them. No trace
    is left.

    Raises:
        ValueError: The forward does not reach a layer, or a layer yields no map.
    """
    with connected(model, len(images), config, any_shape=True) as network:
        return _measured(network, images.clone(), _numbers(images), layers, MOST_IMAGES)


def closeness_note(
    model: nn.Module, images: Images, layers: Sequence[TargetLayer], config: ModelConfig
) -> LayerNote:
    """What the user should know where less than 0.9 of what tells images apart passes through the layers
    together, with layers that carry the rest where these can be found; for class tokens a fact, no fault.
    Empty where the layers carry the scores, or where that cannot be told.

    Ask when training has begun: at random weights nothing says which branch will matter. Costs two forwards
    of at most eight images, where these are not close, and no class token explains it, up to 64 forwards of
    four images for each layer that is missing. No trace is left.

    Raises:
        ValueError: The forward does not reach a layer, or a layer yields no map.
    """
    with connected(model, len(images), config, any_shape=True) as network:
        images, index = images.clone(), _numbers(images)
        found = _measured(network, images, index, layers, MOST_IMAGES)
        if found is None or found.is_close:
            return LayerNote()
        names = " and ".join(repr(layer.name) for layer in layers)
        part = f"{min(max(found.share, 0), 1):.0%}".replace("%", " %")
        if found.beside_tokens:
            return LayerNote(
                f"target_layer: {names} is before the last attention of a class token, which has collected "
                f"the rest before: of what tells two images apart, {part} passes through the patches there. "
                "The map shows what is still read from them."
            )
        passes = f"of what tells two images apart, {part} passes through {names}"
        if found.share >= CLOSE:  # by accident: the scores move as far, and elsewhere
            passes = f"what tells two images apart passes not only through {names}"
        named = _names(_completed(network, images, index, layers))
        rest = f"target_layer={named} shows all of it" if named else "where the rest passes was not found"
        return LayerNote(f"target_layer: {passes}; {rest}", is_fault=True)


def latest_close_layer(network: Network, images: Images, index: Labels) -> TargetLayer | None:
    """The latest layer through which passes what tells the images apart; None where none is found.

    Costs at most 64 forwards of four images.

    Args:
        index: Which image each row is, as in ``Network.scores``.
    """
    runs = _maps(network, images, index)
    best = -1
    # Outer modules first: the layer of a network is rarely more than a few steps away from the top. Then
    # inner ones, but only those that come later.
    for place in _outer_first(runs)[:MOST_TRIED]:
        if place > best and _is_close(network, images, index, [_layer(runs[place])]):
            best = place
    return _layer(runs[best]) if best >= 0 else None


def without_gradient(network: Network, images: Images, index: Labels, layer: TargetLayer) -> str:
    """What to do where the target score has no gradient at a layer: the end of a message."""
    if network.obstacle:
        return f"{network.obstacle}, or method='ablationcam', which needs no gradient"
    try:
        if _is_close(network, images, index, [layer]):
            return (
                "the scores depend on this layer, but the forward cuts the gradient behind it (detach, "
                "inference mode, quantized layers); use method='ablationcam', which needs none"
            )
        found = latest_close_layer(network, images, index)
    except RuntimeError as error:
        # A model that takes no smaller batch has no trace of one image, and no layer to be named.
        if is_out_of_memory(error):
            raise
        found = None
    if found is None:
        return "the score does not depend on this layer by a gradient; name one that it passes through"
    return (
        f"the score does not depend on this layer by a gradient; the last layer that the scores pass through "
        f"is target_layer={found.name!r}"
    )


def spread(count: int, most: int) -> Tensor:
    """Indices of at most so many of the images, evenly spread: a probe may be sorted by class."""
    return torch.linspace(0, count - 1, min(count, most)).round().long()


def _measured(
    network: Network, images: Images, index: Labels, layers: Sequence[TargetLayer], most: int
) -> Closeness | None:
    some = spread(len(images), most).to(images.device)
    if len(some) < 2:
        return None
    firsts, numbers = images[some], index[some]
    seconds, their_numbers = firsts.roll(-1, 0), numbers.roll(-1, 0)
    scores, replaced, has_tokens = [], [], False
    for part in torch.arange(len(some), device=images.device).split(network.max_batch):
        with leaving_no_trace(network.model):  # each time: the same random numbers, and nothing left behind
            cut = network.cut(firsts[part], numbers[part], list(layers))
        maps = [own.to_map(leaf.detach()) for leaf, own in zip(cut.leaves, cut.layouts, strict=True)]
        has_tokens = has_tokens or any(own.prefix for own in cut.layouts)
        scores.append(cut.outputs.detach())
        with leaving_no_trace(network.model):
            replaced.append(network.cut(seconds[part], their_numbers[part], list(layers), maps).outputs)
    own = torch.cat(scores)
    found = way(torch.cat(replaced), own.roll(-1, 0), own)
    return None if found is None else Closeness(*found, beside_tokens=has_tokens)


def _is_close(network: Network, images: Images, index: Labels, layers: Sequence[TargetLayer]) -> bool:
    found = _measured(network, images, index, layers, FEWER_IMAGES)
    return found is not None and found.is_close


def _completed(
    network: Network, images: Images, index: Labels, layers: Sequence[TargetLayer]
) -> list[TargetLayer]:
    """One layer that carries the score alone, else layers that do together with those given; none where such
    are not found.
    """
    runs = _maps(network, images, index)
    others = [_layer(runs[place]) for place in _outer_first(runs)[:MOST_TRIED]]
    chosen = list(layers)
    for _ in range(MOST_ADDED):
        paths = [layer.path for layer in chosen]
        others = [other for other in others if other.path not in paths]
        values = []
        for other in others:
            found = _measured(network, images, index, [*chosen, other], FEWER_IMAGES)
            values.append(-torch.inf if found is None else found.value)
            if found is not None and found.is_close:
                alone = _is_close(network, images, index, [other])
                return [other] if alone else [*chosen, other]
        if not values:
            break
        chosen.append(others[values.index(max(values))])
    return []


def _maps(network: Network, images: Images, index: Labels) -> list[Run]:
    """The maps of one image's forward, in its order, each once."""
    with leaving_no_trace(network.model), recording(network.model, tuple(images.shape[2:])) as trace:
        scores = network.scores(images[:1], index[:1])
    maps = maps_of(no_scores(trace, scores))
    broad = {run.grid for run in maps if run.channels > 1}
    # A map of one channel weighs another one, or sums it up.
    maps = [run for run in maps if run.channels > 1 or run.grid not in broad]
    following: list[Run | None] = [*maps[1:], None]
    return [run for run, after in zip(maps, following, strict=True) if not _is_handed_on(run, after)]


def _is_handed_on(run: Run, after: Run | None) -> bool:
    """Whether the module around this one finishes with it."""
    return after is not None and run.name.startswith(f"{after.name}.") and run.shape == after.shape


def _outer_first(runs: Sequence[Run]) -> list[int]:
    """Places in the list of runs: those of outer modules first, of these the latest."""
    return sorted(range(len(runs)), key=lambda place: (runs[place].name.count("."), -place))


def _layer(run: Run) -> TargetLayer:
    return TargetLayer(plain(run.name), run.name)


def _names(layers: Sequence[TargetLayer]) -> str:
    names = [layer.name for layer in layers]
    return "" if not names else repr(names[0] if len(names) == 1 else names)


def _numbers(images: Images) -> Labels:
    return torch.arange(len(images), device=images.device)
