"""What the shortcut tests cost: stage 1, and both stages, beside the inference forward of the same images, interleaved in one run.

    python benchmarks/stages.py                       # ResNet-50, 64 images of 224 x 224, 8 classes

The network's last layer is fitted to the images, so that every image is answered rightly and is a host: the dearest case.
Prints medians, their ratio, and how many images were sent through the network, as a multiple of the probe.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torchvision
from side_by_side import Timed, compare, surroundings
from torch import Tensor, nn

from lightning_cam.attribution.capture import predicting
from lightning_cam.attribution.config import ModelConfig
from lightning_cam.shortcuts.class_means import ClassMeans
from lightning_cam.shortcuts.cues import CUES
from lightning_cam.shortcuts.examine import examine
from lightning_cam.shortcuts.features import FEATURES
from lightning_cam.shortcuts.pairing import TestedProbe
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
        model.fc.bias.copy_(-(weight @ middle))
    return model


@dataclass
class Cost:
    """Of a probe whose images all are hosts.

    Args:
        timed: By what was done: the inference forward, stage 1, both stages.
        passes: How many images each stage sent through the network, as a multiple of the probe.
    """

    hosts: int
    timed: dict[str, Timed]
    passes: dict[str, float]


def cost(
    name: str, count: int, size: int, classes: int, batch: int, rounds: int, device: torch.device
) -> Cost:
    """What both stages take on a torchvision ResNet of random weights."""
    torch.manual_seed(0)
    images = torch.randn(count, 3, size, size, device=device)
    labels = torch.arange(count, device=device) % classes
    model = fitted(name, images, labels, batch)
    means = ClassMeans(tuple(FEATURES))
    means.add(images, labels, None, range(classes))
    reports: dict[str, ShortcutReport] = {}

    def inference() -> list[Tensor]:
        with torch.inference_mode():
            return [model(part) for part in images.split(batch)]

    predicted = torch.cat(inference()).argmax(dim=1)
    saliency = torch.rand(count, size, size, device=device)
    subjects = TestedProbe(images, labels, predicted, None, saliency, means, among=False)

    def test(name: str, stages: tuple[int, ...]) -> None:
        cues = {cue: row for cue, row in CUES.items() if row.stage in stages}
        with predicting(model, len(images), ModelConfig(max_batch=batch)) as ask:
            reports[name] = examine(subjects, ask, cues, classes=classes, max_batch=batch, thorough=True)

    variants: dict[str, Callable[[], object]] = {
        "inference": inference,
        "stage 1": lambda: test("stage 1", (1,)),
        "both stages": lambda: test("both stages", (1, 2)),
    }
    timed = compare(variants, device, rounds, warm_ups=0, memory=False)
    return Cost(reports["stage 1"].hosts, timed, {name: report.passes for name, report in reports.items()})


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
        f"{arguments.model}, {arguments.images} images of {arguments.size} x {arguments.size}, {found.hosts} of them "
        f"hosts, {arguments.classes} classes, {arguments.rounds} rounds; {surroundings(device)}\n"
    )
    print("| | median time | ratio | forward passes of the probe |\n|---|---|---|---|")
    for name, timed in found.timed.items():
        passes = f"{found.passes[name]:.2f}" if name in found.passes else "1"
        print(f"| {name} | {timed.time:.3f} s | {timed.ratio:.2f} | {passes} |")


if __name__ == "__main__":
    main()
