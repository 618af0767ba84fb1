"""What the shortcut tests cost: stage 1, and both stages, beside the inference forward of the same images, interleaved in one run.

    python benchmarks/stages.py                       # ResNet-50, 64 images of 224 x 224, 8 classes

The network's last layer is fitted to the images, so that every image is answered rightly and is a host: the dearest case.
Prints medians, their ratio, and how many images were sent through the network, as a multiple of the probe.
"""

import argparse
import statistics

import torch
import torchvision
from side_by_side import seconds, surroundings
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
        features = torch.cat([model(part) for part in images.split(batch)]).double()
        middle, targets = (
            features.mean(dim=0),
            torch.nn.functional.one_hot(labels).double() - 1 / len(labels.unique()),
        )
        weight = torch.linalg.lstsq(
            features - middle, targets, driver="gelsd" if images.device.type == "cpu" else None
        ).solution.T
    model.fc = nn.Linear(head.in_features, weight.shape[0]).to(images.device)
    model.fc.weight, model.fc.bias = nn.Parameter(weight.float()), nn.Parameter(-(weight @ middle).float())
    return model


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

    device, batch = torch.device(arguments.device), arguments.batch
    torch.manual_seed(0)
    images = torch.randn(arguments.images, 3, arguments.size, arguments.size, device=device)
    labels = torch.arange(arguments.images, device=device) % arguments.classes
    model = fitted(arguments.model, images, labels, batch)
    means = ClassMeans(tuple(FEATURES))
    means.add(images, labels, None, range(arguments.classes))
    reports: dict[str, ShortcutReport] = {}

    def inference() -> list[Tensor]:
        with torch.inference_mode():
            return [model(part) for part in images.split(batch)]

    predicted = torch.cat(inference()).argmax(dim=1)
    saliency = torch.rand(arguments.images, arguments.size, arguments.size, device=device)
    subjects = TestedProbe(images, labels, predicted, None, saliency, means, among=False)

    def test(name: str, stages: tuple[int, ...]) -> None:
        cues = {cue: row for cue, row in CUES.items() if row.stage in stages}
        with predicting(model, len(images), ModelConfig(max_batch=batch)) as ask:
            reports[name] = examine(
                subjects, ask, cues, classes=arguments.classes, max_batch=batch, thorough=True
            )

    variants = {
        "inference": inference,
        "stage 1": lambda: test("stage 1", (1,)),
        "both stages": lambda: test("both stages", (1, 2)),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(arguments.rounds):
        for name, run in variants.items():
            times[name].append(seconds(run, device))
    print(
        f"{arguments.model}, {arguments.images} images of {arguments.size} x {arguments.size}, {reports['stage 1'].hosts} of them "
        f"hosts, {arguments.classes} classes, {arguments.rounds} rounds; {surroundings(device)}\n"
    )
    print("| | median time | ratio | forward passes of the probe |\n|---|---|---|---|")
    for name in variants:
        ratio = statistics.median(
            mine / base for mine, base in zip(times[name], times["inference"], strict=True)
        )
        passes = f"{reports[name].passes:.2f}" if name in reports else "1"
        print(f"| {name} | {statistics.median(times[name]):.3f} s | {ratio:.2f} | {passes} |")


if __name__ == "__main__":
    main()
