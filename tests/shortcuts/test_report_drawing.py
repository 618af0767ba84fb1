"""What the picture of a finding shows: which images, with which answers, and how well each place tells what it is about."""

import numpy as np
import pytest
import torch
from support.planted import ReadsTheTag, tagged
from torch import Tensor, nn

from lightning_cam import Probe, find_shortcuts
from lightning_cam.shortcuts.predictivity import predictivity
from lightning_cam.shortcuts.report import ShortcutReport
from lightning_cam.visualization.blend import color_table
from lightning_cam.visualization.canvas import GAP, LINE, MARGIN, RIGHT, WRONG, wrap_text
from lightning_cam.visualization.projection import tile_size
from lightning_cam.visualization.shortcut import CELL, COLUMNS, FRAME, HEAD, MOST_LINES, SIDE, WIDTH

NORMALIZATION = (0.5,) * 3, (4.0,) * 3


class ReadsTwoTags(nn.Module):
    """Whether the first label is there stands in the top left corner, the second in the bottom right one."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(3, 3, 1, bias=False)
        self.same.weight = nn.Parameter(torch.eye(3)[:, :, None, None])

    def forward(self, images: Tensor) -> Tensor:
        seen = self.same(images).mean(dim=1)
        corners = torch.stack([seen[:, :4, :4], seen[:, -4:, -4:]], dim=1)
        return 10 * corners.mean(dim=(2, 3)) - 5


class ReadsOneTag(ReadsTwoTags):
    """Class 3 where the top right corner is bright, else how red the middle is."""

    def forward(self, images: Tensor) -> Tensor:
        seen = self.same(images)
        level = (seen[:, 0, 12:20, 12:20].mean(dim=(1, 2)) - 0.25) / 0.1
        tag = 40 * (seen[:, :, :8, 24:].mean(dim=(1, 2, 3)) - 0.5)
        return torch.where(torch.arange(5) == 3, tag[:, None], -((level[:, None] - torch.arange(5.0)) ** 2))


def noise(count: int) -> Tensor:
    return 0.2 * torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def planted() -> tuple[ShortcutReport, Tensor]:
    images, labels = tagged(36).tensors
    found = find_shortcuts(ReadsTheTag(), Probe(images, labels, class_names=("red", "green", "blue")))
    return found, images


def test_each_row_shows_the_control_beside_the_swap(planted: tuple[ShortcutReport, Tensor]) -> None:
    report, _ = planted
    finding = next(finding for finding in report.findings if finding.cue == "cell_0_0")
    pixels = np.asarray(report.picture(finding, "epoch 1", NORMALIZATION))
    top = MARGIN + (1 + len(wrap_text(finding.statement, WIDTH, MOST_LINES))) * LINE + 18 + HEAD
    side = tile_size(16, 16, SIDE, SIDE)[0]
    tags = []
    for row in range(4):
        y = top + row * (side + 2 * FRAME + LINE + 14)
        frames = [tuple(map(int, pixels[y + side // 2, MARGIN + x + 2])) for x in COLUMNS]
        assert frames[1] == RIGHT, "with the cue of its own class it is answered rightly"
        assert frames[3] == WRONG
        # The bright channel of the tag is the class.
        inner = [
            pixels[y + FRAME : y + FRAME + side // 8, MARGIN + x + FRAME :][:, : side // 8] for x in COLUMNS
        ]
        image, own, other, with_other = (int(part.mean(axis=(0, 1)).argmax()) for part in inner)
        assert image == own != other == with_other
        tags.append(other)
    assert len(set(tags)) == 3, "classes take turns"


def test_of_several_labels_the_places_tell_the_one_that_is_meant() -> None:
    labels = torch.rand(80, 2, generator=torch.Generator().manual_seed(2)).gt(0.5).float()
    images = noise(80)
    images[:, :, :4, :4] += labels[:, :1, None, None]
    images[:, :, -4:, -4:] += labels[:, 1:, None, None]
    report = find_shortcuts(ReadsTwoTags(), Probe(images, labels), cues=["cell"], task="multilabel")
    found = {(result.cue, result.label): result for result in report.results}
    first, second = (np.array(report.cells_of(found[key])) for key in (("cell_0_0", 0), ("cell_3_3", 1)))
    assert first[0, 0] > 0.9 > 0.5 > first[3, 3]
    assert second[3, 3] > 0.9 > 0.5 > second[0, 0]


def test_of_one_class_the_places_tell_that_class() -> None:
    labels = torch.arange(200) % 5
    images = 0.5 * torch.rand(200, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    images[:, 0, 12:20, 12:20] += 0.1 * labels[:, None, None]
    images[labels == 3, :, :8, 24:] = 0.9
    probe = Probe(images[:100], labels[:100])
    report = find_shortcuts(ReadsOneTag(), probe, data=[(images, labels)])
    result = next(one for one in report.results if one.cue == "cell_0_3" and one.is_one_class)
    cells = np.array(report.cells_of(result))
    told = predictivity(images, labels)["cell_0_3"]
    assert cells[0, 3] == pytest.approx(float(told.f1[3]))
    assert cells[0, 3] > 0.9 > told.kappa + 0.2, "of all classes it tells little"
    finding = next(finding for finding in report.findings if finding.key == result.key)
    pixels = np.asarray(report.picture(finding, "now", None))
    top = (
        pixels.shape[0] - MARGIN - 2 * LINE - GAP - 2 - 4 * CELL
    )  # of the map, above its legend and the last line
    drawn = pixels[top + 4, MARGIN + 3 * CELL + 4]
    brightest = 255 * color_table("inferno").numpy()[round(255 * cells[0, 3])]
    assert np.abs(drawn - brightest).max() <= 1


def test_without_cells_there_is_no_map() -> None:
    images, labels = tagged(36).tensors
    report = find_shortcuts(ReadsTheTag(), Probe(images, labels), cues=["border_8"])
    assert report.cells_of(report.results[0]) is None
