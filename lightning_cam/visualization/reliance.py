"""What the accuracy rests on: the reliance on each cue that was tested, look by look over a run."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from PIL import Image, ImageDraw

from lightning_cam.visualization.canvas import (
    FAINT,
    INK,
    LINE,
    MARGIN,
    PAPER,
    DrawOne,
    fit_text,
    wrap_text,
)
from lightning_cam.visualization.letters import Color, drawable, text_width, write

MOST_LINES = 6
# After Okabe and Ito: told apart by colour-blind readers.
COLORS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233))
BAND, GRID = (240, 240, 240), (214, 214, 214)
WIDTH = 824
LEFT, TOP = MARGIN + 34, MARGIN + 3 * LINE + 26  # of the plot
PLOT = 460, 300  # its width and height
LABELS = LEFT + PLOT[0] + 44  # where the words at the lines' ends begin
FOOT = 2 * LINE + 8  # below the plot: epochs, and what is thick
BETWEEN_LABELS = 2 * LINE + 4
SMOOTH = 3  # lines are drawn so many times larger
STEP = 0.2  # between two lines of the grid
TITLE = "What the accuracy rests on"
MEANING = (
    "points of accuracy lost when a cue comes from an image of another class rather than of its own",
    "predictivity: how well the label is told from the cue alone, without the model; 0 chance, 1 always",
)


@dataclass(frozen=True)
class Curve:
    """One cue's line.

    Args:
        name: The cue in words.
        predictivity: In [-1, 1]; NaN where nobody knows.
        points: Look and reliance, where it was tested.
    """

    name: str
    predictivity: float
    points: tuple[tuple[int, float], ...]
    is_finding: bool
    color: Color

    @property
    def drawn(self) -> Color:
        """Findings in their own colour, others paler."""
        return (
            self.color
            if self.is_finding
            else (_paler(self.color[0]), _paler(self.color[1]), _paler(self.color[2]))
        )


def draw_reliance(
    reliances: Sequence[tuple[int, Mapping[str, float]]],
    predictivities: Mapping[str, float],
    meanings: Mapping[str, str],
    findings: Collection[str] = (),
    *,
    least: float = STEP,
    when: str = "",
) -> DrawOne:
    """Draws a line for each cue that was tested, over the looks of a run: at most six, findings first, then
    those that most was relied on. A line has a gap where its cue was not tested.

    Args:
        reliances: For each look with tests, in their order, its epoch, -1 before training, and by tested
            cue the accuracy lost, in [-1, 1].
        predictivities: By cue, Cohen's kappa with which it tells the label, no model asked, in [-1, 1]; also
            of cues that were not tested.
        meanings: By cue, what it is called; a cue that is missing keeps its key.
        findings: Cues that are findings now; they are drawn strong.
        least: The least reliance that can be a finding, in [0, 1]: up to there the ground is grey.
        when: Of the last look, "epoch 4".

    Example:
        >>> looks = [(0, {"border_8": 0.1}), (1, {"border_8": 0.4})]
        >>> draw = draw_reliance(looks, {"border_8": 0.97}, {"border_8": "the border"}, ["border_8"])
        >>> draw().width
        824
    """
    kept = [(epoch, dict(by_cue)) for epoch, by_cue in reliances]
    named = {
        cue: meanings[cue] if drawable(meanings.get(cue, "")) and cue in meanings else cue
        for cue in {**predictivities, **{cue: 0.0 for _, by_cue in kept for cue in by_cue}}
    }
    curves, more = _curves(kept, predictivities, named, frozenset(findings))
    return partial(
        _sheet, curves, more, [epoch for epoch, _ in kept], _nothing(predictivities, named), least, when
    )


def _curves(
    reliances: Sequence[tuple[int, Mapping[str, float]]],
    predictivities: Mapping[str, float],
    named: Mapping[str, str],
    findings: Collection[str],
) -> tuple[list[Curve], int]:
    """The strongest cues, in the order in which they were first tested, and how many more there are."""
    points: dict[str, list[tuple[int, float]]] = {}
    for look, (_, by_cue) in enumerate(reliances):
        for cue, value in by_cue.items():
            if math.isfinite(value):
                points.setdefault(cue, []).append((look, value))
    ranked = sorted(points, key=lambda cue: (cue not in findings, -max(value for _, value in points[cue])))
    shown = [cue for cue in points if cue in ranked[:MOST_LINES]]
    curves = [
        Curve(named[cue], predictivities.get(cue, math.nan), tuple(points[cue]), cue in findings, color)
        for cue, color in zip(shown, COLORS, strict=False)
    ]
    return curves, len(points) - len(shown)


def _nothing(predictivities: Mapping[str, float], named: Mapping[str, str]) -> str:
    """What is said where no cue was tested."""
    if not predictivities:
        return "Not tested: how well the label can be told from a cue alone was not measured."
    best = max(predictivities, key=lambda cue: predictivities[cue])
    return (
        "No cue alone tells the label well enough: nothing to test. "
        f"The most predictive one is {named[best]} ({predictivities[best]:.2f}; 0 chance, 1 always)."
    )


def _sheet(
    curves: Sequence[Curve], more: int, epochs: Sequence[int], nothing: str, least: float, when: str
) -> Image.Image:
    height = TOP + PLOT[1] + FOOT + MARGIN if curves else MARGIN + 5 * LINE + MARGIN
    sheet = Image.new("RGB", (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    title = f"{TITLE} · {when}" if when else TITLE
    write(draw, (MARGIN, MARGIN - 2), fit_text(title, WIDTH - 2 * MARGIN, 16, bold=True), INK, 16, bold=True)
    if not curves:
        for number, line in enumerate(wrap_text(nothing, WIDTH - 2 * MARGIN, 3), start=1):
            write(draw, (MARGIN, MARGIN + number * LINE + 8), line, INK)
        return sheet
    for number, line in enumerate(MEANING, start=1):
        write(draw, (MARGIN, MARGIN + number * LINE + 4), line, FAINT, 12)
    plot = Plot(epochs, curves)
    plot.ground(sheet, least)
    plot.lines(sheet, curves)
    _labels(sheet, plot, curves)
    foot = "thick: findings" if any(curve.is_finding for curve in curves) else "no findings"
    rest = f" · {more} more cue{'s' if more > 1 else ''} tested, with less reliance" if more else ""
    write(draw, (LEFT, TOP + PLOT[1] + LINE + 8), f"{foot}{rest}", FAINT, 11)
    return sheet


class Plot:
    """Places of looks and of points of accuracy.

    Args:
        epochs: Of each look; where several have one epoch, looks stand at equal distances.
    """

    def __init__(self, epochs: Sequence[int], curves: Sequence[Curve]) -> None:
        rising = all(first < second for first, second in pairwise(epochs))
        self._epochs = epochs
        self._at = list(epochs) if rising else list(range(len(epochs)))
        lowest = min(value for curve in curves for _, value in curve.points)
        # A loss that is a little below 0 needs no axis of its own.
        self.low = 0.0 if lowest > -STEP / 4 else STEP * math.floor(lowest / STEP)

    def x(self, look: int) -> float:
        """In pixels; a single look stands in the middle."""
        first, last = self._at[0], self._at[-1]
        share = 0.5 if first == last else (self._at[look] - first) / (last - first)
        return LEFT + 10 + share * (PLOT[0] - 20)

    def y(self, points: float) -> float:
        """In pixels; ``points`` is a share in [-1, 1]."""
        return TOP + (1.0 - points) / (1.0 - self.low) * PLOT[1]

    def when(self, look: int) -> str:
        """When a cue was last tested, where that is not the last look."""
        if look == len(self._epochs) - 1:
            return ""
        return f" at epoch {self._epochs[look]}" if self._epochs[look] >= 0 else " untrained"

    def ground(self, sheet: Image.Image, least: float) -> None:
        """The band, the grid, and the numbers of both axes."""
        draw = ImageDraw.Draw(sheet)
        right = LEFT + PLOT[0]
        draw.rectangle((LEFT, round(self.y(least)), right, round(self.y(0.0))), fill=BAND)
        for i in range(round(self.low / STEP), round(1 / STEP) + 1):
            y = round(self.y(i * STEP))
            draw.line((LEFT, y, right, y), fill=FAINT if i == 0 else GRID)
            words = str(round(100 * i * STEP)).replace("-", "−")
            write(draw, (LEFT - 6, y), words, FAINT, 11, anchor="rm")
        if least > 0:
            words = "too little for a finding"
            write(draw, (right - 4, round(self.y(least)) + 2), words, FAINT, 11, anchor="ra")
        free = -math.inf
        for look, epoch in enumerate(self._epochs):
            words = (
                "untrained"
                if epoch < 0
                else f"epoch {epoch}"
                if free < 0 or len(self._epochs) == 1
                else str(epoch)
            )
            x, half = self.x(look), text_width(words, 11) / 2
            if (look == 0 or epoch != self._epochs[look - 1]) and x - half > free:
                write(draw, (x, TOP + PLOT[1] + 5), words, FAINT, 11, anchor="ma")
                free = x + half + 10

    def lines(self, sheet: Image.Image, curves: Sequence[Curve]) -> None:
        """Each from look to look, others below findings."""
        large = sheet.resize((SMOOTH * sheet.width, SMOOTH * sheet.height), Image.Resampling.NEAREST)
        draw = ImageDraw.Draw(large)
        for curve in sorted(curves, key=lambda curve: curve.is_finding):
            thick = (4 if curve.is_finding else 2) * SMOOTH
            places = [(look, SMOOTH * self.x(look), SMOOTH * self.y(value)) for look, value in curve.points]
            for (look, *start), (following, *end) in pairwise(places):
                if following == look + 1:
                    draw.line((*start, *end), fill=curve.drawn, width=thick)
            for _, x, y in places:
                draw.ellipse((x - thick, y - thick, x + thick, y + thick), fill=curve.drawn)
        sheet.paste(large.reduce(SMOOTH))


def _labels(sheet: Image.Image, plot: Plot, curves: Sequence[Curve]) -> None:
    """At the lines' ends, the uppermost first; a thin line leads to each."""
    draw = ImageDraw.Draw(sheet)
    ranked = sorted(curves, key=lambda curve: plot.y(curve.points[-1][1]))
    places: list[float] = []
    for number, curve in enumerate(ranked):
        wished = plot.y(curve.points[-1][1]) - LINE
        least = places[-1] + BETWEEN_LABELS if places else TOP - LINE
        most = TOP + PLOT[1] + LINE - (len(ranked) - number) * BETWEEN_LABELS
        places.append(max(least, min(wished, most)))
    room = WIDTH - MARGIN - LABELS
    for curve, y in zip(ranked, places, strict=True):
        look, value = curve.points[-1]
        start = plot.x(look) + 8, plot.y(value)
        draw.line((*start, LABELS - 10, y + LINE), fill=curve.drawn)
        draw.rectangle((LABELS - 10, y + 2, LABELS - 7, y + 2 * LINE - 2), fill=curve.drawn)
        name = fit_text(curve.name, room, 13, bold=curve.is_finding)
        write(draw, (LABELS, y), name, INK, 13, bold=curve.is_finding)
        told = f" · predictivity {curve.predictivity:.2f}" if math.isfinite(curve.predictivity) else ""
        points = f"{round(100 * value)} points{plot.when(look)}".replace("-", "−")
        write(draw, (LABELS, y + LINE - 1), fit_text(f"{points}{told}", room, 11), FAINT, 11)


def _paler(channel: int) -> int:
    return channel + round(0.45 * (255 - channel))
