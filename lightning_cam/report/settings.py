"""What a run's settings are called in the report."""

import platform
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from lightning_cam.attribution.config import ExplainConfig
from lightning_cam.attribution.task import NONE, TASKS
from lightning_cam.data.probe import Probe
from lightning_cam.data.reading import Reading
from lightning_cam.explanation import Explanation
from lightning_cam.visualization.style import Style

PACKAGES = ("torchvision", "pytorch-lightning", "lightning")


def settings_of(
    explanation: Explanation, config: ExplainConfig, probe: Probe, style: Style, epochs: int | None, run: str
) -> dict[str, Any]:
    """What a look asked and how it is drawn, as primitives."""
    grid = " x ".join(str(side) for side in explanation.cams.shape[1:])
    sides = " x ".join(str(side) for side in explanation.images.shape[1:])
    part = {} if explanation.parts is None else {"part": f"1 of {explanation.parts.shape[1]}"}
    return {
        "run": run,
        "method": explanation.method,
        **part,
        "task": explanation.task,
        "outputs": explanation.scores.shape[1],
        "target layer": explanation.target_layer,
        "target": target_words(config, probe, explanation.task) if config.has_target else "of no class",
        "map": grid,
        "images": f"{len(explanation.images)} of {sides}",
        "epochs": "until stopped" if epochs in (None, -1) else epochs,
        "shown": style.shown,
        "normalization": explanation.normalization,
        "colormap": style.colormap,
        "opacity": style.opacity,
        "lightning_cam": sys.modules["lightning_cam"].__version__,  # an import would go up the layers
        "torch": str(torch.__version__),  # plain text, as a checkpoint holds nothing else
        **{name: found for name in PACKAGES if (found := _version(name))},
        "python": platform.python_version(),
    }


def target_words(config: ExplainConfig, probe: Probe, task: str) -> str:
    """What the maps explain, in a few words: without labels it is the predicted class, of a regression its
    output, of several labels those that an image has.
    """
    row = TASKS[task]
    if not row.has_classes:
        return (
            "output"
            if config.target in ("label", "predicted")
            else config.target_name.replace("class", "output")
        )
    if config.target == "label" and (probe.labels is None or task == NONE.name):
        return "predicted class (no labels)"
    return "present labels" if config.target == "label" and row.several else config.target_name


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def reading_words(reading: Reading | None) -> dict[str, str]:
    """What is explained and how that was verified, then what the user should know of it, by name."""
    if reading is None:
        return {}
    words = {
        "what is explained": reading.line,
        "of the layer": "; ".join(reading.notes),
        "to know": "; ".join(reading.cautions),
    }
    return {name: said for name, said in words.items() if said}
