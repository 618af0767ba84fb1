"""Looks with maps whose maxima are known."""

from dataclasses import replace

import torch
from torch import Tensor

from lightning_cam.data.history import History, remember

SMALL_HEADER = ("epoch 3 · step 40", "gradcam at layer4 (4 x 4) · target: label")


def looks(count: int, images: int, sizes: tuple[float, ...], classes: int = 4) -> tuple[History, Tensor]:
    """Looks whose maps have these maxima, epoch by epoch, and the last maps."""
    history, generator = History(), torch.Generator().manual_seed(0)
    for epoch, size in enumerate(sizes[:count], start=-1):
        cams = torch.rand(images, 4, 4, generator=generator)
        cams = size * cams / cams.amax(dim=(1, 2), keepdim=True)
        drift = torch.linspace(0.1, 0.3, images) if epoch >= 0 else torch.full((images,), torch.nan)
        answers = (torch.arange(images) + (epoch < 1)) % classes
        history = history.added(
            remember(epoch, 10 * epoch + 10, cams, answers, torch.rand(images), {"drift_last": drift})
        )
    return history, cams


def judged(history: History, labels: Tensor | None) -> History:
    """The same looks, whose answers are right where they are these classes."""
    if labels is None:
        return history
    looks = []
    for look in history.looks:
        right = torch.where(look.predicted >= 0, (look.predicted == labels).float(), torch.nan)
        looks.append(replace(look, right=right))
    return History(tuple(looks))
