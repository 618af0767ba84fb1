"""What a figure of an explanation is made of: inputs and overlays as pictures, what is marked in them, and
which classes the model sees.
"""

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from lightning_cam.attribution import maps, regions
from lightning_cam.attribution.task import MULTICLASS, Task
from lightning_cam.checks import Normalization, check_opacity, class_name
from lightning_cam.typing import Activations, Boxes, Cams, Images, Mask, Scores, Tiles, Truth
from lightning_cam.visualization.blend import (
    COLORMAP,
    EVIDENCE,
    color_table,
    displayable,
    overlay_cams,
    overlay_parts,
)
from lightning_cam.visualization.captions import number_and_truth
from lightning_cam.visualization.figure import Panel
from lightning_cam.visualization.letters import drawable
from lightning_cam.visualization.prepared import PreparedImages
from lightning_cam.visualization.projection import (
    drawn_size,
    flat_saliency,
    flatten_maps,
    flatten_to_pictures,
    tile,
)
from lightning_cam.visualization.style import Style

SomeTiles = UInt8[Tensor, "some height width 3"]  # of the first images
FIGURE_TILES = (168, 448)  # smallest and largest longer side of volumes and signals in a figure, in pixels


def with_overlays(
    images: Images,
    cams: Cams,
    parts: Activations | None = None,
    *,
    normalization: Normalization | None = None,
    opacity: float | str = EVIDENCE,
    colormap: str = COLORMAP,
    most: int | None = None,
) -> tuple[SomeTiles, SomeTiles]:
    """The first images as pictures, and their overlays, on the host.

    Args:
        parts: Drawn in place of ``cams``, each in its own colour.
        most: How many images are drawn at most; None draws all.

    Raises:
        ValueError: ``opacity`` is no such thing, or no such colormap.
    """
    check_opacity(opacity)
    own, size = _sizes(images)
    colors = color_table(colormap, images.device)
    # All images, because values out of range are stretched by that of all.
    shown, _ = displayable(images, *(normalization or ((), ())))
    pictures = flatten_to_pictures(shown[:most], size)
    if parts is None:
        over = overlay_cams(pictures, cams[:most], own, size, colors, opacity)
    else:
        over = overlay_parts(pictures, flatten_maps(maps.part_strengths(parts)[:most], own, size))
    plain, over = tile(torch.cat([pictures, over])).cpu().split(len(pictures))
    return plain, over


def opposed(images: Images, cams: Cams, normalization: Normalization | None = None) -> SomeTiles:
    """The first images in grey under their signed maps, on the host: orange above zero, blue below, the
    stronger the more opaque.
    """
    own, size = _sizes(images)
    # All images, because values out of range are stretched by that of all.
    shown, _ = displayable(images, *(normalization or ((), ())))
    prepared = PreparedImages(flatten_to_pictures(shown[: len(cams)], size), own, size, Style())
    return tile(prepared.opposed(cams)).cpu()


def marks(images: Images, cams: Cams, threshold: float | None) -> list[tuple[Mask | None, Boxes | None]]:
    """For each map what is salient in its picture, and the box around the largest part of it; no box for
    volumes and signals.
    """
    if threshold is None:
        return [(None, None)] * len(cams)
    flat = flat_saliency(cams.cpu(), *_sizes(images))
    outlined = regions.foreground(flat, threshold)
    if images.ndim != 4:
        return [(mask, None) for mask in outlined]
    boxes = regions.boxes(flat, threshold)
    return [(mask, found[:1]) for mask, found in zip(outlined, boxes, strict=True)]


def input_panels(
    pictures: Tiles,
    scores: Scores,
    names: Sequence[str] | None,
    top: int,
    task: Task = MULTICLASS,
    labels: Truth | None = None,
) -> list[Panel]:
    """Each picture below its ``top`` likeliest classes, or below what a regression yields and should."""
    known = task.shares(scores)
    if known is None:
        truth = [None] * len(scores) if labels is None else labels.cpu().unbind()
        pairs = zip(pictures, scores.cpu(), truth, strict=True)
        return [Panel(picture, [number_and_truth(*row)]) for picture, *row in pairs]
    shares, classes = known.cpu().topk(min(top, scores.shape[1]), dim=1)
    panels = []
    for picture, likeliest, share in zip(pictures, classes.tolist(), shares.tolist(), strict=True):
        title = [class_and_share(names, *one) for one in zip(likeliest, share, strict=True)]
        panels.append(Panel(picture, title, lines=2 if top == 1 else 1))
    return panels


def written_class(names: Sequence[str] | None, number: int) -> str:
    """A class' name, or "class 3" where it has none, or one with letters that the font lacks."""
    has_name = names is not None and 0 <= number < len(names)
    name = class_name(names, number) if has_name else ""
    return name if name.strip() and drawable(name) else f"class {number}"


def class_and_share(names: Sequence[str] | None, number: int, share: float) -> str:
    """A class and its probability."""
    return f"{written_class(names, number)}, " + (f"{100 * share:.0f} %" if share >= 0.01 else "<1 %")


def _sizes(images: Images) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The images' size, and that of their pictures."""
    own = tuple(images.shape[2:])
    return own, own if len(own) == 2 else drawn_size(images, *FIGURE_TILES)
