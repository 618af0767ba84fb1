"""What the shortcut tests cost: predictivity once, and a look's tests, beside the inference forward of the probe, interleaved.

    python benchmarks/shortcut_tests.py            # ResNet-50, 64 probe images and 1,000 others of 224 x 224, 8 classes

The last layer is fitted to the probe, so that every image is answered rightly. In one set of images nothing tells the class;
in the other a frame does, which every border, place, colour and tone sees: the dearest case.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torchvision
from side_by_side import Timed, compare, surroundings
from torch import Tensor, nn

from lightning_cam.attribution.capture import predicting
from lightning_cam.attribution.config import ModelConfig
from lightning_cam.shortcuts.cues import CUES
from lightning_cam.shortcuts.examine import Asking, examine
from lightning_cam.shortcuts.pairing import TestedProbe
from lightning_cam.shortcuts.predictivity import Predictivity, predictivity
from lightning_cam.shortcuts.report import ShortcutReport


def fitted(name: str, images: Tensor, labels: Tensor, batch: int) -> nn.Module:
    """A torchvision ResNet of random weights, whose last layer answers every image rightly."""
    model = torchvision.models.get_model(name, weights=None).eval().to(images.device)
    head, model.fc = model.fc, nn.Identity()
    with torch.inference_mode():
        # On the CPU, as CUDA's solver takes matrices of full rank only, and centred ones never are.
        features = torch.cat([model(part) for part in images.split(batch)]).double().cpu()
        known = labels.cpu()
        middle = features.mean(dim=0)
        targets = nn.functional.one_hot(known).double() - 1 / len(known.unique())
        weight = torch.linalg.lstsq(features - middle, targets, driver="gelsd").solution.T
    model.fc = nn.Linear(head.in_features, weight.shape[0]).to(images.device)
    with torch.no_grad():
        model.fc.weight.copy_(weight)
        model.fc.bias.copy_(-weight @ middle)
    return model


@dataclass(frozen=True)
class Cost:
    """What was measured.

    Attributes:
        predictivity: Seconds for a thousand images.
        timed: By variant, beside the inference forward of the probe.
        passes: By variant, how many images were sent through the network, as a multiple of the probe.
        asked: By variant, the cues that the network was asked about.
    """

    predictivity: float
    timed: dict[str, Timed]
    passes: dict[str, float]
    asked: dict[str, int]


def noise(count: int, size: int, labels: Tensor, with_frame: bool) -> Tensor:
    """Images of noise; with a frame whose grey tells the class."""
    images = torch.randn(count, 3, size, size)
    if with_frame:
        edge = torch.ones(size, size, dtype=torch.bool)
        edge[size // 16 : -(size // 16), size // 16 : -(size // 16)] = False
        images = torch.where(edge, labels[:, None, None, None] - 3.5, images)
    return images


def cost(
    name: str,
    count: int,
    size: int,
    classes: int,
    batch: int,
    rounds: int,
    device: torch.device,
    others: int = 1000,
) -> Cost:
    """What the tests take on a torchvision ResNet of random weights."""
    torch.manual_seed(0)
    labels, many = torch.arange(count) % classes, torch.arange(others) % classes
    found: dict[str, tuple[Tensor, dict[str, Predictivity], nn.Module]] = {}
    seconds = 0.0
    for variant, with_frame in (("nothing tells the class", False), ("a frame tells the class", True)):
        images = noise(count, size, labels, with_frame).to(device)
        start = time.perf_counter()
        told = predictivity(noise(others, size, many, with_frame), many)
        seconds = (time.perf_counter() - start) * 1000 / others
        found[variant] = images, told, fitted(name, images, labels.to(device), batch)
    reports: dict[str, ShortcutReport] = {}

    def inference() -> list[Tensor]:
        images, _, model = found["nothing tells the class"]
        with torch.inference_mode():
            return [model(part) for part in images.split(batch)]

    def test(variant: str) -> None:
        images, told, model = found[variant]
        own = labels.to(device)
        view = TestedProbe(images, own, own, None, classes)
        with predicting(model, len(images), ModelConfig(max_batch=batch)) as ask:
            reports[variant] = examine([view], Asking(ask, batch), CUES, [told])

    variants: dict[str, Callable[[], object]] = {
        "inference": inference,
        **{variant: partial(test, variant) for variant in found},
    }
    timed = compare(variants, device, rounds, warm_ups=0, memory=False)
    return Cost(
        seconds,
        timed,
        {variant: report.passes for variant, report in reports.items()},
        {variant: len(report.results) for variant, report in reports.items()},
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet50", help="a ResNet of torchvision")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    found = cost(
        arguments.model,
        arguments.images,
        arguments.size,
        arguments.classes,
        arguments.batch,
        arguments.rounds,
        device,
    )
    print(
        f"{arguments.model}, {arguments.images} images of {arguments.size} x {arguments.size}, {arguments.classes} classes, "
        f"{arguments.rounds} rounds; {surroundings(device)}\npredictivity: {found.predictivity:.2f} s for 1,000 images\n"
    )
    print("| | median time | ratio | cues asked | forward passes of the probe |\n|---|---|---|---|---|")
    for name, timed in found.timed.items():
        passes = f"{found.passes[name]:.2f}" if name in found.passes else "1"
        print(f"| {name} | {timed.time:.3f} s | {timed.ratio:.2f} | {found.asked.get(name, 0)} | {passes} |")


if __name__ == "__main__":
    main()
