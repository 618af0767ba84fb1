"""What comes back from a look: maps, scores, and how to see them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING

import torch

from lightning_cam.attribution import maps, regions
from lightning_cam.attribution.mapping import Confusions, LabelMaps
from lightning_cam.attribution.task import MULTICLASS, TASKS, Task
from lightning_cam.checks import Normalization, check_class_names, check_whole
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
    Truth,
)
from lightning_cam.visualization.blend import COLORMAP, EVIDENCE, color_bar, color_table
from lightning_cam.visualization.explained import (
    class_and_share,
    input_panels,
    marks,
    with_overlays,
    written_class,
)
from lightning_cam.visualization.figure import Key, Panel, side_by_side
from lightning_cam.visualization.scene import how_drawn, part_legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_IN_A_NOTEBOOK = 3


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """Where the model looked, for a batch of images.

    Args:
        images: As the network saw them.
        cams: Raw maps, float32, at the target layer's resolution, as the method made them: signed where the
            paper's map is.
        scores: What the model answered, before softmax and sigmoid; of outputs with positions (segmentation)
            their mean; of a regression the outputs, in their unit.
        target_classes: The class that each map explains; None where the target was a function, several labels
            or the output of a regression.
        target_layer: Name of the layer looked at; of several that were fused, with + between.
        method: Name of the method.
        reasons: Index into ``BLANK_REASONS`` of why a map shows nothing; 0 where it shows something.
        notes: What the caller should know: small maps, probabilities in place of scores, maps that are not
            finite.
        normalization: Mean and standard deviation to undo for display.
        parts: ``(n, parts, *grid)`` where the method finds parts that the images share; ``cams`` is the
            first of them.
        confusions: Of the first images, where the question was asked with ``confusions``; else None.
        task: A key of ``TASKS``: how scores were read.
        activation: What ended the network and was undone: "sigmoid", or nothing.
        labels: As they were given, (n,) whole numbers, (n, C) zeros and ones, or numbers; None where nobody
            knows them.
        label_maps: Of the first images, where they have several labels and the question was asked with
            ``confusions``; else None.
        class_names: One per class, for figures; None shows numbers.

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
    task: str = MULTICLASS.name
    activation: str = ""
    labels: Truth | None = None
    label_maps: LabelMaps | None = None
    class_names: tuple[str, ...] | None = None

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

    def overlay(self, opacity: float | str = EVIDENCE, colormap: str = COLORMAP) -> Tiles:
        """The heatmap over each image, uint8 (n, H, W, 3) on the host, at the images' resolution.

        ``PIL.Image.fromarray(explanation.overlay()[0].numpy())`` is the first as a picture. Drawn as in
        ``figure`` and by a
        monitor: of volumes the three middle slices side by side, of signals traces, and where there are parts
        each in its colour.

        Args:
            opacity: Of the heatmap over the image: "evidence", "constant" or a number in [0, 1], as
                ``Style`` has it; 0 shows the image, 1 the heatmap.

        Raises:
            ValueError: ``opacity`` is none of these, or no such colormap.
        """
        return self._pictures(opacity, colormap)[1]

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
            the box that covers the largest connected component above 20 % of the maximum.
            https://arxiv.org/abs/1512.04150
        """
        return regions.boxes(self.saliency.cpu(), threshold)

    def figure(
        self,
        colormap: str = COLORMAP,
        opacity: float | str = EVIDENCE,
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
            opacity: Of the heatmap over the image: "evidence", "constant" or a number in [0, 1].
            most: How many of the images are drawn at most.
            class_names: One per class; None takes those that the explanation has, else numbers.
            top: How many of the likeliest classes stand above an input.
            threshold: Share of the map's maximum, in (0, 1], from which on pixels are outlined, with a box
                around the largest part.
            beside: Other explanations of the same images (classes, methods, layers): their overlays stand in
                the same row.
            headline: What stands above it all.

        Raises:
            ValueError: An argument is out of range, or does not fit the explanation.
        """
        names = check_class_names(class_names, self.scores.shape[1]) or self.class_names
        check_whole("most", most, 1)
        check_whole("top", top, 1)
        everyone = [self, *beside]
        if any(other.images.shape != self.images.shape for other in beside):
            raise ValueError(
                "beside: got an explanation of images of another shape; explain the same images."
            )
        count = min(len(self.images), most)
        drawn = [other._pictures(opacity, colormap, count) for other in everyone]
        columns = [
            other._panels(over, names, threshold, bool(beside))
            for other, (_, over) in zip(everyone, drawn, strict=True)
        ]
        truth = None if self.labels is None else self.labels[:count]
        inputs = input_panels(drawn[0][0], self.scores[:count], names, top, self._row, truth)
        own = "each map's own" if count * len(everyone) > 1 else "the map's"
        key = Key(
            color_bar(color_table(colormap), opacity),
            f"share of {own} maximum",
            " · ".join(filter(None, (headline, how_drawn(self.images)))),
            () if self.parts is None else part_legend(self.parts.shape[1]),
        )
        return side_by_side(list(zip(inputs, *columns, strict=True)), key)

    def _repr_png_(self) -> bytes:
        """What a notebook shows: the first images as a small figure, a PNG file's bytes."""
        file = BytesIO()
        self.figure(most=SHOWN_IN_A_NOTEBOOK).savefig(file, format="png", dpi=72)
        return file.getvalue()

    def _pictures(self, opacity: float | str, colormap: str, most: int | None = None) -> tuple[Tiles, Tiles]:
        """The first images and their overlays, on the host."""
        return with_overlays(
            self.images,
            self.cams,
            self.parts,
            normalization=self.normalization,
            opacity=opacity,
            colormap=colormap,
            most=most,
        )

    def _panels(
        self, over: Tiles, names: Sequence[str] | None, threshold: float | None, compared: bool
    ) -> list[Panel]:
        """The overlays of the first images, with what is said of them and marked in them."""
        count = len(over)
        known = self._row.shares(self.scores[:count])
        shares = (self.scores[:count] if known is None else known).cpu()
        predicted = [0] * count if known is None else shares.argmax(dim=1).tolist()
        explained = [None] * count if self.target_classes is None else self.target_classes.tolist()
        marked = marks(self.images[:count], self.cams[:count], threshold)
        reasons = self._shown_reasons
        panels = []
        for i in range(count):
            title = [_blank(reasons[i], names, explained[i]) or f"{self.method} at {self.target_layer}"]
            # Above the input stands the predicted class: that of the overlay is said where it is another one,
            # or where overlays of several classes stand side by side.
            number = explained[i]
            if number is not None and (compared or number != predicted[i]):
                share = shares[i, number].item()
                title.insert(
                    0, f"output {number}" if known is None else class_and_share(names, number, share)
                )
            panels.append(Panel(over[i], title, *marked[i]))
        return panels

    @property
    def _row(self) -> Task:
        return TASKS[self.task]

    @property
    def _shown_reasons(self) -> list[int]:
        """Why each picture shows nothing: a map's first part may be blank where another part is not."""
        if self.parts is None:
            return self.reasons.tolist()
        shows = (maps.part_strengths(self.parts) != 0).flatten(1).any(dim=1)
        return torch.where(shows, 0, self.reasons).tolist()


def _blank(reason: int, names: Sequence[str] | None, explained: int | None) -> str:
    """What stands above a map that shows nothing; nothing above one that shows something."""
    if maps.BLANK_REASONS[reason] == maps.NO_EVIDENCE and explained is not None:
        return f"no evidence for {written_class(names, explained)}"
    return f"blank: {maps.BLANK_REASONS[reason]}" if reason else ""
