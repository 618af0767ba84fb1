"""Users' modules for the cases of reading, and what each of them says itself of every image."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from support.read_data import loader, training


@dataclass(frozen=True)
class Own:
    """What a user's step computes.

    Args:
        right: (n,) the share of an image's labels that is answered rightly.
        answer: (n,) the predicted class.
        sure: (n,) the probability of the answer; of a regression the number itself.
    """

    loss: Tensor
    right: Tensor | None = None
    answer: Tensor | None = None
    sure: Tensor | None = None


class SmallNet(nn.Module):
    """Three convolutions, whose maps have a quarter of the image's side, the maximum over places, one linear layer."""

    def __init__(self, out: int = 4, channels: int = 3, width: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *self.stage(channels, width), nn.MaxPool2d(2),
            *self.stage(width, 2 * width), nn.MaxPool2d(2),
            *self.stage(2 * width, 2 * width),
        )  # fmt: skip
        self.head = nn.Linear(2 * width, out) if out else nn.Identity()

    @staticmethod
    def stage(before: int, after: int) -> tuple[nn.Module, ...]:
        return nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)

    def embed(self, images: Tensor) -> Tensor:
        return self.features(images).amax(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.embed(images))


WIDTH = 32  # of what SmallNet.embed yields


class User(LightningModule):
    """A plain classifier; cases override what differs."""

    def __init__(self, net: nn.Module | None = None) -> None:
        super().__init__()
        self.net = SmallNet() if net is None else net
        self.judged: list[Own] = []

    def forward(self, images: Tensor) -> Any:
        return self.net(images)

    def step(self, batch: Any) -> Own:
        images, labels = batch
        return classified(self(images), labels)

    def training_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
        return self.step(batch).loss

    def validation_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> None:
        own = self.step(batch)
        self.log("val_loss", own.loss, batch_size=1)
        if dataloader_idx == 0:
            self.judged.append(own)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # What matters is what is read, not what is learnt further.
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=1e-4)


def classified(scores: Tensor, labels: Tensor) -> Own:
    return Own(F.cross_entropy(scores, labels), right=(scores.argmax(dim=1) == labels).float())


def several(scores: Tensor, labels: Tensor) -> Own:
    """Several labels per image, from logits."""
    loss = F.binary_cross_entropy_with_logits(scores, labels)
    return Own(loss, right=((scores > 0) == (labels > 0.5)).float().mean(dim=1))


_LEARNT: dict[str, dict[str, Any]] = {}


def learnt(
    make: Callable[[], User], train: Iterable, epochs: int = 6, rate: float = 5e-3, kind: str = ""
) -> User:
    """The module after a plain loop over its own training step, which is run once for each kind of module."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = make()
        kind = kind or type(module).__qualname__
        if kind not in _LEARNT:
            weights = [p for p in module.parameters() if p.requires_grad]
            optimizer = torch.optim.Adam(weights, lr=rate)
            module.train()
            for _ in range(epochs):
                for batch in train:
                    optimizer.zero_grad()
                    module.training_step(module.on_after_batch_transfer(batch, 0)).backward()
                    optimizer.step()
            _LEARNT[kind] = copy.deepcopy(module.state_dict())
    module.load_state_dict(_LEARNT[kind])
    module.judged.clear()
    return module


@cache
def _plain_net() -> SmallNet:
    known = training()
    return learnt(User, loader(known.images, known.labels, shuffle=True)).net


def trained_net() -> SmallNet:
    """The control's network: it tells the four figures apart."""
    return copy.deepcopy(_plain_net())
