"""What the monitor costs a training: how long the loop waits for a look, its share of an epoch, memory; and the same by hand.

    python benchmarks/overhead.py                                                # ResNet-18 and 64 images
    python benchmarks/overhead.py --parts wait --models resnet50 convnext_base --images 16 64 256 1024 --device cuda
    python benchmarks/overhead.py --parts share --models resnet18 resnet50
    python benchmarks/overhead.py --parts growth --plot docs/growth.png

Each row is a Trainer of its own with a ``CAMMonitor`` and a TensorBoard logger; rows are printed as they come, with what they took.

wait   without shortcut tests: wall time in all hooks of the monitor during one validation, beside the inference forward of the same
       images in batches of the same size, which follows the monitor at each validation.
       By hand: a callback with pytorch-grad-cam for the same
       images at the same layer, and a figure of matplotlib, in the same validation. Threads work on when the hooks have returned:
       "behind" is the processor time that they take, until all is idle, before anything else is timed.
share  with shortcut tests and no limit, in an epoch of 1000 times the median of a measured training batch, without loading of data.
       The validation set is the probe's images again and again, answered rightly, so that every cue tells the class and is asked
       about: the dearest case. With --no-cue it has other images, of which no cue tells it: the usual case.
growth how time and memory grow with the probe's images, with classes and with looks; see ``growth.py``.

Weights are random. Images have the spectrum of photographs: white noise would make JPEG files several times as large.
"""

import argparse
import json
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import growth
import torch
import torchvision
from side_by_side import installed, surroundings
from timed_training import Figures, Run, without_tests
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from lightning_cam import CAMMonitor, Probe

CLASSES = 8
EPOCH, TRAINING_BATCH = 1000, 64
LOOKS = 5  # of share


def training_step(
    net: nn.Module, images: Tensor, labels: Tensor, count: int, device: torch.device
) -> Callable[[], None]:
    """One training batch of a copy of the network: forward, backward, step."""
    copy = deepcopy(net).train()
    optimizer = torch.optim.SGD(copy.parameters(), lr=1e-3, momentum=0.9)
    rows = torch.arange(count) % len(images)
    batch, truth = images[rows].to(device), labels[rows].to(device)

    def step() -> None:
        with torch.enable_grad():  # validation runs without
            optimizer.zero_grad()
            nn.functional.cross_entropy(copy(batch), truth).backward()
            optimizer.step()

    return step


def photographs(count: int, size: int) -> Tensor:
    """Random images in [0, 1] whose amplitudes fall with the frequency, as those of photographs do."""
    scales = [2**i for i in range(1, 12) if 2**i < size]
    layers = [
        nn.functional.interpolate(torch.randn(count, 3, side, side), size=(size, size), mode="bicubic") / side
        for side in scales
    ]
    images = torch.stack(layers).sum(dim=0)
    low, high = images.amin(dim=(1, 2, 3), keepdim=True), images.amax(dim=(1, 2, 3), keepdim=True)
    return (images - low) / (high - low)


def fit_last_layer(net: nn.Module, images: Tensor, labels: Tensor, batch: int) -> int:
    """Makes the last layer answer every image rightly, as ``shortcut_tests.py`` does; how many are."""
    last = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
    features: list[Tensor] = []
    with (
        last.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0])),
        torch.inference_mode(),
    ):
        for part in images.split(batch):
            net(part)
    with torch.no_grad():
        known = torch.cat(features).double().cpu()
        middle, targets = (
            known.mean(dim=0),
            nn.functional.one_hot(labels.cpu(), CLASSES).double() - 1 / CLASSES,
        )
        weight = torch.linalg.lstsq(known - middle, targets, driver="gelsd").solution.T
        last.weight.copy_(weight)
        last.bias.copy_(-(weight @ middle))
        predicted = torch.cat([net(part).argmax(dim=1) for part in images.split(batch)])
    return int((predicted == labels).sum())


def network(name: str, device: torch.device) -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None, num_classes=CLASSES).eval().to(device)


def wait(name: str, count: int, options: argparse.Namespace, device: torch.device) -> Figures:
    """One row of ``wait``: the validation set is the probe."""
    net = network(name, device)
    validation = TensorDataset(photographs(count, options.size), torch.arange(count) % CLASSES)
    figures = Figures(name, count, min(count, options.max_batch))
    run = Run(figures, without_tests(count), device, by_hand=installed("grad-cam"), memory=True)
    run.fit(net, validation, options.rounds + 1)
    return figures


def share(name: str, count: int, options: argparse.Namespace, device: torch.device) -> Figures:
    """One row of ``share``: the validation set, by which cues are judged, is the probe again and again, or other images."""
    net, images, labels = (
        network(name, device),
        photographs(count, options.size),
        torch.arange(count) % CLASSES,
    )
    figures = Figures(name, count, min(count, options.max_batch))
    figures.hosts = fit_last_layer(net, images.to(device), labels.to(device), figures.batch)
    rows = torch.arange(options.validation)
    known = photographs(len(rows), options.size) if options.no_cue else images[rows % count]
    step = training_step(net, images, labels, options.training_batch, device)
    run = Run(figures, CAMMonitor(Probe(images, labels), max_overhead=None), device, step=step)
    run.fit(net, TensorDataset(known, rows % CLASSES), options.looks)
    return figures


WAIT = (
    "| | inference | the loop waits | ratio | of it forward and backward | behind | first look | by hand: the loop waits | ratio "
    "| behind | peak: inference | monitor | by hand | stays, a look |"
)
SHARE = (
    "| | hosts | inference | training batch | first look | another | share: first look | another | another with behind "
    "| features of cues | share of the first epoch |"
)


def wait_row(figures: Figures) -> str:
    """The first look, which finds the layer, imports and allocates, stands for itself."""

    def median(values: list[float]) -> str:
        return f"{1e3 * statistics.median(values[1:]):.1f} ms"

    def ratio(values: list[float]) -> str:
        return f"{statistics.median(mine / base for mine, base in zip(values[1:], figures.inference[1:], strict=True)):.2f}"

    stays = (figures.held[-1] - figures.held[1]) / max(1, len(figures.held) - 2)
    by_hand = ["-", "-", "-"]  # where pytorch-grad-cam is not installed
    if figures.by_hand:
        by_hand = [
            median(figures.by_hand),
            f"**{ratio(figures.by_hand)}**",
            median(figures.behind_by_hand),
        ]
    peaks = [
        f"{figures.peaks[name] / 1e6:.1f} MB" if name in figures.peaks else "-"
        for name in ("inference", "CAMMonitor", "ByHand")
    ]
    cells = [
        f"{figures.model}, {figures.images} in batches of {figures.batch}",
        median(figures.inference),
        median(figures.monitor),
        f"**{ratio(figures.monitor)}**",
        ratio(figures.look),
        median(figures.behind),
        f"{1e3 * figures.monitor[0]:.0f} ms",
        *by_hand,
        *peaks,
        f"{stays / 1e6:.2f} MB",
    ]
    return f"| {' | '.join(cells)} |"


def share_row(figures: Figures) -> str:
    """The first look shows partial images as well; features are of the first validation alone."""
    batch = statistics.median(figures.training)
    first, *looks = [whole - means for whole, means in zip(figures.monitor, figures.means, strict=True)]
    another = statistics.median(looks)
    both = [mine + behind for mine, behind in zip(looks, figures.behind[1:], strict=True)]

    def percent(time: float) -> str:
        return f"{100 * time / (EPOCH * batch):.2f} %"

    cells = [
        f"{figures.model}, {figures.images}",
        str(figures.hosts),
        f"{1e3 * statistics.median(figures.inference):.1f} ms",
        f"{1e3 * batch:.1f} ms",
        f"{first:.2f} s",
        f"{another:.2f} s",
        percent(first),
        percent(another),
        percent(statistics.median(both)),
        f"{figures.means[0]:.2f} s",
        percent(figures.means[0]),
    ]
    return f"| {' | '.join(cells)} |"


def keep(made: dict[str, list[dict[str, Any]]], path: Path | None) -> None:
    """The raw figures so far, where a file is named."""
    if path is not None:
        path.write_text(json.dumps(made))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="*", choices=["wait", "share", "growth"], default=["wait", "share"])
    parser.add_argument(
        "--models",
        nargs="*",
        default=["resnet18"],
        help="classifiers of torchvision that end in a linear layer",
    )
    parser.add_argument("--images", nargs="*", type=int, default=[64], help="in the probe")
    parser.add_argument(
        "--rounds", type=int, default=7, help="looks of which wait takes the median, after the first"
    )
    parser.add_argument(
        "--max-batch",
        type=int,
        default=64,
        help="images sent through the model at once: the validation's batch",
    )
    parser.add_argument(
        "--validation",
        type=int,
        default=512,
        help="images by which share's monitor judges what tells the class; it takes some 1,000 at most",
    )
    parser.add_argument("--no-cue", action="store_true", help="share: nothing in them tells the class")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--looks", type=int, default=LOOKS, help="of share")
    parser.add_argument("--training-batch", type=int, default=TRAINING_BATCH, help="images, of share")
    parser.add_argument(
        "--growth-sizes",
        choices=list(growth.SIZES),
        default="full",
        help="how far growth goes: all of it takes some minutes on two cores",
    )
    parser.add_argument("--plot", type=Path, help="a file for growth's picture")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="a file for the raw figures")
    options = parser.parse_args()

    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    device = torch.device(options.device)
    made: dict[str, list[dict[str, Any]]] = {}
    print(
        f"{options.size} x {options.size}, {surroundings(device, 'pytorch-lightning', 'torchvision', 'grad-cam', 'matplotlib')}"
    )
    if "growth" in options.parts:
        made["growth"] = growth.measure(device, options.growth_sizes, options.plot)
        keep(made, options.json)
    for part, of, row, header in (("wait", wait, wait_row, WAIT), ("share", share, share_row, SHARE)):
        if part not in options.parts:
            continue
        print(f"\n{header}\n|{'---|' * (header.count('|') - 1)}")
        made[part] = []
        for name in options.models:
            for count in options.images:
                start = time.perf_counter()
                figures = of(name, count, options, device)
                made[part].append(asdict(figures))
                print(row(figures), flush=True)
                print(f"{part}, {name}, {count} images: {time.perf_counter() - start:.0f} s", file=sys.stderr)
                keep(made, options.json)


if __name__ == "__main__":
    main()
