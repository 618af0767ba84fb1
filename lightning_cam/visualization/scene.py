"""``Scene``: what all pictures of a look are drawn from, and the words that they share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_cam.attribution.task import MULTICLASS, REGRESSION, TASKS, Task
from lightning_cam.checks import Normalization
from lightning_cam.data.history import History
from lightning_cam.data.probe import Probe
from lightning_cam.typing import Activations, Cams, Images, Labels, PerImage, Rgb, Scores, Truth
from lightning_cam.visualization.blend import PART_COLORS, WEAK, color_bar, color_table
from lightning_cam.visualization.canvas import Key
from lightning_cam.visualization.captions import is_right, percent_words, truth_words
from lightning_cam.visualization.letters import Color, drawable
from lightning_cam.visualization.prepared import (
    FOREGROUND_LINE,
    GRID_TILES,
    MASK_LINE,
    STRIP_TILES,
    Displayed,
    PreparedImages,
)
from lightning_cam.visualization.projection import MOST_ROWS, drawn_size, peaks_of
from lightning_cam.visualization.style import Style

DEFAULT = Style()
Header = tuple[str, str]
FirstMaps = Float[Tensor, "m *grid"]  # of the first m images
MapsOfLabels = tuple[Int[Tensor, "m places"], Float[Tensor, "m places *grid"]]


@dataclass(frozen=True, eq=False)
class Scene:
    """One look, as all pictures are drawn from it. Its tensors lie on the host: pictures are drawn while the
    training has the device.

    Args:
        probe: Labels, masks and class names of the images.
        images: The probe images as the network saw them, all of them.
        cams: Their raw maps.
        scores: What the model answered, before softmax and sigmoid; of a regression its output.
        reasons: Index into ``BLANK_REASONS`` of why a map shows nothing; 0 where it shows something.
        history: The looks so far, this one included where it is part of a fit.
        when: First line of a header: epoch and step.
        asked: Second line: method, layer and target.
        style: How to draw.
        normalization: Mean and standard deviation to undo; None where they are not known.
        target_classes: The class that each map explains; None where nobody knows.
        parts: Strengths in [0, 1], where the method finds parts that the images share.
        confusions: Of the first images, the maps of the predicted class, and of what speaks for the label
            rather than for the predicted class.
        task: A key of ``TASKS``: what scores and labels mean.
        label_maps: Of the first images, which of several labels have a map of their own, and these maps, as
            ``LabelMaps`` has them.
        in_fit: Whether the look is part of a fit, and so of the history.
        displayed: The images as colours, where they were made for an earlier look.
        is_last: Whether the fit is over. Then no look was made: this is the last one again, for pictures of
            all looks.

    Example:
        >>> import torch
        >>> images, cams = torch.rand(2, 3, 8, 8), torch.rand(2, 4, 4)
        >>> scene = Scene(
        ...     Probe(images),
        ...     images,
        ...     cams,
        ...     torch.rand(2, 5),
        ...     torch.tensor([0, 0]),
        ...     History(),
        ...     "epoch 0",
        ...     "gradcam",
        ... )
        >>> scene.is_range_guessed, scene.name(3), tuple(scene.grid.pictures.shape)
        (False, '3', (2, 3, 128, 128))
    """

    probe: Probe
    images: Images
    cams: Cams
    scores: Scores
    reasons: Labels
    history: History
    when: str
    asked: str
    style: Style = DEFAULT
    normalization: Normalization | None = None
    target_classes: Labels | None = None
    parts: Activations | None = None
    confusions: tuple[FirstMaps, FirstMaps] | None = None
    in_fit: bool = False
    is_last: bool = False
    displayed: Displayed | None = None
    task: str = MULTICLASS.name
    label_maps: MapsOfLabels | None = None

    @cached_property
    def grid(self) -> PreparedImages:
        """The shown images as large tiles."""
        return self._prepared(self._displayed.large, GRID_TILES)

    @cached_property
    def strip(self) -> PreparedImages:
        """The shown images as small tiles."""
        return self._prepared(self._displayed.small, STRIP_TILES)

    def means(self, groups: Sequence[Tensor]) -> PreparedImages:
        """The mean of each group of images as small tiles: of all images, also those that are not shown."""
        return self._prepared(self._displayed.means(groups), STRIP_TILES)

    @property
    def is_range_guessed(self) -> bool:
        """Whether the images' range had to be guessed, as their normalization is not known."""
        return self._displayed.is_range_guessed

    @property
    def shown(self) -> slice:
        """The images that are drawn."""
        return slice(0, min(self.style.shown, len(self.images)))

    @property
    def row(self) -> Task:
        """The row of the task."""
        return TASKS[self.task]

    @property
    def is_judged(self) -> bool:
        """Whether answers are classes, and so may be right or wrong; else they are numbers."""
        return self.row.shares(self.scores[:1]) is not None

    @cached_property
    def truth(self) -> Truth | None:
        """The labels on the host; None where nobody knows them, or the task has none."""
        labels = self.probe.labels
        if labels is None or not (self.row.right or self.task == REGRESSION.name):
            return None
        return labels.cpu() if self.row.has_classes and not self.row.several else labels.cpu().float()

    @cached_property
    def labels(self) -> list[int | None]:
        """The true class of each image; None where nobody knows, or where it is not one class."""
        is_one = self.truth is not None and self.row.has_classes and not self.row.several
        return self.truth.tolist() if is_one and self.truth is not None else [None] * len(self.images)

    @cached_property
    def right(self) -> list[bool | None]:
        """Whether each image is answered rightly; None where nobody knows."""
        return [is_right(share) for share in self.row.share_right(self.scores, self.truth).tolist()]

    def truth_of(self, row: int) -> str:
        """What is known of an image, in words; empty where nothing is."""
        return truth_words(self.truth, row, self.name)

    def has_labels(self, row: int) -> bool:
        """Whether an image has any of several labels."""
        return self.truth is not None and self.truth.ndim == 2 and bool((self.truth[row] > 0.5).any())

    @cached_property
    def predicted(self) -> list[int]:
        """The class that the model answered to each image; 0 for a regression."""
        return self.row.answers(self.scores)[0].tolist()

    def name(self, label: int) -> str:
        """What a class is called in a picture: its name, or its number where it has none, or one with letters
        that the font lacks.
        """
        name = self.probe.name(label)
        return name if drawable(name) else f"class {label}"

    def header(self, when: str, asked: str = "") -> Header:
        """Two lines for the head of a picture, with what is shown of volumes and signals."""
        return when, " · ".join(filter(None, (asked or self.asked, how_drawn(self.images))))

    def peaks(self, cams: Cams) -> PerImage | None:
        """Of the first images, whose maps ``cams`` are, the largest value there and over all looks, where
        that is the scale.
        """
        if self.style.color_scale == "map":
            return None
        own = (cams.abs() if self.style.signed else cams).nan_to_num().flatten(1).amax(dim=1)
        if not self.history.looks:
            return own
        return torch.maximum(own, self.history.peaks(self.style.signed)[: len(own)].to(own))

    @property
    def is_news(self) -> bool:
        """Whether a picture of all looks says something new: there are 1, 2, 4, 8, ... of them, or the fit is
        over and it was not drawn at the last one.
        """
        return is_power_of_two(len(self.history)) != self.is_last

    @cached_property
    def strongest(self) -> float:
        """The largest value of all maps of this look, in the method's unit."""
        return self._largest(self.cams)

    @cached_property
    def strongest_of_run(self) -> float:
        """The largest value of all maps of all looks so far, in the method's unit."""
        return max([self.strongest, *(self._largest(look.cams) for look in self.history.looks)])

    def weak(self, cams: Cams, strongest: float) -> list[str]:
        """Of the first images, whose maps ``cams`` are, what is to be said of those that are weak beside the
        strongest one; empty where a map is strong enough, or blank.
        """
        shares = (peaks_of(cams, self.style.signed) / strongest).tolist() if strongest else [0.0] * len(cams)
        return [f"weak: {weak_percent(share)}" if 0 < share < WEAK else "" for share in shares]

    def _largest(self, cams: Cams) -> float:
        return peaks_of(cams, self.style.signed).max().item()

    def at_the_end(self) -> "Scene":
        """The same once the fit is over."""
        return replace(self, is_last=True)

    @cached_property
    def _displayed(self) -> Displayed:
        return self.displayed or Displayed(self.images, self.shown.stop, self.normalization)

    def _prepared(self, pictures: Rgb, tiles: tuple[int, int]) -> PreparedImages:
        sides = tuple(self.images.shape[2:])
        return PreparedImages(pictures, sides, drawn_size(self.images, *tiles), self.style)


def is_power_of_two(count: int) -> bool:
    """Whether a number is 1, 2, 4, 8, ..."""
    return count > 0 and count & (count - 1) == 0


def how_drawn(images: Images) -> str:
    """What of volumes and signals is shown, in a few words; nothing of images."""
    channels = images.shape[1]
    if images.ndim == 5:
        return "slices through the middle of D, H and W, from the left"
    if images.ndim == 3 and channels > MOST_ROWS:
        return f"the first {MOST_ROWS} of {channels} channels, from the top"
    return "channels from the top" if images.ndim == 3 and channels > 1 else ""


def weak_percent(share: float) -> str:
    """A small share in percent, never "0 %"."""
    return percent_words(share) if share >= 0.005 else "<1 %"


def weak_note(strongest_of: str) -> str:
    """What "weak" means.

    Args:
        strongest_of: Beside which maps: "this look".
    """
    return f"weak: drawn fainter, below {percent_words(WEAK)} of the strongest map of {strongest_of}"


def part_legend(count: int) -> tuple[tuple[str, Color], ...]:
    """Name and colour of each part that is drawn."""
    return tuple((f"part {number}", color) for number, color in enumerate(PART_COLORS[:count], start=1))


def legend_key(
    style: Style, has_masks: bool, parts: Sequence[tuple[str, Color]] = (), is_judged: bool = True
) -> Key:
    """What stands at the foot of a picture in this style.

    Args:
        is_judged: Whether answers are right or wrong, as those of a regression are not.
    """
    lines = [("mask", MASK_LINE)] if has_masks else []
    if style.foreground is not None and not parts:
        lines.append((f"above {100 * style.foreground:.0f} % of the maximum", FOREGROUND_LINE))
    low, high = style.ends
    bar = color_bar(color_table(style.colormap), style.opacity, style.signed)
    return Key(bar, high, parts, lines, symbols=is_judged, low=low)
