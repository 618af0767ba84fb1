"""What comes back from a look: maps, scores, and how to see them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING

import torch

from lightning_cam.attribution import maps, regions
from lightning_cam.attribution.targets import probabilities
from lightning_cam.checks import Normalization
from lightning_cam.metrics.statistics import STATISTICS, MapContext
from lightning_cam.registry import choose
from lightning_cam.typing import (
    Activations,
    Boxes,
    Cams,
    Images,
    Labels,
    Masks,
    PerImage,
    Saliency,
    Scores,
    Tiles,
)
from lightning_cam.visualization.blend import color_table, displayable, overlay_cams, overlay_parts
from lightning_cam.visualization.canvas import drawable
from lightning_cam.visualization.figure import Key, Panel, side_by_side
from lightning_cam.visualization.projection import (
    drawn_size,
    flat_saliency,
    flatten_maps,
    flatten_to_pictures,
    tile,
)
from lightning_cam.visualization.scene import how_drawn, part_legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure
from lightning_cam.checks import check_class_names

FIGURE_TILES = (168, 448)  # smallest and largest longer side of volumes and signals in a figure, in pixels
SHOWN_IN_A_NOTEBOOK = 3


@dataclass(frozen=True, eq=False)
class Confusions:
    """Maps of the first m images, where the model answers another class than the label.

    Args:
        predicted: (m, *grid) raw maps of the predicted class.
        contrast: (m, *grid) what speaks for the label rather than the predicted class, above zero, and the
            reverse, below: the map for the difference of the two scores less that for its opposite.
    """

    predicted: Cams
    contrast: Cams


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """Where the model looked, for a batch of images.

    Args:
        images: As the network saw them.
        cams: Raw maps, float32, at the target layer's resolution, as the method made them: signed where the
            paper's map is.
        scores: What the model answered, before softmax; of outputs with positions (segmentation) their mean.
        target_classes: The class that each map explains; None where the target was a function.
        target_layer: Name of the layer looked at; of several that were fused, with + between.
        method: Name of the method.
        reasons: Index into ``BLANK_REASONS`` of why a map shows nothing; 0 where it shows something.
        notes: What the caller should know: small maps, probabilities in place of scores, maps that are not
            finite.
        normalization: Mean and standard deviation to undo for display.
        parts: (n, parts, *grid) where the method finds parts that the images share; ``cams`` is the first of
            them.
        confusions: Of the first images, where the question was asked with ``confusions``; else None.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lightning_cam import explain
        >>> torch.manual_seed(0) and None
        >>> model = nn.Sequential(
        ...     nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
        ... )
        >>> found = explain(model, torch.rand(2, 3, 16, 16), target=0)
        >>> found
        Explanation(2 images, gradcam at 1, 14 x 14)
        >>> (
        ...     found.overlay().shape,
        ...     found.foreground(0.5).shape,
        ...     len(found.boxes(0.5)),
        ...     found.statistic("entropy").shape,
        ... )
        (torch.Size([2, 16, 16, 3]), torch.Size([2, 16, 16]), 2, torch.Size([2]))
    """

    images: Images
    cams: Cams
    scores: Scores
    target_classes: Labels | None
    target_layer: str
    method: str
    reasons: Labels
    notes: tuple[str, ...] = ()
    normalization: Normalization | None = None
    parts: Activations | None = None
    confusions: Confusions | None = None

    def __repr__(self) -> str:
        grid = " x ".join(str(side) for side in self.cams.shape[1:])
        return f"Explanation({len(self.cams)} images, {self.method} at {self.target_layer}, {grid})"

    @cached_property
    def saliency(self) -> Saliency:
        """Maps at the images' resolution in [0, 1]: upsampled, positive part divided by the maximum."""
        return maps.saliency(self.cams, tuple(self.images.shape[2:]))

    @property
    def blank(self) -> tuple[str, ...]:
        """Why each map shows nothing, in words; empty where it shows something."""
        return tuple(maps.BLANK_REASONS[reason] for reason in self.reasons.tolist())

    def statistic(self, name: str | Callable[[MapContext], PerImage], masks: Masks | None = None) -> PerImage:
        """One number per image: a row of ``STATISTICS``, or a function of ``MapContext``.

        Raises:
            ValueError: No such statistic; the message names the closest one.
        """
        return choose(STATISTICS, name, "statistic")(MapContext(self.saliency, self.cams, masks))

    def overlay(self, opacity: float = 0.5, colormap: str = "inferno") -> Tiles:
        """The heatmap over each image, uint8 (n, H, W, 3) on the host, at the images' resolution.

        ``PIL.Image.fromarray(explanation.overlay()[0].numpy())`` is the first as a picture. Drawn as in
        ``figure`` and by a
        monitor: of volumes the three middle slices side by side, of signals traces, and where there are parts
            each in its colour.

        Args:
            opacity: Of the heatmap over the image, in [0, 1]: 0 shows the image, 1 the heatmap.

        Raises:
            ValueError: ``opacity`` is outside [0, 1], or no such colormap.
        """
        return self._pictures(len(self.images), opacity, colormap)[1]

    def foreground(self, threshold: float = 0.5) -> Masks:
        """Where the saliency is at least ``threshold``, (n, H, W); nowhere where the map is blank.

        Args:
            threshold: Share of the map's maximum, in (0, 1].

        Raises:
            ValueError: ``threshold`` is outside (0, 1].
        """
        return regions.foreground(self.saliency, threshold)

    def boxes(self, threshold: float = 0.5) -> list[Boxes]:
        """For each image tight boxes (k, 4) around the connected parts of its foreground, the largest part's
        first; on the host.

        A box is ``x1 y1 x2 y2`` in pixels of the image as torchvision has it: x2 and y2 are the first column
        and row beyond it. Pixels connect along sides and corners. No box where the map is blank; of signals
        (k, 2), of volumes (k, 6), x first.

        Args:
            threshold: Share of the map's maximum, in (0, 1]. With 0.2 the first box is that of the source.

        Raises:
            ValueError: ``threshold`` is outside (0, 1].

        Source: Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016, section 3.2:
            the box that covers
        the largest connected component above 20 % of the maximum. https://arxiv.org/abs/1512.04150
        """
        return regions.boxes(self.saliency.cpu(), threshold)

    def figure(
        self,
        colormap: str = "inferno",
        opacity: float = 0.5,
        most: int = 16,
        *,
        class_names: Sequence[str] | None = None,
        top: int = 1,
        threshold: float | None = None,
        beside: "Sequence[Explanation]" = (),
        headline: str = "",
    ) -> "Figure":
        """A matplotlib figure: each input, with the predicted class, beside its overlay, and a colour bar.

        Of volumes the three middle slices are shown, of signals traces. Where there are parts, each has its
        colour, and a legend. An overlay says which class it explains where that is not the predicted one.

        Args:
            opacity: Of the heatmap over the image, in [0, 1].
            most: How many of the images are drawn at most.
            class_names: One per class; None shows numbers.
            top: How many of the likeliest classes stand above an input.
            threshold: Share of the map's maximum, in (0, 1], from which on pixels are outlined, with a box
                around the largest part.
            beside: Other explanations of the same images (classes, methods, layers): their overlays stand in
                the same row.
            headline: What stands above it all.

        Raises:
            ValueError: An argument is out of range, or does not fit the explanation.
        """
        names = None if class_names is None else check_class_names(class_names, self.scores.shape[1])
        for argument, value in (("most", most), ("top", top)):
            if value < 1:
                raise ValueError(f"{argument}: got {value}; give at least 1.")
        everyone = [self, *beside]
        if any(other.images.shape != self.images.shape for other in beside):
            raise ValueError(
                "beside: got an explanation of images of another shape; explain the same images."
            )
        count = min(len(self.images), most)
        drawn = [other._pictures(count, opacity, colormap) for other in everyone]
        columns = [
            other._panels(over, names, threshold, bool(beside))
            for other, (_, over) in zip(everyone, drawn, strict=True)
        ]
        shares, classes = probabilities(self.scores[:count]).cpu().topk(min(top, self.scores.shape[1]), dim=1)
        inputs = [
            Panel(
                picture,
                [_answer(names, *one) for one in zip(likeliest, share, strict=True)],
                lines=2 if top == 1 else 1,
            )
            for picture, likeliest, share in zip(drawn[0][0], classes.tolist(), shares.tolist(), strict=True)
        ]
        own = "each map's own" if count * len(everyone) > 1 else "the map's"
        legend = () if self.parts is None else part_legend(self.parts.shape[1])
        key = Key(
            colormap,
            f"share of {own} maximum",
            " · ".join(filter(None, (headline, how_drawn(self.images)))),
            legend,
        )
        return side_by_side(list(zip(inputs, *columns, strict=True)), key)

    def _repr_png_(self) -> bytes:
        """What a notebook shows: the first images as a small figure, a PNG file's bytes."""
        file = BytesIO()
        self.figure(most=SHOWN_IN_A_NOTEBOOK).savefig(file, format="png", dpi=72)
        return file.getvalue()

    def _pictures(self, count: int, opacity: float, colormap: str) -> tuple[Tiles, Tiles]:
        """The first images and their overlays, on the host."""
        if isinstance(opacity, bool) or not isinstance(opacity, int | float) or not 0 <= opacity <= 1:
            raise ValueError(f"opacity: got {opacity!r}; give a value in [0, 1].")
        own, size = self._sizes
        colors = color_table(colormap, self.images.device)
        # All images, because values out of range are stretched by that of all.
        shown, _ = displayable(self.images, *(self.normalization or ((), ())))
        pictures = flatten_to_pictures(shown[:count], size)
        if self.parts is None:
            over = overlay_cams(pictures, self.cams[:count], own, size, colors, opacity)
        else:
            over = overlay_parts(pictures, flatten_maps(maps.part_strengths(self.parts)[:count], own, size))
        plain, over = tile(torch.cat([pictures, over])).cpu().split(count)
        return plain, over

    @property
    def _sizes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The images' size, and that of their pictures."""
        own = tuple(self.images.shape[2:])
        return own, own if len(own) == 2 else drawn_size(self.images, *FIGURE_TILES)

    def _panels(
        self, over: Tiles, names: Sequence[str] | None, threshold: float | None, compared: bool
    ) -> list[Panel]:
        """The overlays of the first images, with what is said of them and marked in them."""
        count = len(over)
        shares = probabilities(self.scores).cpu()
        predicted = shares.argmax(dim=1).tolist()
        explained = [None] * count if self.target_classes is None else self.target_classes.tolist()
        blanks = self.blank
        if self.parts is not None:
            strengths = maps.part_strengths(self.parts)
            blanks = tuple("" if part.any() else blank for part, blank in zip(strengths, blanks, strict=True))
        outlined: Sequence[Masks | None] = [None] * count
        boxes: Sequence[Boxes | None] = [None] * count
        if threshold is not None:
            flat = flat_saliency(self.cams[:count].cpu(), *self._sizes)
            outlined = list(regions.foreground(flat, threshold))
            if self.images.ndim == 4:
                boxes = [found[:1] for found in regions.boxes(flat, threshold)]
        panels = []
        for i in range(count):
            title, number = (
                [f"blank: {blanks[i]}" if blanks[i] else f"{self.method} at {self.target_layer}"],
                explained[i],
            )
            if number is not None and (compared or number != predicted[i]):
                title.insert(0, _answer(names, number, shares[i, number].item()))
            panels.append(Panel(over[i], title, outlined[i], boxes[i]))
        return panels


def _answer(names: Sequence[str] | None, number: int, share: float) -> str:
    """A class and its probability; its number where it has no name, or one with letters that the font
    lacks.
    """
    named = names is not None and names[number].strip() and drawable(names[number])
    name = names[number] if named and names is not None else f"class {number}"
    return f"{name}, {100 * share:.0f} %" if share >= 0.01 else f"{name}, <1 %"
