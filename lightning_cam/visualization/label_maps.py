"""The overlay of several labels: each image beside the maps of the labels that it has, and of the likeliest
that it has not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from lightning_cam.visualization.canvas import (
    BLANK,
    FAINT,
    FOOT,
    FRAME,
    GAP,
    INK,
    LINE,
    MARGIN,
    NARROWEST,
    PAPER,
    TOP,
    WRONG,
    Draw,
    Key,
    answer_color,
    columns_for,
    draw_header,
    draw_key,
    draw_remark,
    draw_symbol,
    fit_text,
    image_of,
    least_width,
)
from lightning_cam.visualization.captions import percent_words, present_labels
from lightning_cam.visualization.letters import write
from lightning_cam.visualization.prepared import to_tiles
from lightning_cam.visualization.projection import peaks_of
from lightning_cam.visualization.scene import MapsOfLabels, Scene, legend_key

SMALL = 11  # letters below a tile
HEIGHT_OF_WORDS = 2 * (LINE - 3) + LINE + 8  # below the tiles of an image


@dataclass(frozen=True, eq=False)
class LabelTile:
    """One label's map over its image, and what is said of it.

    Args:
        share: The label's probability, in [0, 1].
        is_present: Whether the image has it.
        is_blank: Whether the map shows nothing.
    """

    tile: Tensor
    name: str
    share: float
    is_present: bool
    is_blank: bool = False

    @property
    def is_wrong(self) -> bool:
        """Whether the model says the opposite."""
        return (self.share > 0.5) != self.is_present

    @property
    def words(self) -> str:
        """The line below the name."""
        return f"{percent_words(self.share)} {'present' if self.is_present else 'absent'}"


@dataclass(frozen=True, eq=False)
class LabelCell:
    """One image, its labels' maps, and a line on all its labels.

    Args:
        right: Whether all labels that are known are answered rightly; None where none is known.
    """

    image: Tensor
    tiles: Sequence[LabelTile]
    right: bool | None
    words: str


def label_picture(cells: Sequence[LabelCell], header: tuple[str, str], key: Key) -> Image.Image:
    """Each image beside its labels' maps, in one frame; cells fill rows to a shape that suits a screen."""
    height, width = cells[0].image.shape[:2]
    most = 1 + max(len(cell.tiles) for cell in cells)
    size = (max(most * (width + FRAME) + FRAME, NARROWEST), height + 2 * FRAME + HEIGHT_OF_WORDS)
    columns = columns_for(len(cells), (size[0] + GAP, size[1] + GAP))
    rows = -(-len(cells) // columns)
    canvas_width = max(2 * MARGIN + columns * size[0] + (columns - 1) * GAP, least_width(header, key))
    picture = Image.new("RGB", (canvas_width, TOP + rows * (size[1] + GAP) + FOOT), PAPER)
    draw = ImageDraw.Draw(picture)
    draw_header(draw, header, canvas_width)
    for i, cell in enumerate(cells):
        x, y = MARGIN + i % columns * (size[0] + GAP), TOP + i // columns * (size[1] + GAP)
        across = (1 + len(cell.tiles)) * (width + FRAME) + FRAME
        draw.rectangle((x, y, x + across - 1, y + height + 2 * FRAME - 1), fill=answer_color(cell.right))
        below = y + height + 2 * FRAME + 2
        said = [
            ("image", "", FAINT),
            *((tile.name, tile.words, WRONG if tile.is_wrong else INK) for tile in cell.tiles),
        ]
        for place, picture_of, (name, words, color) in zip(
            range(most), [cell.image, *(tile.tile for tile in cell.tiles)], said, strict=False
        ):
            left = x + FRAME + place * (width + FRAME)
            picture.paste(image_of(picture_of), (left, y + FRAME))
            if place and cell.tiles[place - 1].is_blank:
                draw_remark(draw, (left, y + FRAME), BLANK)
            write(draw, (left, below), fit_text(name, width, SMALL), color, SMALL)
            write(draw, (left, below + LINE - 3), fit_text(words, width, SMALL), color, SMALL)
        last = below + 2 * (LINE - 3) + 2
        draw_symbol(draw, (x, last + 3), cell.right)
        write(draw, (x + 16, last), fit_text(cell.words, size[0] - 16), INK)
    draw_key(picture, key)
    return picture


def draw_label_maps(scene: Scene, label_maps: MapsOfLabels) -> Draw:
    """Draws each shown image beside the maps of the labels that it has, at most three, and of the likeliest
    that it has not. Each map is scaled by its own maximum.
    """
    shown, drawn = scene.shown, scene.strip
    labels, cams = (part[shown] for part in label_maps)
    strongest = max(peaks_of(own, scene.style.signed).max().item() for own in label_maps[1].unbind(dim=1))
    over = [drawn.under(cams[:, place], None, strongest) for place in range(labels.shape[1])]
    masks = None if scene.probe.masks is None else scene.probe.masks[shown]
    images, *maps = to_tiles(*drawn.around(masks, drawn.pictures, *over))
    blank = [(peaks_of(cams[:, place], scene.style.signed) == 0).tolist() for place in range(labels.shape[1])]
    shares = torch.sigmoid(scene.scores[shown]).tolist()
    cells = []
    for row, own in enumerate(labels.tolist()):
        tiles = [
            LabelTile(
                tile=maps[place][row],
                name=scene.name(label),
                share=shares[row][label],
                is_present=place < len(own) - 1,
                is_blank=blank[place][row],
            )
            for place, label in enumerate(own)
            if label >= 0
        ]
        cells.append(LabelCell(images[row], tiles, scene.right[row], _words(scene, row, tiles)))
    return partial(label_picture, cells, scene.header(scene.when), legend_key(scene.style, masks is not None))


def _words(scene: Scene, row: int, tiles: Sequence[LabelTile]) -> str:
    """How many labels of an image are answered rightly, and what the tiles do not show."""
    if scene.truth is None or scene.right[row] is None:
        return "no label is known"
    known = int((scene.truth[row] >= 0).sum())
    share = scene.row.share_right(scene.scores[row : row + 1], scene.truth[row : row + 1])
    present = len(present_labels(scene.truth, row))
    more = present - sum(tile.is_present for tile in tiles)
    further = ", none is present" if not present else f", {more} more present" if more else ""
    return f"{round(share.item() * known)} of {known} labels right{further}"


def maps_by_label(label_maps: MapsOfLabels) -> dict[int, tuple[list[int], Tensor]]:
    """Of each label that some image has and that has maps of its own: which images, and its maps."""
    labels, cams = label_maps
    found: dict[int, tuple[list[int], list[Tensor]]] = {}
    for row, own in enumerate(labels[:, :-1].tolist()):
        for place, label in enumerate(own):
            if label >= 0:
                rows, maps = found.setdefault(label, ([], []))
                rows.append(row)
                maps.append(cams[row, place])
    return {label: (rows, torch.stack(maps)) for label, (rows, maps) in found.items()}
