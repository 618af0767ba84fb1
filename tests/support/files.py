"""Pictures read from files."""

from pathlib import Path

from PIL import Image


def picture_at(path: Path) -> Image.Image:
    """The picture with its pixels; the file is closed."""
    with Image.open(path) as picture:
        picture.load()
    return picture


def frames_at(path: Path) -> int:
    """How many frames an animation has."""
    with Image.open(path) as picture:
        return picture.n_frames
