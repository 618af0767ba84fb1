"""Files of any kind become the same picture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_cam.command.images import opened


@pytest.fixture
def photo() -> Image.Image:
    y, x = np.mgrid[:40, :60]
    return Image.fromarray(np.stack([4 * x, 6 * y, 2 * (x + y)], axis=2).astype(np.uint8))


@pytest.mark.parametrize("kind", ["grey", "16 bits", "transparent", "palette", "turned", "cmyk"])
def test_images_of_any_kind(kind: str, photo: Image.Image, tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    image, ending, options = {
        "grey": (photo.convert("L"), "png", {}),
        "16 bits": (Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257), "png", {}),
        "transparent": (Image.merge("RGBA", (*photo.split(), Image.new("L", photo.size, 255))), "png", {}),
        "palette": (photo.quantize(256), "png", {}),
        "turned": (photo.transpose(Image.Transpose.ROTATE_90), "png", {"exif": turned}),
        "cmyk": (photo.convert("CMYK"), "tif", {}),
    }[kind]
    image.save(tmp_path / f"kind.{ending}", **options)
    found = opened(tmp_path / f"kind.{ending}")
    wanted = photo.convert("L" if kind in ("grey", "16 bits") else "RGB").convert("RGB")
    assert found.mode == "RGB"
    assert found.size == photo.size
    apart = np.abs(np.asarray(found, dtype=float) - np.asarray(wanted, dtype=float))
    assert apart.mean() <= {"palette": 12, "cmyk": 1}.get(kind, 0)


def test_transparent_pixels_are_white(photo: Image.Image, tmp_path: Path) -> None:
    cover = Image.new("L", photo.size, 255)
    cover.paste(0, (0, 0, 10, 10))
    Image.merge("RGBA", (*photo.split(), cover)).save(tmp_path / "hole.png")
    found = np.asarray(opened(tmp_path / "hole.png"))
    assert (found[:10, :10] == 255).all()
    assert (found[10:] == np.asarray(photo)[10:]).all()


def test_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(ValueError, match=r"image: .*text\.jpg cannot be read as an image"):
        opened(tmp_path / "text.jpg")
    with pytest.raises(ValueError, match=r"image: there is no file .*none\.jpg\."):
        opened(tmp_path / "none.jpg")
    with pytest.raises(ValueError, match="cannot be read as an image"):
        opened(tmp_path)
