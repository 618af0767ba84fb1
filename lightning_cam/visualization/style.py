"""How pictures are drawn: what a user may choose of it."""

from dataclasses import dataclass

from lightning_cam.checks import check_opacity, check_whole
from lightning_cam.visualization.blend import COLORMAP, EVIDENCE, check_colormap, is_diverging


@dataclass(frozen=True)
class Style:
    """How maps are drawn: ``CAMMonitor(style=Style(shown=8, colormap="viridis"))``.

    A map whose maximum is below 10 % of that of the strongest map of its look says so, "weak: 3 %", and where
    the opacity follows the evidence it is drawn the fainter the weaker it is: by the square root of that
    share of a tenth. In the film strip and the animation the strongest map of the run counts.

    Args:
        shown: How many of the probe images are drawn, the first ones; statistics use all.
        colormap: Name of a matplotlib colormap, such as "turbo"; a diverging one, such as "RdBu_r", draws
            both signs of a map.
        opacity: Of the heatmap over the image. "evidence": it follows the map, from 0 where there is no
            evidence to 0.7 where there is most; "constant": 0.5 everywhere; a number in [0, 1]: so much
            everywhere.
        color_scale: "map": colours run to each map's own maximum; "run": to each image's maximum over all
            looks so far.
        foreground: Share of a map's maximum, in (0, 1], at which its contour is drawn over the image; None
            draws none.
        animation: Whether the looks are also shown one after another, at the end of the fit:
            ``cam/animation``. The report's "Play" does the same.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument's value is outside what is stated here.

    Example:
        >>> Style(shown=8, colormap="RdBu_r").signed
        True
    """

    shown: int = 16
    colormap: str = COLORMAP
    opacity: float | str = EVIDENCE
    color_scale: str = "map"
    foreground: float | None = None
    animation: bool = False

    def __post_init__(self) -> None:
        check_whole("shown", self.shown, 1)
        check_colormap(self.colormap)
        check_opacity(self.opacity)
        foreground = self.foreground
        if not isinstance(self.animation, bool):
            raise TypeError(f"animation: got {self.animation!r}; give True or False.")
        if self.color_scale not in ("map", "run"):
            raise ValueError(f"color_scale: got {self.color_scale!r}; give 'map' or 'run'.")
        is_number = isinstance(foreground, int | float) and not isinstance(foreground, bool)
        if not (foreground is None or (is_number and 0 < foreground <= 1)):
            raise ValueError(
                f"foreground: got {foreground!r}; give a share of the map's maximum in (0, 1], such as 0.5, "
                "or None."
            )

    @property
    def ends(self) -> tuple[str, str]:
        """What the two ends of the colour table stand for, in words."""
        most = "strongest in this image" + ("" if self.color_scale == "map" else " over the run")
        return ("against", f"for (ends: {most})") if self.signed else ("none", most)

    @property
    def signed(self) -> bool:
        """Whether maps are drawn with both signs."""
        return is_diverging(self.colormap)
