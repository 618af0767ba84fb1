"""Fashion-MNIST from disk: ten classes, pairs and triples of them. Grey images of 28 x 28 pixels.

Debian's package dataset-fashion-mnist has the files; FASHION_MNIST may name another folder. Nothing is downloaded.
"""

import functools
import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from research.shortcuts.domains import Domain

FOLDER = "/usr/share/datasets/fashion-mnist"
NAMES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
GROUPS = {
    "trouser_coat": (1, 4),
    "sneaker_boot": (7, 9),
    "shirt_coat": (6, 4),
    "tops": (0, 6, 4),
    "shoes": (5, 7, 9),
}


def read_idx(path: Path) -> Tensor:
    """The uint8 array of a gzipped file in the idx format of MNIST."""
    if not path.exists():
        raise ValueError(
            f"FASHION_MNIST: no {str(path)!r}; install Debian's dataset-fashion-mnist, or set the variable FASHION_MNIST to "
            "the folder with its four gz files."
        )
    data = gzip.decompress(path.read_bytes())
    shape = [int.from_bytes(data[4 * i : 4 * i + 4], "big") for i in range(1, data[3] + 1)]
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=4 + 4 * len(shape)).reshape(shape).copy())


@functools.cache
def files(folder: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Images (n, 28, 28) uint8 and labels of the official parts "train" and "t10k"."""
    return {
        part: (
            read_idx(Path(folder, f"{part}-images-idx3-ubyte.gz")),
            read_idx(Path(folder, f"{part}-labels-idx1-ubyte.gz")).long(),
        )
        for part in ("train", "t10k")
    }


def fashion(seed: int, classes: tuple[int, ...], train: int, val: int) -> Domain:
    """Images of these classes: training images of the official training set, validation images of its test set."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    parts = files(os.environ.get("FASHION_MNIST", FOLDER))
    for part, count in (("train", train), ("t10k", val)):
        pixels, numbers = parts[part]
        kept = torch.isin(numbers, torch.tensor(classes)).nonzero()[:, 0]
        chosen = kept[torch.randperm(len(kept), generator=generator)[:count]]
        own = (numbers[chosen, None] == torch.tensor(classes)).long().argmax(dim=1)
        found += [pixels[chosen][:, None].float() / 255, own]
    images, labels, val_images, val_labels = found
    return Domain(images, labels, val_images, val_labels, tuple(NAMES[i] for i in classes))


def ten_classes(seed: int) -> Domain:
    return fashion(seed, tuple(range(10)), train=3000, val=1000)


def group(classes: tuple[int, ...]) -> Callable[[int], Domain]:
    return lambda seed: fashion(seed, classes, train=2000, val=800)


# Augmented: the same images, moved and mirrored in training.
FASHION: dict[str, Callable[[int], Domain]] = {
    "fashion": ten_classes,
    "fashion_augmented": ten_classes,
    **{f"fashion_{name}": group(classes) for name, classes in GROUPS.items()},
}
