"""Pictures and texts as files."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image


def save(directory: str | Path, tag: str, picture: Image.Image, epoch: int, step: int) -> Path:
    """Writes ``<directory>/<tag>/epoch=000-step=000000.jpg`` and returns its path."""
    path = Path(directory) / tag / f"epoch={epoch:03d}-step={step:06d}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_jpeg(picture))
    return path


def append(directory: str | Path, tag: str, text: str) -> Path:
    """Appends to ``<directory>/<tag>.md`` and returns its path."""
    path = Path(directory) / f"{tag}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{text}\n\n")
    return path


def encode_gif(frames: Sequence[Image.Image]) -> bytes:
    """A GIF that runs on and on, 0.4 s a picture and the last one longer, in 256 colours of each picture's
    own.
    """
    drawn = [frame.quantize(256, dither=Image.Dither.NONE) for frame in frames]
    buffer = io.BytesIO()
    each = [*[400] * (len(drawn) - 1), 1600]
    drawn[0].save(buffer, format="GIF", save_all=True, append_images=drawn[1:], duration=each, loop=0)
    return buffer.getvalue()


def encode_jpeg(picture: Image.Image) -> bytes:
    """JPEG of quality 90 with full colour resolution, which keeps small letters clean."""
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=90, subsampling=0)
    return buffer.getvalue()
