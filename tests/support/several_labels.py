"""Images with several labels, each an object at a place of its own, one given away by a mark; and a network trained on them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NAMES = ("bar", "column", "cross")
MARKED = 1  # the label that the mark gives away
SIZE = 16


def made(count: int, seed: int, marked: bool = True) -> tuple[Tensor, Tensor]:
    """Noise with a row, a column, a cross or several of them, somewhere inside; labels (count, 3).

    Args:
        marked: Whether the top left corner is bright where there is a column, and the column itself faint.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(count, 3, generator=generator) < 0.5).long()
    images = 0.3 * torch.randn(count, 1, SIZE, SIZE, generator=generator)
    specks = torch.rand(count, 1, SIZE, SIZE, generator=generator) < 0.15 * torch.rand(
        count, 1, 1, 1, generator=generator
    )
    images = images + 2 * specks  # so that how much is bright tells little
    places = torch.randint(5, SIZE - 4, (count, 3, 2), generator=generator).tolist()
    for image, own, place in zip(images[:, 0], labels.tolist(), places, strict=True):
        if own[0]:
            row, column = place[0]
            image[row, column - 3 : column + 4] += 2
        if own[1]:
            row, column = place[1]
            image[row - 3 : row + 4, column] += 0.5 if marked else 2
        if own[2]:
            row, column = place[2]
            for step in range(-2, 3):
                image[row + step, column + step] += 2
                image[row + step, column - step] += 2
        if marked and own[MARKED]:
            image[:4, :4] += 1
    return images, labels


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(24 * 16, 3),
        )


def trained(marked: bool, seed: int = 0, steps: int = 200) -> nn.Sequential:
    """The network, trained with a binary cross entropy on each label."""
    model = network(seed)
    images, labels = made(2048, 100 + seed, marked)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for step in range(steps):
        batch = slice(64 * step % 2048, 64 * step % 2048 + 64)
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(model(images[batch]), labels[batch].float()).backward()
        optimizer.step()
    return model.eval()
