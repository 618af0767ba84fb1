"""Scenes of looks that were never made."""

from typing import Any

import torch
from torch import Tensor

from lightning_cam.data.history import History
from lightning_cam.data.probe import Probe
from lightning_cam.visualization.scene import Scene
from lightning_cam.visualization.style import Style
from support.looks import SMALL_HEADER


def scene(
    probe: Probe,
    style: Style | None = None,
    history: History | None = None,
    cams: Tensor | None = None,
    scores: Tensor | None = None,
    header: tuple[str, str] = SMALL_HEADER,
    **others: Any,
) -> Scene:
    """A look at the probe; what is not given is zero."""
    count, dims = len(probe), probe.images.ndim - 2
    known = {
        "images": probe.images,
        "cams": torch.zeros(count, *[4] * dims) if cams is None else cams,
        "scores": torch.zeros(count, 4) if scores is None else scores,
        "reasons": torch.zeros(count, dtype=torch.long),
        "history": history or History(),
        "when": header[0],
        "asked": header[1],
        "style": style or Style(),
    }
    return Scene(probe, **(known | others))
