"""An explanation as a figure: each input beside its overlays, and what is written above them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from lightning_cam.attribution import maps
from lightning_cam.attribution.task import TASKS
from lightning_cam.checks import check_class_names, check_whole
from lightning_cam.typing import Tiles
from lightning_cam.visualization.blend import color_bar, color_table
from lightning_cam.visualization.explained import (
    class_and_share,
    input_panels,
    marks,
    opposed,
    with_overlays,
    written_class,
)
from lightning_cam.visualization.figure import Key, Panel, side_by_side
from lightning_cam.visualization.scene import how_drawn, part_legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lightning_cam.explanation import Explanation


def draw_figure(
    everyone: "Sequence[Explanation]",
    *,
    colormap: str,
    opacity: float | str,
    most: int,
    class_names: Sequence[str] | None,
    top: int,
    threshold: float | None,
    difference: bool,
    headline: str,
) -> "Figure":
    """What ``Explanation.figure`` returns of the first explanation, with the others beside it."""
    first, *beside = everyone
    names = check_class_names(class_names, first.scores.shape[1]) or first.class_names
    check_whole("most", most, 1)
    check_whole("top", top, 1)
    if any(other.images.shape != first.images.shape for other in beside):
        raise ValueError("beside: got an explanation of images of another shape; explain the same images.")
    if difference and any(_unit(other) != _unit(first) for other in beside):
        raise ValueError(
            "difference: maps of several methods or layers have no unit in common; give beside= explanations "
            "by the same ones."
        )
    count = min(len(first.images), most)
    pictures = [drawn(other, opacity, colormap, count) for other in everyone]
    columns = [
        _panels(other, over, names, threshold, bool(beside))
        for other, (_, over) in zip(everyone, pictures, strict=True)
    ]
    if difference:
        columns += [_differences(first, other, names, count) for other in beside]
    truth = None if first.labels is None else first.labels[:count]
    inputs = input_panels(pictures[0][0], first.scores[:count], names, top, TASKS[first.task], truth)
    own = "each map's own" if count * len(everyone) > 1 else "the map's"
    key = Key(
        color_bar(color_table(colormap), opacity),
        f"share of {own} maximum",
        " · ".join(filter(None, (headline, how_drawn(first.images)))),
        () if first.parts is None else part_legend(first.parts.shape[1]),
    )
    return side_by_side(list(zip(inputs, *columns, strict=True)), key)


def drawn(
    explanation: "Explanation", opacity: float | str, colormap: str, most: int | None = None
) -> tuple[Tiles, Tiles]:
    """The first images and their overlays, on the host."""
    return with_overlays(
        explanation.images,
        explanation.cams,
        explanation.parts,
        normalization=explanation.normalization,
        opacity=opacity,
        colormap=colormap,
        most=most,
    )


def _panels(
    explanation: "Explanation",
    over: Tiles,
    names: Sequence[str] | None,
    threshold: float | None,
    compared: bool,
) -> list[Panel]:
    """The overlays of the first images, with what is said of them and marked in them."""
    count = len(over)
    scores, target = explanation.scores[:count], explanation.target_classes
    known = TASKS[explanation.task].shares(scores)
    shares = (scores if known is None else known).cpu()
    predicted = [0] * count if known is None else shares.argmax(dim=1).tolist()
    explained = [None] * count if target is None else target.tolist()
    marked = marks(explanation.images[:count], explanation.cams[:count], threshold)
    reasons = _shown_reasons(explanation)
    how = f"{explanation.method} at {explanation.target_layer}"
    panels = []
    for i in range(count):
        title = [_blank(reasons[i], names, explained[i]) or how]
        # Above the input stands the predicted class: that of the overlay is said where it is another one,
        # or where overlays of several classes stand side by side.
        number = explained[i]
        if number is not None and (compared or number != predicted[i]):
            share = shares[i, number].item()
            title.insert(0, f"output {number}" if known is None else class_and_share(names, number, share))
        panels.append(Panel(over[i], title, *marked[i]))
    return panels


def _differences(
    first: "Explanation", other: "Explanation", names: Sequence[str] | None, count: int
) -> list[Panel]:
    """The first explanation's raw maps minus the other's, over the first images in grey."""
    over = opposed(first.images, (first.cams - other.cams)[:count], first.normalization)
    more, less = _explained_classes(first, names), _explained_classes(other, names)
    return [
        Panel(over[i], [f"orange: more for {more[i]}", f"blue: more for {less[i]}"]) for i in range(count)
    ]


def _explained_classes(explanation: "Explanation", names: Sequence[str] | None) -> list[str]:
    target = explanation.target_classes
    if target is None:
        return ["its target"] * len(explanation.cams)
    return [written_class(names, number) for number in target.tolist()]


def _unit(explanation: "Explanation") -> tuple[str, str, tuple[int, ...]]:
    """What explanations have in common whose raw maps can be subtracted."""
    return explanation.method, explanation.target_layer, tuple(explanation.cams.shape)


def _shown_reasons(explanation: "Explanation") -> list[int]:
    """Why each picture shows nothing: a map's first part may be blank where another part is not."""
    if explanation.parts is None:
        return explanation.reasons.tolist()
    shows = (maps.part_strengths(explanation.parts) != 0).flatten(1).any(dim=1)
    return torch.where(shows, 0, explanation.reasons).tolist()


def _blank(reason: int, names: Sequence[str] | None, explained: int | None) -> str:
    """What stands above a map that shows nothing; nothing above one that shows something."""
    if maps.BLANK_REASONS[reason] == maps.NO_EVIDENCE and explained is not None:
        return f"no evidence for {written_class(names, explained)}"
    return f"blank: {maps.BLANK_REASONS[reason]}" if reason else ""
