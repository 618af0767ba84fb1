"""Pictures side by side as a matplotlib figure: sized by their shape, titled within their width, with a
colour bar or a legend.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import torch.nn.functional as F

from lightning_cam.typing import Boxes, ColorTable, Mask, Picture
from lightning_cam.visualization.letters import families

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


LONGER_SIDE = {
    1: 3.4,
    2: 2.8,
    4: 2.3,
    10**9: 1.9,
}  # of a picture, in inches, by how many images there are at most
NARROWEST, LOWEST = 1.9, 1.0  # a column and a picture's row, in inches
GAP, MARGIN = 0.12, 0.08  # between pictures, and at the edge, in inches
BAR, BAR_AND_WORDS, HIGHEST_BAR = (
    0.13,
    0.85,
    3.0,
)  # the colour bar: its width, with its words, and its height, in inches
LEGEND = 0.65  # the legend of parts: its height, in inches
TITLE, SMALL, LINE = 9, 8, 1.35  # sizes of letters in points, and a line's height as a multiple of it
HINTING = 0.95  # letters on a canvas are up to a twentieth wider than their outlines
OUTLINE = (
    ("black", 2.4),
    ("white", 1.0),
)  # colour, and thickness in points, of what is marked: seen on any ground
SMALL_PICTURE = 100  # pixels; pictures below are shown pixel by pixel


@dataclass(frozen=True)
class Panel:
    """A picture, what is written above it, and what is marked in it.

    Args:
        title: Paragraphs; each is wrapped to the picture's column, and shortened where ``lines`` do not hold
            it.
        outlined: Where the salient pixels are, to be outlined.
        boxes: To be drawn.
    """

    picture: Picture
    title: Sequence[str]
    outlined: Mask | None = None
    boxes: Boxes | None = None
    lines: int = 2


@dataclass(frozen=True)
class Key:
    """What the colours mean: a colormap and its label, or a legend of parts, and a line above it all."""

    colors: ColorTable
    label: str = "share of the map's maximum"
    headline: str = ""
    legend: Sequence[tuple[str, tuple[int, int, int]]] = field(default=())


def side_by_side(images: Sequence[Sequence[Panel]], key: Key) -> "Figure":
    """A figure in which each image's panels stand in a row, and several images beside each other where there
    are many.
    """
    from matplotlib.figure import Figure

    panels = len(images[0])
    height, width = images[0][0].picture.shape[:2]
    # Wide pictures are drawn larger, up to twice.
    longer = next(side for most, side in LONGER_SIDE.items() if len(images) <= most) * max(
        1.0, min(2.0, width / height / 1.5)
    )
    wide, high = longer * width / max(height, width), longer * height / max(height, width)
    column, room = max(wide, NARROWEST), max(high, LOWEST)
    titles = [[fitted(panel.title, column, TITLE, panel.lines) for panel in row] for row in images]
    above = _height(max((title for row in titles for title in row), key=_lines), TITLE)
    # As many images beside each other as make the figure about square.
    beside = max(1, min(len(images), round(math.sqrt(len(images) * (room + above) / (panels * column)))))
    rows = math.ceil(len(images) / beside)
    inner = beside * panels * (column + GAP) - GAP
    across = 2 * MARGIN + inner + (0 if key.legend else GAP + BAR_AND_WORDS)
    headline = fitted([key.headline], inner, TITLE) if key.headline else ""
    top, bottom = MARGIN + _height(headline, TITLE), MARGIN + (LEGEND if key.legend else 0)
    down = top + rows * (above + room + GAP) - GAP + bottom
    figure = Figure(figsize=(across, down))
    for place, (row, words) in enumerate(zip(images, titles, strict=True)):
        for i, (panel, title) in enumerate(zip(row, words, strict=True)):
            left = MARGIN + (place % beside * panels + i) * (column + GAP) + (column - wide) / 2
            lower = down - top - (place // beside + 1) * (above + room + GAP) + GAP + (room - high)
            _draw(figure.add_axes((left / across, lower / down, wide / across, high / down)), panel, title)
    if headline:
        x, y = (MARGIN + inner / 2) / across, 1 - MARGIN / down
        style = {"fontsize": TITLE, "linespacing": 1.2, "fontfamily": families(headline)}
        figure.suptitle(headline, x=x, y=y, parse_math=False, **style)
    if key.legend:
        _draw_legend(figure, key)
    else:
        _draw_bar(figure, key, (MARGIN + inner + GAP, bottom, down - bottom - top))
    return figure


def _draw_bar(figure: "Figure", key: Key, place: tuple[float, float, float]) -> None:
    """The colour bar at a place: left, bottom and height, in inches."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap

    left, bottom, room = place
    across, down = figure.get_size_inches()
    margin = 0.1  # above and below, for half a letter of the numbers
    high = min(HIGHEST_BAR, room - 2 * margin)
    axis = figure.add_axes((left / across, (bottom + (room - high) / 2) / down, BAR / across, high / down))
    bar = figure.colorbar(ScalarMappable(cmap=ListedColormap(key.colors.tolist())), cax=axis)
    bar.set_label(fitted([key.label], room, SMALL), fontsize=SMALL, linespacing=1.1)
    bar.ax.tick_params(labelsize=SMALL)


def _draw_legend(figure: "Figure", key: Key) -> None:
    from matplotlib.patches import Patch

    patches = [
        Patch(color=(red / 255, green / 255, blue / 255), label=name)
        for name, (red, green, blue) in key.legend
    ]
    rows = math.ceil(len(patches) / max(1, int(figure.get_figwidth() / 0.78)))
    title, columns = "the stronger, the more opaque", math.ceil(len(patches) / rows)
    small = {"fontsize": SMALL, "title_fontsize": SMALL, "columnspacing": 1.0, "handlelength": 1.5}
    figure.legend(handles=patches, loc="lower center", ncols=columns, title=title, **small)


def _draw(axis: "Axes", panel: Panel, title: str) -> None:
    from matplotlib.patches import Rectangle

    height, width = panel.picture.shape[:2]
    axis.imshow(
        panel.picture.numpy(),
        interpolation="nearest" if max(height, width) < SMALL_PICTURE else "antialiased",
    )
    axis.set_title(title, fontsize=TITLE, linespacing=1.2, parse_math=False, fontfamily=families(title))
    axis.set_axis_off()
    if panel.outlined is not None and panel.outlined.any():
        # One row and column of nothing around, so that what touches the edge is closed there.
        inside = F.pad(panel.outlined.float(), (1, 1, 1, 1)).numpy()
        for color, thickness in OUTLINE:
            axis.contour(
                range(-1, width + 1),
                range(-1, height + 1),
                inside,
                levels=[0.5],
                colors=color,
                linewidths=thickness,
            )
        axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    for x1, y1, x2, y2 in [] if panel.boxes is None else panel.boxes.tolist():
        for color, thickness in OUTLINE:
            corner = (x1 - 0.5, y1 - 0.5)
            axis.add_patch(
                Rectangle(
                    corner, x2 - x1, y2 - y1, fill=False, edgecolor=color, linewidth=thickness, linestyle="--"
                )
            )


def fitted(paragraphs: Sequence[str], room: float, size: float, lines: int = 2) -> str:
    """Paragraphs wrapped to ``room`` inches, of so many lines each at most; where one does not fit, "…" is
    its middle.
    """
    points = HINTING * 72 * room
    return "\n".join(
        line
        for paragraph in paragraphs
        for line in _wrapped(" ".join(paragraph.split()), points, size, lines)
    )


def _wrapped(text: str, room: float, size: float, most: int) -> list[str]:
    lines = [""]
    for word in re.split(" (?!%)", text):
        longer = f"{lines[-1]} {word}".strip()
        if len(lines) == most or not lines[-1] or _length(longer, size) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return [_shortened(line, room, size) for line in lines]


def _shortened(line: str, room: float, size: float) -> str:
    """The line, without as much of its middle as does not fit; the end often holds the number."""
    keep, shown = len(line), line
    while keep > 1 and _length(shown, size) > room:
        keep -= 1
        shown = f"{line[: -(-keep // 2)]}…{line[len(line) - keep // 2 :]}"
    return shown


def _lines(text: str) -> int:
    return text.count("\n") + 1 if text else 0


def _height(text: str, size: float) -> float:
    """How high a text is with the space below it, in inches."""
    return _lines(text) * LINE * size / 72 + (0.1 if text else 0)


@lru_cache(maxsize=10_000)
def _length(text: str, size: float) -> float:
    """How long a line is, in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    letters = FontProperties(family=families(text), size=size)
    return text_to_path.get_text_width_height_descent(text, letters, ismath=False)[0]
