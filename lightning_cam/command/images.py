"""An image file as a picture in RGB."""

from pathlib import Path

from PIL import Image, ImageOps


def opened(path: Path | str) -> Image.Image:
    """The image of a file, upright, in RGB: transparent pixels on white, 16 bits as 8.

    Raises:
        ValueError: There is no such file, or it is no image.
    """
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
    except FileNotFoundError:
        raise ValueError(f"image: there is no file {path}.") from None
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"image: {path} cannot be read as an image ({error}).") from None
    if image.mode.startswith("I"):
        image = image.convert("I").point(lambda value: value / 257).convert("L")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")
