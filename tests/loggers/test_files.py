"""Pictures as the bytes of a file."""

import io

import numpy as np
from PIL import Image
from support.writers import close

from lightning_cam.loggers.files import encode_jpeg, encode_webp


def test_jpeg_keeps_small_letters_clean(picture: Image.Image) -> None:
    # Full colour resolution: a red line of one pixel stays red.
    picture.paste((255, 0, 0), (0, 20, 96, 21))
    decoded = np.asarray(Image.open(io.BytesIO(encode_jpeg(picture))))
    red, green, blue = decoded[20, 40:56].mean(axis=0)
    assert (red > 220, green < 60, blue < 60) == (True, True, True)


def test_webp_takes_half_the_bytes_of_jpeg_and_looks_the_same() -> None:
    generator = np.random.default_rng(0)
    noise = Image.fromarray(generator.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    picture = noise.resize((512, 384), Image.Resampling.BICUBIC)
    webp = encode_webp([picture])
    assert len(webp) < 0.5 * len(encode_jpeg(picture))
    found = Image.open(io.BytesIO(webp))
    assert (found.format, found.size) == ("WEBP", picture.size)
    off = np.abs(np.asarray(found.convert("RGB")).astype(int) - np.asarray(picture))
    assert off.mean() < 2


def test_webp_moves(picture: Image.Image) -> None:
    other = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    found = Image.open(io.BytesIO(encode_webp([picture, other, picture])))
    assert (found.n_frames, found.info["loop"]) == (3, 0)
    durations = []
    for number, expected in enumerate((picture, other, picture)):
        found.seek(number)
        found.load()
        durations.append(found.info["duration"])
        close(found.convert("RGB"), expected)
    assert durations == [400, 400, 1600]
