"""Pictures as the bytes of a file."""

import io
from collections.abc import Sequence

from PIL import Image


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
