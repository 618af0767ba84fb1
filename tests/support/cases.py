"""Networks in two halves, which meet at the target layer, for the tests of methods: what a look sees, by plain autograd."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from reference import equations as book
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_cam.attribution.capture import capture, find_layer
from lightning_cam.attribution.methods.table import METHODS

CLASSES = 4

# Fewer passes than a user would take: the equation is the same.
OPTIONS: dict[str, dict[str, Any]] = {
    "dff": {"parts": 3, "iterations": 10},
    "sscam": {"samples": 3},
    "iscam": {"steps": 3},
    "smoothgradcam++": {"samples": 3},
    "rise": {"masks": 20},
}


@dataclass(frozen=True)
class Case:
    """A network in two halves, which meet at the target layer, and what it is asked."""

    model: nn.Module
    layer: str
    trunk: nn.Module
    tail: nn.Sequential
    images: Tensor
    labels: Tensor

    @property
    def head(self) -> nn.Linear:
        return self.tail[-1]

    @property
    def target_layer(self) -> nn.Module:
        return self.model.get_submodule(self.layer)


class Halves(nn.Module):
    def __init__(self, features: nn.Sequential, tail: nn.Sequential) -> None:
        super().__init__()
        self.features, self.tail = features, tail

    def forward(self, images: Tensor) -> Tensor:
        return self.tail(self.features(images))


def case(
    model: nn.Module, layer: str, trunk: nn.Module, tail: nn.Sequential, dtype: torch.dtype, scale: float
) -> Case:
    with torch.no_grad():
        tail[-1].weight.mul_(scale)
        tail[-1].bias.mul_(scale)
    images = torch.randn(4, 3, 12, 10).to(dtype)
    return Case(model.to(dtype).eval(), layer, trunk, tail, images, torch.tensor([0, 3, 1, 1]))


def halves(
    features: nn.Sequential, tail: nn.Sequential, dtype: torch.dtype = torch.float64, scale: float = 1.0
) -> Case:
    model = Halves(features, tail)
    return case(model, "features", model.features, model.tail, dtype, scale)


def relu(dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Case:
    """Fewer channels (8) than positions (6 x 5), of which one is dead."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(8)
    norm.running_mean.uniform_(-0.2, 0.2)
    norm.running_var.uniform_(0.1, 0.3)
    with torch.no_grad():
        norm.bias.uniform_(-0.5, 0.5)[0] = -100.0
    features = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2, padding=1), norm, nn.ReLU()
    )
    tail = nn.Sequential(
        nn.Conv2d(8, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
        nn.ReLU(),
        nn.Linear(5, CLASSES),
    )
    return halves(features, tail, dtype, scale)


def gelu(dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Case:
    """Activations of both signs; channel sums too."""
    torch.manual_seed(47)
    features = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.GELU(), nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.GELU()
    )
    tail = nn.Sequential(
        nn.Conv2d(8, 6, 3, padding=1), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES)
    )
    return halves(features, tail, dtype, scale)


def sequential(dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Case:
    """More channels (24) than positions (5 x 4); what follows the layer edits its output in place."""
    torch.manual_seed(10)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 24, 2),
        nn.ReLU(inplace=True),
        nn.Conv2d(24, 6, 2),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(72, 8),
        nn.SiLU(),
        nn.Linear(8, CLASSES),
    )
    return case(model, "3", model[:4], model[4:], dtype, scale)


def pooled(activation: nn.Module, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Case:
    """Global average pooling and one linear layer after the target layer."""
    torch.manual_seed(3)
    features = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2, padding=1), activation
    )
    return halves(
        features, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)), dtype, scale
    )


def pooled_relu(dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Case:
    return pooled(nn.ReLU(), dtype, scale)


def pooled_gelu(dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Case:
    return pooled(nn.GELU(), dtype, scale)


BUILD: dict[str, Callable[..., Case]] = {
    "relu": relu,
    "gelu": gelu,
    "sequential": sequential,
    "pooled_relu": pooled_relu,
    "pooled_gelu": pooled_gelu,
}
NETWORKS = ("relu", "gelu", "sequential")
# CAM is defined for one head alone.
NETWORKS_OF = {"cam": ("pooled_relu", "pooled_gelu")}


def networks_of(name: str) -> tuple[str, ...]:
    return NETWORKS_OF.get(name, NETWORKS)


def by_hand(case: Case) -> tuple[Tensor, Tensor]:
    """Activations and gradients at the target layer by plain autograd, the whole graph in one piece."""
    activations = case.trunk(case.images)
    # A clone, for the tail may edit its input.
    scores = case.tail(activations.clone())
    (gradients,) = torch.autograd.grad(scores.gather(1, case.labels[:, None]).sum(), activations)
    return activations.detach(), gradients


def facts(case: Case) -> list[book.Facts]:
    """What the twins may know of each image: the network's own activations and gradients, all further answers in float64."""
    trunk, tail = deepcopy(case.trunk).double(), deepcopy(case.tail).double()

    def of_one(image: Tensor, activations: Tensor, gradients: Tensor, label: int) -> book.Facts:
        def tail_score(values: Tensor) -> Tensor:
            return tail(values[None].clone())[0, label]

        def gradients_at(other: book.Array) -> book.Array:
            there = trunk(torch.from_numpy(other)[None]).detach().requires_grad_()
            return torch.autograd.grad(tail_score(there[0]), there)[0][0].numpy()

        def curvature() -> book.Array:
            size = activations.numel()
            second = torch.autograd.functional.hessian(tail_score, activations.double(), vectorize=True)
            return second.reshape(size, size).numpy()

        return book.Facts(
            image=image.double().numpy(),
            activations=activations.double().numpy(),
            gradients=gradients.double().numpy(),
            score=lambda other: tail_score(trunk(torch.from_numpy(other)[None])[0]).item(),
            tail=lambda values: tail_score(torch.from_numpy(values)).item(),
            gradients_at=gradients_at,
            curvature=curvature,
        )

    rows = zip(case.images, *by_hand(case), case.labels.tolist(), strict=True)
    return [of_one(image, activations, gradients, label) for image, activations, gradients, label in rows]


def with_few_passes(name: str) -> Callable[..., Tensor]:
    """The row of METHODS with the options that the tests take."""
    return partial(METHODS[name], **OPTIONS[name]) if name in OPTIONS else METHODS[name]


def look_with(
    name: str,
    case: Case,
    target: str | int | Callable = "label",
    images: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """The raw map in the model's own precision."""
    images = case.images if images is None else images
    layer = find_layer(case.model, images, case.layer)
    with capture(case.model, images, target_layer=layer, target=target, labels=case.labels) as evidence:
        return METHODS[name](evidence, **OPTIONS.get(name, {}) | options)


def assert_close_to_peak(cams: Tensor, expected: Tensor, tolerance: float) -> None:
    """The largest error of each map, as a share of the map's peak; a zero map must be zero exactly."""
    peak = expected.abs().amax(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    assert_close(cams.double() / peak, expected.double() / peak, rtol=0.0, atol=tolerance)


def furthest_from(cams: Tensor, expected: Tensor) -> Tensor:
    """Of each map the largest error, as a share of the map's peak."""
    return (cams - expected).abs().amax(dim=(1, 2)) / expected.abs().amax(dim=(1, 2))
