"""Pictures as files."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from support.writers import close

from lightning_cam.loggers.files import encode_jpeg, save


def test_save(tmp_path: Path, picture: Image.Image) -> None:
    path = save(tmp_path / "logs", "cam/overlay", picture, 3, 41)
    assert path == tmp_path / "logs" / "cam" / "overlay" / "epoch=003-step=000041.jpg"
    close(Image.open(path), picture)
    assert save(str(tmp_path / "logs"), "cam/overlay", picture, 3, 41) == path


def test_files_sort_by_time(tmp_path: Path, picture: Image.Image) -> None:
    paths = [save(tmp_path, "cam/overlay", picture, epoch, 10 * epoch) for epoch in (0, 2, 10, 100)]
    assert sorted(paths) == paths


def test_jpeg_keeps_small_letters_clean(picture: Image.Image) -> None:
    # Full colour resolution: a red line of one pixel stays red.
    picture.paste((255, 0, 0), (0, 20, 96, 21))
    decoded = np.asarray(Image.open(io.BytesIO(encode_jpeg(picture))))
    red, green, blue = decoded[20, 40:56].mean(axis=0)
    assert (red > 220, green < 60, blue < 60) == (True, True, True)
