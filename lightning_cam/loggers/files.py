"""Pictures as the bytes of a file."""

import io
from collections.abc import Sequence
from typing import Any

from PIL import Image, features


def encode_gif(frames: Sequence[Image.Image]) -> bytes:
    """A GIF that runs on and on, 0.4 s a picture and the last one longer, in 256 colours of each picture's
    own.
    """
    drawn = [frame.quantize(256, dither=Image.Dither.NONE) for frame in frames]
    buffer = io.BytesIO()
    how: dict[str, Any] = {"append_images": drawn[1:], "duration": _durations(drawn), "loop": 0}
    drawn[0].save(buffer, format="GIF", save_all=True, **how)
    return buffer.getvalue()


def encode_webp(pictures: Sequence[Image.Image]) -> bytes:
    """WebP of quality 80, which takes half the bytes of a JPEG of the same look; several pictures follow one
    another as in ``encode_gif``. JPEG of the last one, where Pillow was built without WebP.
    """
    if not features.check("webp"):
        return encode_jpeg(pictures[-1])
    buffer = io.BytesIO()
    how: dict[str, Any] = {"quality": 80, "method": 2}
    if len(pictures) > 1:
        how |= {"save_all": True, "append_images": pictures[1:], "duration": _durations(pictures), "loop": 0}
    pictures[0].save(buffer, format="WEBP", **how)
    return buffer.getvalue()


def _durations(pictures: Sequence[Image.Image]) -> list[int]:
    """In milliseconds."""
    return [*[400] * (len(pictures) - 1), 1600]


def encode_jpeg(picture: Image.Image) -> bytes:
    """JPEG of quality 90 with full colour resolution, which keeps small letters clean."""
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=90, subsampling=0)
    return buffer.getvalue()
