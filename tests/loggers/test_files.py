"""Pictures as the bytes of a file."""

import io

import numpy as np
from PIL import Image

from lightning_cam.loggers.files import encode_jpeg


def test_jpeg_keeps_small_letters_clean(picture: Image.Image) -> None:
    # Full colour resolution: a red line of one pixel stays red.
    picture.paste((255, 0, 0), (0, 20, 96, 21))
    decoded = np.asarray(Image.open(io.BytesIO(encode_jpeg(picture))))
    red, green, blue = decoded[20, 40:56].mean(axis=0)
    assert (red > 220, green < 60, blue < 60) == (True, True, True)
