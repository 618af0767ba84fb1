"""How time and memory grow with the probe's images, with classes and with looks: the part ``growth`` of ``overhead.py``.

A small network and images of 32 x 32, so that what the monitor itself does is seen beside the forward passes. A look is timed from
outside, in all hooks of the monitor during one validation, alone and with all shortcut tests; memory is the peak of tensor memory in
these hooks, and what the process holds after each of many looks.
"""

import io
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import log
from pathlib import Path
from typing import Any

import torch
from timed_training import Figures, Run, showing_few, without_tests
from torch import nn
from torch.utils.data import TensorDataset

from lightning_cam import CAMMonitor

SIDE, BATCH = 32, 16
PER_CLASS = 8  # validation images of each class at least: class means need four
SIZES: dict[str, dict[str, Any]] = {
    "full": {
        "images": [16, 32, 64, 128, 256, 512, 1024],
        "classes": [2, 4, 10, 32, 100, 320, 1000],
        "looks": 1000,
    },
    "small": {"images": [16, 32], "classes": [2, 4], "looks": 12},
}
ROUNDS, TESTED_ROUNDS = 5, 7  # looks of one point; of those with tests, every third at least makes all


@dataclass
class Point:
    """One size.

    Args:
        along: What grows: "images" or "classes".
        look: Median seconds of a look without tests.
        tested: Likewise of one with all tests.
        first: Seconds in the hooks during the first validation, which chooses the probe and takes class means.
        look_peak: Bytes of tensor memory, without tests.
        tested_peak: Likewise with all tests.
        probe: Bytes of the probe's images.
        state: Bytes in a checkpoint.
    """

    along: str
    size: int
    look: float
    tested: float
    first: float
    look_peak: int
    tested_peak: int
    probe: int
    state: int


@dataclass
class Looks:
    """Many looks of one training, all with tests.

    Args:
        times: Seconds in the hooks, one a look.
        held: Bytes of the process after each look.
        states: Bytes in a checkpoint, by how many looks there had been.
    """

    times: list[float]
    held: list[int]
    states: dict[int, int]


class Small(nn.Module):
    """Two convolutions and a linear head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Linear(32, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images).mean(dim=(2, 3)))


def weigh(monitor: CAMMonitor) -> int:
    """Bytes of the monitor's state in a checkpoint."""
    kept = io.BytesIO()
    torch.save(monitor.state_dict(), kept)
    return kept.tell()


def validation(count: int, classes: int) -> TensorDataset:
    """Images of a class are nearly alike, so that every cue tells it and is asked about: the dearest case."""
    generator = torch.Generator().manual_seed(0)
    # In no order: 0, 1, 2 ... would be read as the images' numbers.
    labels = (torch.arange(count) % classes)[torch.randperm(count, generator=generator)]
    alike, own = (torch.rand(n, 3, SIDE, SIDE, generator=generator) for n in (classes, count))
    return TensorDataset(0.9 * alike[labels] + 0.1 * own, labels)


def point(along: str, images: int, classes: int, device: torch.device) -> Point:
    """One size, in two trainings."""
    torch.manual_seed(0)
    net, data = Small(classes).eval().to(device), validation(max(images, PER_CLASS * classes), classes)
    plain = Figures("small", images, BATCH)
    Run(plain, without_tests(images), device, memory=True).fit(net, data, ROUNDS)
    tested, monitor = Figures("small", images, BATCH), CAMMonitor(images, max_overhead=None)
    Run(tested, monitor, device, memory=True).fit(net, data, TESTED_ROUNDS)
    return Point(
        along,
        images if along == "images" else classes,
        statistics.median(plain.monitor[1:]),
        statistics.median(tested.monitor[1:]),
        tested.monitor[0],
        plain.peaks["CAMMonitor"],
        tested.peaks["CAMMonitor"],
        images * 3 * SIDE * SIDE * 4,
        weigh(monitor),
    )


def many_looks(count: int, device: torch.device) -> Looks:
    torch.manual_seed(0)
    net, data = Small(4).eval().to(device), validation(16, 4)
    figures, monitor, states = Figures("small", 16, BATCH), showing_few(16), {}
    run = Run(figures, monitor, device, pause=0.002)
    marks = sorted({max(1, count // 10), count // 2, count})
    ended = run.validation_ended

    def weighed(pl_module: Any, sanity_checking: bool) -> None:
        ended(pl_module, sanity_checking)
        if len(figures.monitor) in marks and not sanity_checking:
            states[len(figures.monitor)] = weigh(monitor)

    run.validation_ended = weighed  # type: ignore[method-assign]
    run.fit(net, data, count)
    return Looks(figures.monitor, figures.held, states)


def exponent(points: Sequence[Point], of: str) -> float:
    """The power of the size that a figure grows with over the larger half of the sizes: 1 is linear, 0 flat."""
    half = points[len(points) // 2 :] if len(points) > 2 else points
    xs, ys = [log(one.size) for one in half], [log(getattr(one, of)) for one in half]
    return statistics.linear_regression(xs, ys).slope


def table(points: Sequence[Point]) -> str:
    lines = [
        f"| {points[0].along} | a look | a look with all tests | first validation | peak, a look | peak, with tests | images of the probe "
        "| in a checkpoint |",
        "|---" * 8 + "|",
    ]
    for one in points:
        times = " | ".join(f"{1e3 * getattr(one, name):.1f} ms" for name in ("look", "tested", "first"))
        sizes = " | ".join(
            f"{getattr(one, name) / 1e6:.2f} MB" for name in ("look_peak", "tested_peak", "probe", "state")
        )
        lines.append(f"| {one.size} | {times} | {sizes} |")
    powers = " | ".join(
        "" if name == "probe" else f"{exponent(points, name):.2f}"
        for name in ("look", "tested", "first", "look_peak", "tested_peak", "probe", "state")
    )
    return "\n".join([*lines, f"| grows with the power | {powers} |"])


def looks_table(looks: Looks) -> str:
    """Tenths of the training, each as one row."""
    count = len(looks.times)
    each = max(1, count // 10)
    lines = ["| looks | median time in the hooks | the process holds |", "|---|---|---|"]
    for start in range(0, count - each + 1, each):
        end = start + each
        median = 1e3 * statistics.median(looks.times[start:end])
        lines.append(
            f"| {start + 1} to {end} | {median:.1f} ms | {statistics.median(looks.held[start:end]) / 1e6:.0f} MB |"
        )
    states = ", ".join(f"{size / 1e6:.2f} MB after {count} looks" for count, size in looks.states.items())
    return "\n".join([*lines, "", f"In a checkpoint: {states}."])


def plot(images: list[Point], classes: list[Point], looks: Looks, path: Path) -> None:
    """Time above, memory below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(13, 7), layout="constrained")
    for column, points in enumerate((images, classes)):
        sizes = [one.size for one in points]
        above, below = axes[:, column]
        for name, label in (("look", "a look"), ("tested", "with all tests")):
            above.loglog(sizes, [1e3 * getattr(one, name) for one in points], "o-", label=label)
        linear = [1e3 * points[-1].tested * size / sizes[-1] for size in sizes]
        above.loglog(sizes, linear, ":", color="grey", label="linear")
        for name, label in (("look_peak", "peak, a look"), ("tested_peak", "peak, with all tests")):
            below.loglog(sizes, [getattr(one, name) / 1e6 for one in points], "o-", label=label)
        below.loglog(
            sizes, [one.probe / 1e6 for one in points], ":", color="grey", label="the probe's images"
        )
        above.set(title=f"time and {points[0].along}", ylabel="ms in the hooks")
        below.set(xlabel=points[0].along, ylabel="MB of tensors")
    above, below = axes[:, 2]
    above.plot([1e3 * seconds for seconds in looks.times], ".", markersize=2, label="a look")
    above.set(
        title="time and looks", ylabel="ms in the hooks", ylim=(0, 4e3 * statistics.median(looks.times))
    )
    below.plot([held / 1e6 for held in looks.held], label="the process holds")
    below.set(xlabel="looks", ylabel="MB", ylim=(0, None))
    for axis in axes.flat:
        axis.legend(fontsize="small")
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def measure(device: torch.device, sizes: str, path: Path | None) -> list[dict[str, Any]]:
    """Prints the tables and draws the picture; the raw figures."""
    chosen = SIZES[sizes]
    images = [point("images", size, 8, device) for size in chosen["images"]]
    print(f"\n{table(images)}", flush=True)
    classes = [point("classes", 64, size, device) for size in chosen["classes"]]
    print(f"\n{table(classes)}", flush=True)
    looks = many_looks(chosen["looks"], device)
    print(f"\n{looks_table(looks)}", flush=True)
    if path is not None:
        plot(images, classes, looks, path)
    return [*map(asdict, [*images, *classes]), asdict(looks)]
