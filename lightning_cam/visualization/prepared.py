"""Images as they are drawn: made once, then covered by maps and outlined for each picture."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from lightning_cam.checks import Normalization
from lightning_cam.typing import Cams, Images, Masks, PerImage, Rgb, Shown
from lightning_cam.visualization.blend import (
    color_table,
    displayable,
    outlined,
    overlay_cams,
    paled,
    two_colors,
)
from lightning_cam.visualization.projection import (
    drawn_size,
    flat_saliency,
    flatten_maps,
    flatten_to_pictures,
    peaks_of,
    tile,
)
from lightning_cam.visualization.style import Style

CONTRAST = two_colors((0, 114, 178), (230, 159, 0))  # after Okabe and Ito: told apart by colour-blind readers
MASK_LINE, FOREGROUND_LINE = (255, 255, 255), (86, 180, 233)
GRID_TILES, STRIP_TILES = (128, 224), (64, 112)  # smallest and largest longer side, in pixels


@dataclass(frozen=True, eq=False)
class Displayed:
    """The probe's images as colours, at two sizes: made once, as they stay the same from look to look.

    Args:
        images: As the network saw them.
        shown: How many of them are drawn, the first ones.
        normalization: Mean and standard deviation to undo; None where they are not known.
    """

    images: Images
    shown: int
    normalization: Normalization | None = None

    @property
    def is_range_guessed(self) -> bool:
        """Whether the images' range had to be guessed."""
        return self._sizes[2]

    @property
    def large(self) -> Rgb:
        """The shown images, as large tiles."""
        return self._sizes[0]

    @property
    def small(self) -> Rgb:
        """The shown images, as small tiles."""
        return self._sizes[1]

    def means(self, groups: Sequence[Tensor]) -> Rgb:
        """The mean of each group of images, as small tiles; a group says which of all images are its own."""
        inside, _ = self._inside
        means = torch.stack([inside[own].mean(dim=0) for own in groups])
        return flatten_to_pictures(means, drawn_size(self.images, *STRIP_TILES))

    @property
    def _inside(self) -> tuple[Shown, bool]:
        # Stretched, where that must be, by the range of all images: each looks the same in every picture.
        return displayable(self.images, *(self.normalization or ((), ())))

    @cached_property
    def _sizes(self) -> tuple[Tensor, Tensor, bool]:
        inside, is_guessed = self._inside
        sizes = (drawn_size(self.images, *tiles) for tiles in (GRID_TILES, STRIP_TILES))
        large, small = (flatten_to_pictures(inside[: self.shown], size) for size in sizes)
        return large, small, is_guessed


@dataclass(frozen=True, eq=False)
class PreparedImages:
    """Images as they are drawn, on their device.

    Args:
        sides: Of the images.
        size: At which they are drawn.
    """

    pictures: Rgb
    sides: tuple[int, ...]
    size: tuple[int, ...]
    style: Style

    def of(self, rows: slice | Tensor) -> "PreparedImages":
        """Some of them."""
        return replace(self, pictures=self.pictures[rows])

    def under(self, cams: Cams, peaks: PerImage | None = None, strongest: float | None = None) -> Rgb:
        """The pictures under these maps, with the foreground's contour; in pale grey where a map is blank.

        Args:
            strongest: As ``overlay_cams`` has it.
        """
        style, cams = self.style, cams.to(self.pictures.device)
        colors = color_table(style.colormap, self.pictures.device)
        over = overlay_cams(
            self.pictures, cams, self.sides, self.size, colors, style.opacity, peaks, style.signed, strongest
        )
        is_blank = peaks_of(cams, style.signed) == 0
        over = torch.where(is_blank[:, None, None, None], paled(self.pictures), over)
        if style.foreground is None:
            return over
        return outlined(over, flat_saliency(cams, self.sides, self.size) >= style.foreground, FOREGROUND_LINE)

    def opposed(self, cams: Cams, peaks: PerImage | None = None) -> Rgb:
        """Signed maps over the pictures in grey: their colours are those of two classes."""
        grey = self.pictures.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
        colors = CONTRAST.to(grey.device)
        return overlay_cams(grey, cams, self.sides, self.size, colors, peaks=peaks, signed=True)

    def around(self, masks: Masks | None, *pictures: Rgb) -> list[Rgb]:
        """The pictures, with lines around what is inside the masks."""
        if masks is None:
            return list(pictures)
        inside = flatten_maps(masks[:, None].to(self.pictures), self.sides, self.size)[:, 0] > 0.5
        return [outlined(picture, inside, MASK_LINE) for picture in pictures]


def to_tiles(*pictures: Tensor) -> list[Tensor]:
    """Tiles of each batch of pictures, copied to the host once."""
    return list(tile(torch.cat(pictures)).cpu().split([len(some) for some in pictures]))
