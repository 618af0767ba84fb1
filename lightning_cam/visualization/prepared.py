"""Images as they are drawn: made once for a look, then covered by maps and outlined for each picture."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_cam.typing import Cams, Masks, PerImage, Rgb
from lightning_cam.visualization.blend import color_table, outlined, overlay_cams, two_colors
from lightning_cam.visualization.projection import flat_saliency, flatten_maps, tile
from lightning_cam.visualization.style import Style

CONTRAST = two_colors((0, 114, 178), (230, 159, 0))  # after Okabe and Ito: told apart by colour-blind readers
MASK_LINE, FOREGROUND_LINE = (255, 255, 255), (86, 180, 233)
GRID_TILES, STRIP_TILES = (112, 224), (80, 112)  # smallest and largest longer side, in pixels


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

    def under(self, cams: Cams, peaks: PerImage | None = None) -> Rgb:
        """The pictures under these maps, with the foreground's contour."""
        style, cams = self.style, cams.to(self.pictures.device)
        colors = color_table(style.colormap, self.pictures.device)
        over = overlay_cams(
            self.pictures, cams, self.sides, self.size, colors, style.opacity, peaks, style.signed
        )
        if style.foreground is None:
            return over
        return outlined(over, flat_saliency(cams, self.sides, self.size) >= style.foreground, FOREGROUND_LINE)

    def opposed(self, cams: Cams, peaks: PerImage | None = None) -> Rgb:
        """Signed maps over the pictures in grey: their colours are those of two classes."""
        grey = self.pictures.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
        colors = CONTRAST.to(grey.device)
        return overlay_cams(grey, cams, self.sides, self.size, colors, 0.5, peaks, signed=True)

    def around(self, masks: Masks | None, *pictures: Rgb) -> list[Rgb]:
        """The pictures, with lines around what is inside the masks."""
        if masks is None:
            return list(pictures)
        inside = flatten_maps(masks[:, None].to(self.pictures), self.sides, self.size)[:, 0] > 0.5
        return [outlined(picture, inside, MASK_LINE) for picture in pictures]


def to_tiles(*pictures: Tensor) -> list[Tensor]:
    """Tiles of each batch of pictures, copied to the host once."""
    return list(tile(torch.cat(pictures)).cpu().split([len(some) for some in pictures]))
