"""Photographed animals and plants, cut out, on photographs of water or sky and of land, with masks. 128 x 128 pixels, in colour.

Debian's packages tuxpaint-stamps-default, mate-backgrounds and plasma-workspace-wallpapers have the pictures; TUXPAINT_STAMPS and
WALLPAPERS may name other folders. No cut-out and no photograph is in both training and validation.
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from research.shortcuts.domains import Domain

SIDE = 128
STAMPS = "/usr/share/tuxpaint/stamps"
PICTURES = "/usr/share"
FOLDERS = {
    "bird": ("animals/birds",),
    "mammal": ("animals/mammals", "animals/marsupials"),
    "fruit": ("food/fruit", "food/nuts", "food/vegetables"),
    "flower": ("plants/flowers",),
}
# Chosen by eye: drawings, mammals of the sea, what stands on grass, and a plastic flower.
LEFT_OUT = (
    "echidna", "hedgehog", "dolphin", "orca", "otter", "sea_lion", "whale", "albino_peahen", "indian_blackbuck", "tiger_sumatran",
    "chuvanna_plastic_poo",
)  # fmt: skip
MATE, PLASMA = "backgrounds/mate/nature/{}.jpg", "wallpapers/{}/contents/images/2560x1600.jpg"
# The photograph, and the part of its height that shows the place.
PLACES: dict[str, dict[str, tuple[tuple[str, float, float], ...]]] = {
    "water": {
        "train": (
            (MATE.format("Aqua"), 0, 1), (PLASMA.format("BytheWater"), 0, 0.45), (PLASMA.format("DarkestHour"), 0, 1),
            (PLASMA.format("Kite"), 0, 1),
        ),
        "val": (
            (PLASMA.format("ColdRipple"), 0, 0.6), (PLASMA.format("summer_1am"), 0, 1), (MATE.format("Storm"), 0, 0.7),
            (PLASMA.format("EveningGlow"), 0, 0.55),
        ),
    },
    "land": {
        "train": (
            (MATE.format("GreenMeadow"), 0, 1), (PLASMA.format("Path"), 0, 1), (PLASMA.format("OneStandsOut"), 0, 1),
            (MATE.format("LadyBird"), 0, 1),
        ),
        "val": (
            (MATE.format("Blinds"), 0, 1), (MATE.format("RainDrops"), 0, 1), (MATE.format("Dune"), 0.35, 1),
            (PLASMA.format("FallenLeaf"), 0, 1),
        ),
    },
}  # fmt: skip
CROPS = 36  # of each photograph


def opened(argument: str, path: Path, package: str) -> Image.Image:
    if not path.exists():
        raise ValueError(
            f"{argument}: no {str(path)!r}; install Debian's {package}, or set the variable {argument} to the folder that has it."
        )
    return Image.open(path)


def stamps(folder: str, kind: str) -> list[Path]:
    """The photographed cut-outs of a kind."""
    found = sorted(path for part in FOLDERS[kind] for path in Path(folder, part).rglob("*.png"))
    kept = [
        path
        for path in found
        if path.stem not in LEFT_OUT and not {"cartoon", "toys", "plastic"} & set(path.parts)
    ]
    if not kept:
        raise ValueError(
            f"TUXPAINT_STAMPS: no cut-outs of {kind!r} in {folder!r}; install Debian's tuxpaint-stamps-default, or set the "
            "variable TUXPAINT_STAMPS to its folder 'stamps'."
        )
    return kept


@functools.cache
def framed(path: Path) -> Image.Image:
    """The picture without what is transparent around the object."""
    image = Image.open(path).convert("RGBA")
    return image.crop(image.getchannel("A").point(lambda value: 255 * (value > 127)).getbbox())


@functools.cache
def cut_out(path: Path, side: int) -> Image.Image:
    """The object in its own frame, made ``side`` pixels long.

    All objects of a task have the same resolution: else how sharp they are would tell the class.
    """
    image = framed(path)
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


@functools.cache
def crops(folder: str) -> dict[tuple[str, str], Tensor]:
    """(n, 3, 128, 128) uint8 squares of the photographs by place and split, always the same."""
    random, found = np.random.default_rng(0), {}
    for place, splits in PLACES.items():
        for split, photographs in splits.items():
            squares = []
            for name, top, bottom in photographs:
                image = opened(
                    "WALLPAPERS", Path(folder, name), "mate-backgrounds and plasma-workspace-wallpapers"
                )
                image.draft("RGB", (900, 900))
                image = image.convert("RGB")
                image = image.crop((0, round(top * image.height), image.width, round(bottom * image.height)))
                for _ in range(CROPS):
                    side = int(min(image.size) * random.uniform(0.35, 1))
                    x = int(random.integers(0, image.width - side + 1))
                    y = int(random.integers(0, image.height - side + 1))
                    square = image.resize(
                        (SIDE, SIDE), Image.Resampling.BICUBIC, (x, y, x + side, y + side), reducing_gap=2.0
                    )
                    squares.append(np.asarray(square))
            found[place, split] = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)
    return found


def placed(files: list[Path], side: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """(n, 3, 128, 128) colours and (n, 1, 128, 128) coverage of one object each, at a random place, of random size and flip."""
    canvases = []
    for file in files:
        image = cut_out(file, side)
        scale = SIDE * random.uniform(0.5, 0.8) / max(image.size)
        size = (max(8, int(image.width * scale)), max(8, int(image.height * scale)))
        image = image.resize(size, Image.Resampling.BICUBIC)
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        x, y = random.integers(0, SIDE - image.width + 1), random.integers(0, SIDE - image.height + 1)
        canvas = Image.new("RGBA", (SIDE, SIDE))
        canvas.paste(image, (int(x), int(y)))
        canvases.append(np.asarray(canvas))
    pixels = torch.from_numpy(np.stack(canvases)).permute(0, 3, 1, 2).float()
    return pixels[:, :3], pixels[:, 3:] / 255


def composites(
    seed: int, kinds: tuple[str, ...], side: int, train: int = 200, val: int = 80, share: float = 0.65
) -> Domain:
    """Objects on either place; ``train`` and ``val`` images of each class, on a place that says nothing."""
    random = np.random.default_rng(seed)
    folder, pictures = (
        os.environ.get("TUXPAINT_STAMPS", STAMPS),
        crops(os.environ.get("WALLPAPERS", PICTURES)),
    )
    files: dict[str, list[Path]] = {"train": [], "val": []}
    for kind in kinds:
        own = [path for path in stamps(folder, kind) if max(framed(path).size) >= side]
        own = [own[i] for i in random.permutation(len(own))]
        cut = round(len(own) * share)
        for split, part, count in (("train", own[:cut], train), ("val", own[cut:], val)):
            files[split] += [part[i % len(part)] for i in range(count)]
    scenes, images, labels, masks = [], [], [], []
    for split, count in (("train", train), ("val", val)):
        order = random.permutation(count * len(kinds))
        objects, cover = placed([files[split][i] for i in order], side, random)
        grounds = []
        for place in PLACES:
            pool = pictures[place, split]
            ground = pool[torch.from_numpy(random.integers(0, len(pool), len(order)))].float()
            grounds.append((ground + cover * (objects - ground)).round().to(torch.uint8))
        scenes.append(torch.stack(grounds, dim=1))
        anywhere = torch.from_numpy(random.integers(0, len(PLACES), len(order)))
        images.append(scenes[-1][torch.arange(len(order)), anywhere].float() / 255)
        labels.append(torch.from_numpy(order // count))
        masks.append(cover[:, 0] > 0.5)
    return Domain(images[0], labels[0], images[1], labels[1], kinds, masks=masks[1], scenes=torch.cat(scenes))


def task(kinds: tuple[str, ...], side: int) -> Callable[[int], Domain]:
    return lambda seed: composites(seed, kinds, side)


# Most photographs of fruit are small.
COMPOSITES: dict[str, Callable[[int], Domain]] = {
    "composites_animals": task(("bird", "mammal"), side=100),
    "composites_plants": task(("fruit", "flower"), side=50),
    "composites_four": task(("bird", "mammal", "fruit", "flower"), side=50),
}
