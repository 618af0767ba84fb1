"""Which images carry a cue: the table, its groups, and accuracy where the data contradict the cue."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.findings import finding
from torch import Tensor

from lightning_cam.shortcuts.cue_images import COLUMNS, CueImages, conflicts, cue_images
from lightning_cam.shortcuts.cues import CUES

CORNER = CUES["cell_0_0"]


def tagged(count: int = 300, against: int = 20) -> tuple[Tensor, Tensor, Tensor]:
    """Images of three classes with a corner that tells it, but in the last ``against``, where it tells the next one."""
    images = torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(count) % 3
    tags = torch.where(torch.arange(count) < count - against, labels, (labels + 1) % 3)
    images[:, :, :4, :4] = tags[:, None, None, None] / 2.0
    return images, labels, tags


def batches(images: Tensor, labels: Tensor, size: int = 64) -> list[tuple[Tensor, Tensor]]:
    return list(zip(images.split(size), labels.split(size), strict=True))


def test_says_what_the_corner_says() -> None:
    images, labels, tags = tagged()
    found = cue_images(CORNER, batches(images, labels), class_names=("a", "b", "c"))
    assert torch.equal(found.says, tags)
    assert torch.equal(found.carries, tags == labels)
    assert torch.equal(found.margin > 0, tags == labels)
    assert torch.equal(found.groups, 2 * labels + (tags != labels))
    assert found.counts()["a, carries"] == int(((tags == 0) & (labels == 0)).sum())
    assert sum(found.counts().values()) == 300
    assert repr(found) == "CueImages(300 images: 280 carry the cue, 20 contradict it)"


def test_a_finding_knows_its_cue_and_its_label() -> None:
    images, labels, tags = tagged()
    several = torch.nn.functional.one_hot(labels, 3).float()
    several[0] = torch.nan
    own = finding("cell_0_0", label=2, of="c").images(batches(images, several), class_names=("no", "yes"))
    assert torch.equal(own.says[1:], (tags == 2).long()[1:])
    assert (own.labels[0], own.groups[0]) == (-1, -1)
    assert "not known" not in own.counts()
    assert repr(own).startswith("CueImages(299 images: ")
    assert torch.equal(finding("cell_0_0").images(batches(images, labels)).says, tags)


def test_masks_are_read_where_a_cue_needs_them() -> None:
    images, labels, _ = tagged(against=0)
    masks = torch.zeros(300, 16, 16, dtype=torch.bool)
    masks[:, 8:, 8:] = True
    given = [
        (one, own, mask) for (one, own), mask in zip(batches(images, labels), masks.split(64), strict=True)
    ]
    found = cue_images(CUES["background"], given)
    assert found.carries.float().mean() > 0.95
    with pytest.raises(ValueError, match=r"cannot be measured .* without masks"):
        cue_images(CUES["background"], batches(images, labels))


def test_the_table_is_read_again(tmp_path: Path) -> None:
    images, labels, _ = tagged(60, 6)
    found = cue_images(CORNER, batches(images, labels), class_names=("a", "b", "c"))
    path = found.save(tmp_path / "groups.csv")
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [int(row["index"]) for row in rows] == list(range(60))
    for name, column in (("label", found.labels), ("says", found.says), ("group", found.groups)):
        assert [int(row[name]) for row in rows] == column.tolist()
    assert {row["group_name"] for row in rows[-6:]} == {"a, contradicts", "b, contradicts", "c, contradicts"}
    with pytest.raises(ValueError, match=r"path: got .*groups.txt'; give a name that ends with '.csv'"):
        found.save(tmp_path / "groups.txt")
    count = len(found.labels)
    with found.save(path, files=[f"{i}.png" for i in range(count)]).open(newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == [f"{i}.png" for i in range(count)]
    with pytest.raises(ValueError, match=rf"files: got 1 for {count} images; give one for each"):
        found.save(path, files=["0.png"])


def test_more_images_than_the_classifier_is_fitted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels, tags = tagged()
    monkeypatch.setattr("lightning_cam.shortcuts.cue_images.FIT", 100)
    assert torch.equal(cue_images(CORNER, batches(images, labels)).says, tags)


def test_images_that_are_no_numbers_are_not_fitted() -> None:
    images, labels, tags = tagged()
    images[5] = torch.nan
    found = cue_images(CORNER, batches(images, labels))
    assert torch.equal(found.says[6:], tags[6:])
    assert len(found.says) == 300


def test_accuracy_where_the_cue_says_another_label() -> None:
    labels, says = torch.tensor([0, 0, 1, 1, -1, 1]), torch.tensor([0, 1, 1, 0, 0, 1])
    found = conflicts(CueImages(labels, says, torch.zeros(6)), torch.tensor([0, 1, 1, 1, 0, 0]))
    assert found is not None
    assert (found.accuracy, found.images) == (0.5, 2)
    assert (found.accuracy_elsewhere, found.images_elsewhere) == (pytest.approx(2 / 3), 3)
    assert conflicts(CueImages(labels[:1], says[:1], torch.zeros(1)), labels[:1]) is None


def without_labels(images: Tensor, labels: Tensor) -> Any:
    return [(images,)]


def several(images: Tensor, labels: Tensor) -> Any:
    return [(images, torch.nn.functional.one_hot(labels, 3).float())]


def one_label(images: Tensor, labels: Tensor) -> Any:
    return [(images, torch.zeros_like(labels))]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda images, labels: [], "loader: it gave no batch"),
        (without_labels, "have no labels; give"),
        (several, r"labels \(60, 3\) are no classes"),
        (one_label, "all images have one label; give images of two"),
        (lambda images, labels: [(images[:, :, :4, :4], labels)], "cannot be measured on images"),
    ],
)
def test_errors_name_the_loader_and_the_remedy(given: Callable[[Tensor, Tensor], Any], message: str) -> None:
    images, labels, _ = tagged(60)
    with pytest.raises(ValueError, match=message):
        cue_images(CORNER, given(images, labels))
