"""What comes back from a look: maps, scores, and how to see them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from lightning_cam.drawing import how_drawn, part_legend
from lightning_cam.evidence import MapContext
from lightning_cam.functional import maps
from lightning_cam.functional.overlay import (
    color_table,
    colorize,
    displayable,
    drawn_size,
    flat_saliency,
    flatten_maps,
    flatten_to_pictures,
    overlay,
    overlay_parts,
)
from lightning_cam.functional.statistics import STATISTICS
from lightning_cam.functional.targets import probabilities
from lightning_cam.reading import Normalization
from lightning_cam.tables import choose
from lightning_cam.typing import Activations, Cams, Images, Labels, Masks, PerImage, Saliency, Scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_TILES = (168, 448)  # smallest and largest longer side of volumes and signals in a figure, in pixels
FIGURE_INCHES = {1: (10.0, 2.6), 2: (6.6, 3.1), 3: (13.0, 2.6)}  # width, and height per image, by spatial dimensions


@dataclass(frozen=True, eq=False)
class Rivals:
    """Maps of the first m images, where the model answers another class than the label.

    Args:
        predicted: (m, *grid) raw maps of the predicted class.
        contrast: (m, *grid) what speaks for the label rather than the predicted class, above zero, and the reverse, below: the map
            for the difference of the two scores less that for its opposite.
    """

    predicted: Cams
    contrast: Cams


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """Where the model looked, for a batch of images.

    Args:
        images: As the network saw them.
        cams: Raw maps, float32, at the target layer's resolution, as the method made them: signed where the paper's map is.
        scores: What the model answered, before softmax; of outputs with positions (segmentation) their mean.
        target_classes: The class that each map explains; None where the target was a function.
        target_layer: Name of the layer looked at; of several that were fused, with + between.
        method: Name of the method.
        reasons: Index into ``BLANK_REASONS`` of why a map shows nothing; 0 where it shows something.
        notes: What the caller should know: small maps, probabilities in place of scores, maps that are not finite.
        normalization: Mean and standard deviation to undo for display.
        parts: (n, parts, *grid) where the method finds parts that the images share; ``cams`` is the first of them.
        rivals: Of the first images, where the question was asked with ``rivals``; None where no prediction differs from its label.
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
    rivals: Rivals | None = None

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

    def figure(self, colormap: str = "inferno", opacity: float = 0.5, most: int = 16) -> "Figure":
        """A matplotlib figure: each input beside its overlay, at most ``most`` of them, with a colour bar.

        Of volumes the three middle slices are shown, of signals traces. Where there are parts, each has its colour, and a legend.
        """
        from matplotlib.cm import ScalarMappable
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch

        count = min(len(self.images), most)
        own = tuple(self.images.shape[2:])
        size = own if len(own) == 2 else drawn_size(self.images, *FIGURE_TILES)
        shown, _ = displayable(self.images[:count], *(self.normalization or ((), ())))
        pictures = flatten_to_pictures(shown, size)
        blanks = self.blank
        if self.parts is None:
            colors = color_table(colormap, shown.device)
            over = overlay(pictures, colorize(flat_saliency(self.cams[:count], own, size), colors), opacity)
        else:
            strengths = maps.part_strengths(self.parts)[:count]
            over = overlay_parts(pictures, flatten_maps(strengths, own, size))
            blanks = tuple("" if part.any() else blank for part, blank in zip(strengths, blanks, strict=False))
        pairs = torch.stack([pictures, over], dim=1).permute(0, 1, 3, 4, 2).cpu().numpy()
        wide, high = FIGURE_INCHES[len(own)]
        if len(own) == 1:
            high *= 2 * size[0] / size[1]  # many channels need room
        figure = Figure(figsize=(wide, high * count), layout="constrained")
        axes = figure.subplots(count, 2, squeeze=False)
        for row, pair, blank, scores in zip(axes, pairs, blanks, probabilities(self.scores).cpu(), strict=False):
            for axis, picture in zip(row, pair, strict=True):
                axis.imshow(picture)
                axis.set_axis_off()
            predicted = int(scores.argmax())
            row[0].set_title(f"class {predicted}, {100 * scores[predicted]:.0f} %", fontsize=10)
            row[1].set_title(f"blank: {blank}" if blank else f"{self.method} at {self.target_layer}", fontsize=10)
        if how_drawn(self.images):
            figure.suptitle(how_drawn(self.images), fontsize=9)
        if self.parts is not None:
            legend = part_legend(self.parts.shape[1])
            patches = [Patch(color=(red / 255, green / 255, blue / 255), label=name) for name, (red, green, blue) in legend]
            title = "the stronger, the more opaque"
            figure.legend(handles=patches, loc="outside lower center", ncols=7, title=title, fontsize=9, title_fontsize=9)
            return figure
        bar = figure.colorbar(ScalarMappable(cmap=colormap), ax=axes[:, 1].tolist(), shrink=0.8)
        bar.set_label("share of the map's maximum", fontsize=9)
        return figure
