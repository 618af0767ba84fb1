"""Fixtures for loggers."""

import pytest
from PIL import Image


@pytest.fixture
def picture() -> Image.Image:
    """Wider than high, with four colours that tell its corners apart."""
    picture = Image.new("RGB", (96, 64), (255, 255, 255))
    for place, color in (
        ((0, 0), (200, 0, 0)),
        ((64, 0), (0, 150, 0)),
        ((0, 32), (0, 0, 200)),
        ((64, 32), (30, 30, 30)),
    ):
        picture.paste(color, (*place, place[0] + 32, place[1] + 32))
    return picture
