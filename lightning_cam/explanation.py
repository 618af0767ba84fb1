"""What comes back from a look: maps, scores, and how to see them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from lightning_cam.attribution import maps, regions
from lightning_cam.attribution.mapping import Confusions, LabelMaps
from lightning_cam.attribution.task import MULTICLASS
from lightning_cam.checks import Normalization
from lightning_cam.explanation_figure import draw_figure, drawn
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
from lightning_cam.visualization.blend import COLORMAP, EVIDENCE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_IN_A_NOTEBOOK = 3
# What ``save`` writes: attributes of an explanation.
SAVED = (
    "cams", "saliency", "scores", "target_classes", "labels", "class_names", "method", "target_layer", "task"
)  # fmt: skip


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
        parts: (n, parts, *grid) where the method finds parts that the images share; ``cams`` is the first of
            them.
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
        return drawn(self, opacity, colormap)[1]

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
        difference: bool = False,
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
            difference: Whether each of these is followed by this explanation's raw maps minus its own: orange
                where this one's are larger, blue where the other's are. For classes, of one method and layer.
            headline: What stands above it all.

        Raises:
            ValueError: An argument is out of range, or does not fit the explanation.
        """
        return draw_figure(
            [self, *beside],
            colormap=colormap,
            opacity=opacity,
            most=most,
            class_names=class_names,
            top=top,
            threshold=threshold,
            difference=difference,
            headline=headline,
        )

    def save(self, path: str | Path) -> Path:
        """Writes maps, scores and names as arrays, which ``numpy.load(path)`` reads back without pickle.

        In the file: ``cams`` (n, h, w) and ``saliency`` (n, H, W), float32; ``scores`` (n, C), float32;
        ``target_classes``, ``labels`` and ``class_names`` where they are known; ``method``, ``target_layer``
        and ``task`` as texts. The images are not in it.

        Args:
            path: Of a file that ends with ".npz".

        Raises:
            ValueError: The file's name has another ending.
        """
        path = Path(path)
        if path.suffix != ".npz":
            raise ValueError(f"path: got {str(path)!r}; give a name that ends with '.npz'.")
        values = {name: getattr(self, name) for name in SAVED}
        arrays: dict[str, Any] = {name: _array(value) for name, value in values.items() if value is not None}
        np.savez_compressed(path, **arrays)
        return path

    def _repr_png_(self) -> bytes:
        """What a notebook shows: the first images as a small figure, a PNG file's bytes."""
        file = BytesIO()
        self.figure(most=SHOWN_IN_A_NOTEBOOK).savefig(file, format="png", dpi=72)
        return file.getvalue()


def _array(value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        # numpy has no bfloat16.
        value = value.float() if value.is_floating_point() else value
        return value.detach().cpu().numpy()
    return np.array(value)
