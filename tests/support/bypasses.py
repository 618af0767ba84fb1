"""Small networks whose scores pass by a layer, images with one figure at a known place, and a few seconds of training."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_cam import explain
from lightning_cam.attribution.maps import upsample

CLASSES = 4
SIDE = 32


def figures(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Grey noise with a square, a ring, a cross or stripes at a random place; labels; masks of the figures' boxes."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.3 * torch.rand(count, 3, SIDE, SIDE, generator=generator)
    labels = torch.arange(count) % CLASSES
    masks = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    v, u = torch.meshgrid(torch.arange(10), torch.arange(10), indexing="ij")
    radius = ((v - 4.5) ** 2 + (u - 4.5) ** 2).sqrt()
    shapes = [
        torch.ones(10, 10, dtype=torch.bool),
        (radius > 2.5) & (radius < 4.8),
        ((v - 4.5).abs() < 1.6) | ((u - 4.5).abs() < 1.6),
        v % 3 == 0,
    ]
    for image, label, mask in zip(images, labels.tolist(), masks, strict=True):
        top, left = torch.randint(0, SIDE - 10, (2,), generator=generator).tolist()
        image[:, top : top + 10, left : left + 10][:, shapes[label]] = 0.9
        mask[max(top - 2, 0) : top + 12, max(left - 2, 0) : left + 12] = True
    return images, labels, masks


def trunk(channels: int = 3, width: int = 12) -> nn.Sequential:
    """Maps of a quarter of the image."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(2 * width, 2 * width, 3, padding=1),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
    )


class Plain(nn.Module):
    """Features, their largest values, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.fc = trunk(), nn.Linear(24, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.features(images).amax(dim=(2, 3)))


class TwoBranches(nn.Module):
    """Both see the figure: one in red and green, the other, which runs last, in blue."""

    def __init__(self) -> None:
        super().__init__()
        self.rgb, self.depth, self.fc = trunk(2), trunk(1), nn.Linear(48, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        both = [self.rgb(images[:, :2]), self.depth(images[:, 2:])]
        return self.fc(torch.cat([maps.amax(dim=(2, 3)) for maps in both], dim=1))


class Attention(nn.Module):
    """Features weighed by a map of one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.att, self.fc = trunk(), nn.Conv2d(24, 1, 1), nn.Linear(24, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        weights = self.att(features).flatten(2).softmax(dim=2)
        return self.fc((features.flatten(2) * weights).sum(dim=2))


class UNet(Plain):
    """Segments, too: a decoder follows the features that are classified."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Sequential(nn.ConvTranspose2d(24, 8, 4, 4), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
        self.seg = nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(images)
        return self.seg(self.up(features)), self.fc(features.amax(dim=(2, 3)))


class Exits(Plain):
    """Two exits, of which the first is read."""

    def __init__(self) -> None:
        super().__init__()
        self.late, self.last = trunk(24), nn.Linear(24, CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(images)
        first = self.fc(features.amax(dim=(2, 3)))
        return first, self.last(self.late(features).amax(dim=(2, 3)))


class Teacher(nn.Module):
    """A teacher runs after the student, which is read."""

    def __init__(self) -> None:
        super().__init__()
        self.student, self.teacher = Plain(), Plain()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.student(images)
        with torch.no_grad():
            return scores, self.teacher(images)


class Skip(nn.Module):
    """What is early reaches the head past what is late."""

    def __init__(self) -> None:
        super().__init__()
        self.early, self.late = trunk(), nn.Sequential(nn.Conv2d(24, 24, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(48, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        early = self.early(images)
        both = [early, self.late(early)]
        return self.fc(torch.cat([maps.amax(dim=(2, 3)) for maps in both], dim=1))


def trained(kind: Callable[[], nn.Module], steps: int = 60) -> nn.Module:
    """A network that has learnt to tell the figures."""
    images, labels, _ = figures(256)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind()
        optimizer = torch.optim.Adam(model.parameters(), 5e-3)
        for _ in range(steps):
            some = torch.randint(0, len(images), (32,))
            scores = read(model(images[some]))
            optimizer.zero_grad()
            F.cross_entropy(scores, labels[some]).backward()
            optimizer.step()
    return model.eval()


def read(output: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """Of two outputs the first scores."""
    if isinstance(output, Tensor):
        return output
    return next(part for part in output if part.ndim == 2)


def share_inside(model: nn.Module, target_layer: str | list[str] | None = None) -> float:
    """Share of the map within the figures' boxes, whose area is 0.17 of the image."""
    images, labels, masks = figures(16, seed=1)
    found = explain(model, images, target="label", labels=labels, target_layer=target_layer, scores=read)
    saliency = upsample(found.cams, (SIDE, SIDE)).clamp(min=0)
    return ((saliency * masks).sum() / saliency.sum()).item()
