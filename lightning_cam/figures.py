"""Pictures side by side as a matplotlib figure: sized by their shape, titled within their width, with a colour bar or a legend."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import torch.nn.functional as F

from lightning_cam.typing import Boxes, Mask, Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LONGER_SIDE = {1: 3.4, 2: 2.8, 4: 2.3, 10**9: 1.9}  # of a picture, in inches, by how many images there are at most
NARROWEST, BETWEEN, BAR = 1.9, 0.12, 0.9  # of a column, between two columns, of the colour bar with its words; in inches
TITLE, SMALL, LINE = 9, 8, 1.35  # sizes of letters in points, and a line's height as a multiple of it
MOST_LINES = 2  # that a paragraph of a title may take
OUTLINE = (("black", 2.4), ("white", 1.0))  # colour, and thickness in points, of what is marked: seen on any ground
SMALL_PICTURE = 100  # pixels; pictures below are shown pixel by pixel


@dataclass(frozen=True)
class Panel:
    """A picture, what is written above it, and what is marked in it.

    Args:
        title: Paragraphs; each is wrapped to the picture's column, and shortened where two lines do not hold it.
        outlined: Where the salient pixels are, to be outlined.
        boxes: To be drawn.
    """

    picture: Picture
    title: Sequence[str]
    outlined: Mask | None = None
    boxes: Boxes | None = None


@dataclass(frozen=True)
class Key:
    """What the colours mean: a colormap and its label, or a legend of parts, and a line above it all."""

    colormap: str
    label: str = "share of the map's maximum"
    headline: str = ""
    legend: Sequence[tuple[str, tuple[int, int, int]]] = field(default=())


def side_by_side(images: Sequence[Sequence[Panel]], key: Key) -> "Figure":
    """A figure in which each image's panels stand in a row, and several images beside each other where there are many."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    panels = len(images[0])
    height, width = images[0][0].picture.shape[:2]
    longer = next(side for most, side in LONGER_SIDE.items() if len(images) <= most) * max(1.0, min(2.0, width / height / 1.5))
    wide, high = longer * width / max(height, width), longer * height / max(height, width)
    column = max(wide, NARROWEST)
    titles = [[fitted(panel.title, 72 * column) for panel in row] for row in images]
    above = LINE * TITLE / 72 * (max(title.count("\n") for row in titles for title in row) + 2)
    # As many images beside each other as make the figure about square.
    beside = max(1, min(len(images), round(math.sqrt(len(images) * (high + above) / (panels * column)))))
    rows = math.ceil(len(images) / beside)
    figure = Figure(figsize=(beside * panels * (column + BETWEEN) + BAR, rows * (high + above) + 0.3))
    figure.set_layout_engine("constrained", w_pad=BETWEEN / 2, h_pad=0.04)
    axes = figure.subplots(rows, beside * panels, squeeze=False).flatten().tolist()
    used = [(panel, title) for row, words in zip(images, titles, strict=True) for panel, title in zip(row, words, strict=True)]
    for axis in axes[len(used) :]:
        axis.remove()
    for axis, (panel, title) in zip(axes, used, strict=False):
        _draw(axis, panel, title)
    if key.headline:
        figure.suptitle(fitted([key.headline], 72 * (figure.get_figwidth() - 0.2)), fontsize=TITLE, parse_math=False)
    if key.legend:
        patches = [Patch(color=(red / 255, green / 255, blue / 255), label=name) for name, (red, green, blue) in key.legend]
        title = "the stronger, the more opaque"
        figure.legend(handles=patches, loc="outside lower center", ncols=7, title=title, fontsize=TITLE, title_fontsize=TITLE)
        return figure
    bar = figure.colorbar(ScalarMappable(cmap=key.colormap), ax=axes[: len(used)], shrink=0.8, fraction=0.05, aspect=25)
    bar.set_label(key.label, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    return figure


def _draw(axis: "Axes", panel: Panel, title: str) -> None:
    from matplotlib.patches import Rectangle

    height, width = panel.picture.shape[:2]
    axis.imshow(panel.picture.numpy(), interpolation="nearest" if max(height, width) < SMALL_PICTURE else "antialiased")
    axis.set_title(title, fontsize=TITLE, linespacing=1.2, parse_math=False)
    axis.set_axis_off()
    if panel.outlined is not None and panel.outlined.any():
        # One row and column of nothing around, so that what touches the edge is closed there.
        inside = F.pad(panel.outlined.float(), (1, 1, 1, 1)).numpy()
        for color, thickness in OUTLINE:
            axis.contour(range(-1, width + 1), range(-1, height + 1), inside, levels=[0.5], colors=color, linewidths=thickness)
        axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    for x1, y1, x2, y2 in [] if panel.boxes is None else panel.boxes.tolist():
        for color, thickness in OUTLINE:
            corner = (x1 - 0.5, y1 - 0.5)
            axis.add_patch(Rectangle(corner, x2 - x1, y2 - y1, fill=False, edgecolor=color, linewidth=thickness, linestyle="--"))


def fitted(paragraphs: Sequence[str], room: float, size: float = TITLE) -> str:
    """Paragraphs wrapped to ``room`` points, two lines each at most; what does not fit loses its middle, which "…" says."""
    return "\n".join(line for paragraph in paragraphs for line in _wrapped(" ".join(paragraph.split()), room, size))


def _wrapped(text: str, room: float, size: float) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if not lines[-1] or _length(longer, size) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], " ".join(lines[MOST_LINES - 1 :])]
    return [_shortened(line, room, size) for line in lines]


def _shortened(line: str, room: float, size: float) -> str:
    """The line, without as much of its middle as does not fit; the end often holds the number."""
    keep, shown = len(line), line
    while keep > 1 and _length(shown, size) > room:
        keep -= 1
        shown = f"{line[: -(-keep // 2)]}…{line[len(line) - keep // 2 :]}"
    return shown


@lru_cache(maxsize=10_000)
def _length(text: str, size: float) -> float:
    """How long a line is, in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    return text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)[0]
