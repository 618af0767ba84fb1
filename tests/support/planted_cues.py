"""Images with a cue that tells the class, and networks without training that read it, or something else."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

CLASSES = 3


def noise(count: int, size: int = 32, seed: int = 0) -> Tensor:
    return 0.5 * torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def blurred(images: Tensor, times: int) -> Tensor:
    for _ in range(times):
        padded = nn.functional.pad(images, (1, 1, 1, 1), mode="replicate")
        images = nn.functional.avg_pool2d(padded, 3, stride=1)
    return images


def tag(images: Tensor, labels: Tensor) -> Tensor:
    made = images.clone()
    made[torch.arange(len(images)), labels, :6, :6] += 3
    return made


def tint(images: Tensor, labels: Tensor) -> Tensor:
    return images + nn.functional.one_hot(labels, 3).float()[:, :, None, None]


def frame(images: Tensor, labels: Tensor) -> Tensor:
    made, level = images.clone(), (2.0 * labels - 2)[:, None, None, None]
    inner = torch.zeros(images.shape[2:], dtype=torch.bool)
    inner[3:-3, 3:-3] = True
    return torch.where(inner, made, made + level)


def blur(images: Tensor, labels: Tensor) -> Tensor:
    return torch.stack(
        [blurred(image[None], 2 * label)[0] for image, label in zip(images, labels.tolist(), strict=True)]
    )


def spot(images: Tensor, labels: Tensor, seed: int = 3) -> Tensor:
    """A disc of the class' colour at a random place."""
    generator = torch.Generator().manual_seed(seed)
    made = images.clone()
    for image, label in zip(made, labels.tolist(), strict=True):
        row, column = torch.randint(1, images.shape[2] - 7, (2,), generator=generator).tolist()
        image[:, row : row + 6, column : column + 6] = -3.0
        image[label, row : row + 6, column : column + 6] = 5.0
    return made


def fringe(images: Tensor, labels: Tensor) -> Tensor:
    """Red and blue lie apart from green, by a step that depends on the class."""
    scene = images[:, 1:2]
    made = []
    for one, label in zip(scene, labels.tolist(), strict=True):
        step = 2 * (label - 1)
        made.append(torch.cat([one.roll(step, 2), one, one.roll(-step, 2)]))
    return torch.stack(made) + 0.05 * images


def reads_tag(images: Tensor) -> Tensor:
    return images[:, :, :6, :6].mean(dim=(2, 3))


def reads_tint(images: Tensor) -> Tensor:
    return images.mean(dim=(2, 3))


def near(values: Tensor, levels: tuple[float, ...]) -> Tensor:
    return -((values[:, None] - torch.tensor(levels)) ** 2)


def reads_frame(images: Tensor) -> Tensor:
    inner = images[:, :, 3:-3, 3:-3].sum(dim=(1, 2, 3))
    outer = (images.sum(dim=(1, 2, 3)) - inner) / (3 * (images.shape[2] ** 2 - (images.shape[2] - 6) ** 2))
    return near(outer, (-2.0, 0.0, 2.0))


def reads_blur(images: Tensor) -> Tensor:
    steps = images.diff(dim=3).abs().mean(dim=(1, 2, 3)).log()
    return near(steps, (-0.55, -2.7, -3.19))


def reads_spot(images: Tensor) -> Tensor:
    return nn.functional.avg_pool2d(images, 4, stride=1).amax(dim=(2, 3))


def reads_fringe(images: Tensor) -> Tensor:
    green, red = images[:, 1], images[:, 0]
    return torch.stack([(green.roll(2 * (label - 1), 2) * red).mean(dim=(1, 2)) for label in range(3)], dim=1)


PLANTED: dict[str, tuple[Callable[..., Tensor], Callable[[Tensor], Tensor], set[str]]] = {
    "tag": (tag, reads_tag, {"cell_0_0"}),
    "tint": (tint, reads_tint, {"colour_mean", "colour", "tones"}),
    "frame": (frame, reads_frame, {"border_8", "border_16"}),
    "blur": (blur, reads_blur, {"sharpness", "detail"}),
    "spot": (spot, reads_spot, {"spot"}),
    "fringe": (fringe, reads_fringe, {"fringes"}),
}


class Reads(nn.Module):
    """A network whose only layer does nothing, in front of a function of the image."""

    def __init__(self, scores: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 3, 1, bias=False)
        self.features.weight = nn.Parameter(torch.eye(3)[:, :, None, None])
        self.scores = scores

    def forward(self, images: Tensor) -> Tensor:
        return 8 * self.scores(self.features(images))


def reads_object(images: Tensor) -> Tensor:
    """Where a bar lies, in the middle rows, whatever the cue says."""
    rows = images[:, :, 10:22, 10:22].mean(dim=(1, 3))
    return torch.stack([rows[:, 4 * label : 4 * label + 4].mean(dim=1) for label in range(3)], dim=1)


def with_object(images: Tensor, labels: Tensor) -> Tensor:
    """A bar that is one of three heights tells the class honestly."""
    made = images.clone()
    for image, label in zip(made, labels.tolist(), strict=True):
        image[:, 10 + 4 * label : 14 + 4 * label, 10:22] += 2
    return made
