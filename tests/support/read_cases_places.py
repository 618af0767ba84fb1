"""Kinds 44 to 47: where in the image the map lies, and where in the network the evidence is."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from support.read_case import Setup, case, paired, plain, variant
from support.read_data import figures, loader, training, validation
from support.read_modules import WIDTH, SmallNet, User, learnt, trained_net
from support.read_tokens import Patches


def enlarged(module: User, left: int, right: int, top: int, bottom: int) -> Setup:
    """Images with dark borders of so many pixels."""
    known, held = training(), validation()

    def grow(images: Tensor) -> Tensor:
        return F.pad(images, (left, right, top, bottom))

    return plain(
        module,
        train=loader(grow(known.images), known.labels, shuffle=True),
        val=loader(grow(held.images), held.labels),
        seen=grow(held.images),
        boxes=grow(held.boxes.float()).bool(),
    )


# --- the map lies over another part of the image


class CropsInForward(User):
    def forward(self, images):
        return self.net(images[:, :, :32, :32])


@case(44, share=None, says=(r"maps of .* cover rows \S+ to (4\d|5\d) % and columns \S+ to (4\d|5\d) %",))
def cropped_in_forward() -> Setup:
    return enlarged(CropsInForward(trained_net()), 0, 32, 0, 32)


class Shifts(User):
    """A spatial transformer that always looks to the right."""

    def forward(self, images):
        shift = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]).expand(len(images), 2, 3)
        grid = F.affine_grid(shift, images.shape, align_corners=False)
        return self.net(F.grid_sample(images, grid, align_corners=False))


@case(44, share=None, says=(r"maps of .* cover rows .* columns (2|3)\d to",))
def shifted_in_forward() -> Setup:
    return enlarged(Shifts(trained_net()), 16, 16, 16, 16)


class Pads(User):
    """To a multiple of 64."""

    def forward(self, images):
        height, width = images.shape[2:]
        return self.net(F.pad(images, (0, -width % 64, 0, -height % 64)))


@case(44, share=None, says=(r"maps of .* cover rows \S+ to 1[3-6]\d % and columns \S+ to 1[3-6]\d %",))
def padded_in_forward() -> Setup:
    known, held = training(size=40), validation(size=40)
    train = loader(known.images, known.labels, shuffle=True)
    val = loader(held.images, held.labels)
    return plain(Pads(trained_net()), train=train, val=val, seen=held.images, boxes=held.boxes)


class Resizes(User):
    """Patch tokens of 8 x 8 patches and a class token, of images that are enlarged first."""

    def __init__(self) -> None:
        super().__init__(Patches(size=64, patch=8))

    def forward(self, images):
        return self.net(F.interpolate(images, (64, 64), mode="bilinear"))


def wide_images() -> Setup:
    return enlarged(Resizes(), 16, 0, 0, 0)


@case(45, share=None, own=0.0, grid=(8, 8))
def tokens_of_a_resized_image() -> Setup:
    return wide_images()


variant(45, "tokens_of_a_resized_image_at_a_named_layer", wide_images, share=None, own=0.0, grid=(8, 8),
        arguments={"target_layer": "net.blocks.1.norm1"})  # fmt: skip


# --- the last convolution is not where the evidence is


class LateFusion(User):
    """The last channel has a branch of its own, which runs last."""

    def __init__(self) -> None:
        super().__init__(SmallNet(out=0))
        self.depth, self.classifier = SmallNet(out=0, channels=1, width=8), nn.Linear(WIDTH + 16, 4)

    def forward(self, images):
        return self.classifier(torch.cat([self.net(images[:, :3]), self.depth(images[:, 3:])], dim=1))


def with_depth(known: Any, seed: int) -> Tensor:
    """A fourth channel, whose figures have nothing to do with the class."""
    return torch.cat([known.images, figures(len(known.images), seed=seed).images[:, :1]], dim=1)


@case(46, says=(r"passes through 'depth\.features", r"net\.features"), share=0.7,
      remedy=lambda told: {"target_layer": "net.features"})  # fmt: skip
def two_branches() -> Setup:
    known, held = training(), validation()
    train = loader(with_depth(known, 7), known.labels, shuffle=True)
    seen = with_depth(held, 8)
    return plain(learnt(LateFusion, train), train=train, val=loader(seen, held.labels), seen=seen)


class AttentionPooling(User):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.Conv2d(WIDTH, 1, 1)

    def forward(self, images):
        maps = self.net.features(images)
        weights = self.attention(maps).flatten(2).softmax(dim=2)
        return self.net.head(10 * (maps.flatten(2) * weights).sum(dim=2))


@case(47, share=0.75)
def attention_pooling() -> Setup:
    return paired(AttentionPooling, lambda known: known.labels, epochs=10)
