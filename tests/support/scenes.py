"""Scenes that the tests of pictures draw."""

from typing import Any

import torch
from support.sheets import HEADER
from torch import Tensor

from lightning_cam.data.history import History
from lightning_cam.data.probe import Probe
from lightning_cam.visualization.scene import Scene
from lightning_cam.visualization.style import Style


def scene(
    probe: Probe,
    style: Style | None = None,
    history: History | None = None,
    cams: Tensor | None = None,
    scores: Tensor | None = None,
    **others: Any,
) -> Scene:
    """A look at the probe; whatever a picture does not draw from is zero."""
    count = len(probe)
    known = {
        "images": probe.images,
        "cams": torch.zeros(count, 4, 4) if cams is None else cams,
        "scores": torch.zeros(count, 4) if scores is None else scores,
        "reasons": torch.zeros(count, dtype=torch.long),
        "history": history or History(),
        "when": HEADER[0],
        "asked": HEADER[1],
        "style": style or Style(),
    }
    return Scene(probe, **(known | others))


def in_a_fit(probe: Probe, history: History) -> Scene:
    """A film strip shows what the history holds; of the look itself nothing."""
    count = len(probe)
    nothing = torch.zeros(count, 1, 1), torch.zeros(count, 4), torch.zeros(count, dtype=torch.long)
    return Scene(probe, probe.images, *nothing, history, *HEADER, in_fit=True)
