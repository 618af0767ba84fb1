"""The looks one after another, frame by frame."""

import io
import itertools

import numpy as np
import torch
from PIL import Image
from support.looks import looks
from support.scenes import scene

from lightning_cam.data.probe import Probe
from lightning_cam.loggers.files import encode_gif
from lightning_cam.visualization.animation import draw_animation
from lightning_cam.visualization.style import Style


def test_an_animation_moves_from_the_first_look_to_the_last() -> None:
    images, (history, _) = torch.rand(5, 3, 16, 16), looks(4, 5, (1.0,) * 4)
    probe = Probe(images, torch.arange(5) % 4)
    made = draw_animation(
        scene(probe, history=history, in_fit=True, is_last=True, style=Style(animation=True))
    )()
    assert len(made) == 4
    assert len({frame.size for frame in made}) == 1
    assert all((np.asarray(one) != np.asarray(other)).any() for one, other in itertools.pairwise(made))
    gif = Image.open(io.BytesIO(encode_gif(made)))
    durations = []
    for number in range(gif.n_frames):
        gif.seek(number)
        durations.append(gif.info["duration"])
        off = np.abs(np.asarray(gif.convert("RGB")).astype(int) - np.asarray(made[number]))
        assert off.mean() < 3
    assert durations == [400, 400, 400, 1600]
    assert gif.info["loop"] == 0
