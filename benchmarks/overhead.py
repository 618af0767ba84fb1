"""What the monitor costs a training: how long the loop waits for a look, its share of an epoch, memory; and the same by hand.

    python benchmarks/overhead.py                                                # ResNet-18 and 64 images
    python benchmarks/overhead.py --parts wait --models resnet50 convnext_base --images 16 64 256 1024 --device cuda
    python benchmarks/overhead.py --parts share --models resnet18 resnet50

Each row is a Trainer of its own with a ``CAMMonitor`` and a TensorBoard logger; rows are printed as they come, with what they took.

wait   without shortcut tests: wall time in all hooks of the monitor during one validation, beside the inference forward of the same
       images in batches of the same size, which follows the monitor at each validation.
       By hand: a callback with pytorch-grad-cam for the same
       images at the same layer, and a figure of matplotlib, in the same validation. Threads work on when the hooks have returned:
       "behind" is the processor time that they take, until all is idle, before anything else is timed.
share  with shortcut tests, in an epoch of 1000 times the median of a measured training batch of 64, without loading of data. Every
       probe image is answered rightly, and so a host: the dearest case.

Weights are random. Images have the spectrum of photographs: white noise would make JPEG files several times as large.
"""

import argparse
import gc
import json
import logging
import resource
import statistics
import sys
import threading
import time
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torchvision
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from side_by_side import peak_bytes, seconds, surroundings
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_cam import CAMMonitor, Probe
from lightning_cam.attribution.maps import relative, upsample

CLASSES = 8
SHOWN = 16  # as CAMMonitor draws by default
EPOCH, TRAINING_BATCH = 1000, 64
LOOKS = 9  # of share: at least every third makes all tests, and one that shall confirm what was found


@dataclass
class Figures:
    """Of one Trainer: a value a validation, in seconds."""

    model: str
    images: int
    batch: int
    inference: list[float] = field(default_factory=list)
    monitor: list[float] = field(default_factory=list)
    look: list[float] = field(default_factory=list)  # forward and backward, of the monitor's time
    means: list[float] = field(default_factory=list)  # hooks before batches, of the monitor's time
    by_hand: list[float] = field(default_factory=list)
    behind: list[float] = field(default_factory=list)  # processor time of other threads
    behind_by_hand: list[float] = field(default_factory=list)
    training: list[float] = field(default_factory=list)  # one batch
    complete: list[bool] = field(default_factory=list)  # whether the look made all tests
    held: list[int] = field(default_factory=list)  # bytes of the process, or of tensors on the GPU
    sanity_check: float = 0.0
    looks: int = 0  # as the monitor's history has them
    hosts: int = 0
    difference: float = float(
        "nan"
    )  # largest, of maps in [0, 1], between the monitor's and those made by hand
    peaks: dict[str, int] = field(default_factory=dict)


class Network(LightningModule):
    """Validates nothing and trains nothing but a number, so that the weights stay and steps are counted."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.number = net, nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.number.square()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        return None

    def print(self, *what: Any, **options: Any) -> None:
        print(*what, file=sys.stderr)  # else the monitor's hints would stand in the table

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.number], lr=0.1)


class ByHand(Callback):
    """What one writes without a monitor: maps of pytorch-grad-cam in a figure of matplotlib."""

    def __init__(self, monitor: CAMMonitor, batch: int) -> None:
        self.monitor, self.batch = monitor, batch
        self.maps = np.zeros(0)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        import matplotlib.pyplot as plt
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.image import show_cam_on_image
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        images, labels = explained(self.monitor)
        layer, made = pl_module.get_submodule(layer_of(self.monitor)), []
        with torch.enable_grad(), GradCAM(model=pl_module, target_layers=[layer]) as cam:
            for some, own in zip(images.split(self.batch), labels.split(self.batch), strict=True):
                targets = [ClassifierOutputTarget(label) for label in own.tolist()]
                made.append(cam(input_tensor=some.to(pl_module.device), targets=targets))
        self.maps = np.concatenate(made)
        figure, axes = plt.subplots(4, 8, figsize=(16, 8.5))
        pictures = images[:SHOWN].permute(0, 2, 3, 1).numpy()
        for pair, picture, saliency in zip(axes.reshape(-1, 2), pictures, self.maps, strict=False):
            pair[0].imshow(picture)
            pair[1].imshow(show_cam_on_image(picture, saliency, use_rgb=True))
        for axis in axes.flat:
            axis.axis("off")
        logger: Any = trainer.logger
        logger.experiment.add_figure("by hand", figure, trainer.global_step)
        plt.close(figure)


class Clock:
    """Times the hooks of callbacks from outside, and what other threads do meanwhile and after."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.spent: dict[tuple[Callback, str], float] = {}
        self.asks_peak = False  # of tensor memory, in place of times
        self.peaks: dict[Callback, int] = {}

    def times(self, callback: Callback, *others: str) -> None:
        """Replaces the callback's own hooks, and other methods that are named, by such that tell how long they took."""
        for name in [*(name for name in vars(type(callback)) if name.startswith("on_")), *others]:
            setattr(callback, name, self._timed(callback, name, getattr(callback, name)))

    def _timed(self, callback: Callback, name: str, method: Callable) -> Callable:
        def timed(*arguments: Any, **options: Any) -> Any:
            found = []

            def run() -> None:
                found.append(method(*arguments, **options))

            if self.device.type == "cuda":
                torch.cuda.synchronize()
            if self.asks_peak and name.startswith("on_validation_"):
                self.peaks[callback] = max(self.peaks.get(callback, 0), peak_bytes(run, self.device))
            else:
                self.spent[callback, name] = self.spent.get((callback, name), 0.0) + seconds(run, self.device)
            return found[0]

        return timed

    def take(self, callback: Callback) -> dict[str, float]:
        """Seconds by method since this was last asked."""
        return {name: self.spent.pop((of, name)) for of, name in list(self.spent) if of is callback}

    def behind(self) -> float:
        """Processor time of all other threads of Python, since they began."""
        others = [thread for thread in threading.enumerate() if thread is not threading.current_thread()]
        return sum(
            time.clock_gettime(time.pthread_getcpuclockid(thread.ident)) for thread in others if thread.ident
        )

    def rest(self) -> float:
        """Waits until other threads are idle; ``behind`` then."""
        idle, before = 0, self.behind()
        while idle < 5:
            time.sleep(0.02)
            now = self.behind()
            idle, before = (idle + 1 if now - before < 5e-4 else 0), now
        return before


class Then(Callback):
    """Does something at the end of each validation, after the callbacks that stand before it."""

    def __init__(self, do: Callable[[LightningModule, bool], None]) -> None:
        self.do = do

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.do(pl_module, trainer.sanity_checking)


class Run:
    """One Trainer: the monitor, by hand, and the inference forward, validation after validation.

    Args:
        by_hand: Whether the same is done by hand, and the memory of both recorded, at one more validation.
        step: A training batch, timed after each validation.
    """

    def __init__(
        self,
        figures: Figures,
        monitor: CAMMonitor,
        device: torch.device,
        by_hand: bool = False,
        step: Callable[[], None] | None = None,
    ) -> None:
        self.figures, self.monitor, self.device, self.step = figures, monitor, device, step
        self.by_hand = ByHand(monitor, figures.batch) if by_hand else None
        self.clock, self.busy, self.validations = Clock(device), 0.0, 0
        self.clock.times(monitor, "_look")
        if self.by_hand is not None:
            self.clock.times(self.by_hand)

    def fit(self, net: nn.Module, validation: TensorDataset, validations: int) -> None:
        """Times so many validations."""
        self.validations = validations
        after = [
            Then(self.monitor_ended),
            *([self.by_hand] if self.by_hand else []),
            Then(self.validation_ended),
        ]
        with TemporaryDirectory() as directory:
            trainer = Trainer(
                max_epochs=validations + (self.by_hand is not None),
                logger=TensorBoardLogger(directory),
                callbacks=[self.monitor, *after],
                accelerator="gpu" if self.device.type == "cuda" else "cpu",
                devices=1,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            single = DataLoader(TensorDataset(*validation[:1]), batch_size=1)
            trainer.fit(Network(net), single, DataLoader(validation, batch_size=self.figures.batch))
        self.figures.looks = sum(look.epoch >= 0 for look in self.monitor.history.looks)

    def monitor_ended(self, pl_module: LightningModule, sanity_checking: bool) -> None:
        spent, figures = self.clock.take(self.monitor), self.figures
        look, waited = spent.pop("_look", 0.0), sum(spent.values())
        behind = self.behind()
        if sanity_checking:
            figures.sanity_check = waited
        elif not self.clock.asks_peak:
            # Before the job by hand, which leaves memory in a state that slows the next forwards; the first warms up.
            inference = self.inference(pl_module)
            inference()
            figures.inference.append(seconds(inference, self.device))
            figures.monitor.append(waited)
            figures.look.append(look)
            figures.means.append(spent.get("on_validation_batch_start", 0.0))
            figures.behind.append(behind)
            figures.complete.append(self.monitor._memory.standing.rested == 0)

    def validation_ended(self, pl_module: LightningModule, sanity_checking: bool) -> None:
        if sanity_checking:
            return
        figures, behind = self.figures, self.behind()
        if self.by_hand is not None:
            spent = sum(self.clock.take(self.by_hand).values())
            pl_module.zero_grad()  # what pytorch-grad-cam leaves
        if self.clock.asks_peak:
            figures.peaks = {"inference": peak_bytes(self.inference(pl_module), self.device)}
            figures.peaks |= {type(of).__name__: peak for of, peak in self.clock.peaks.items()}
            return
        if self.by_hand is not None:
            figures.by_hand.append(spent)
            figures.behind_by_hand.append(behind)
            figures.difference = differ(self.monitor, self.by_hand.maps)
        if self.step is not None:
            figures.training.append(seconds(self.step, self.device))
        gc.collect()
        figures.held.append(torch.cuda.memory_allocated() if self.device.type == "cuda" else resident_bytes())
        self.clock.asks_peak = self.by_hand is not None and len(figures.inference) == self.validations

    def inference(self, pl_module: LightningModule) -> Callable[[], None]:
        """The forward of what the monitor looks at, in batches of the same size."""
        parts = explained(self.monitor)[0].to(self.device).split(self.figures.batch)

        def run() -> None:
            with torch.no_grad():
                for part in parts:
                    pl_module(part)

        return run

    def behind(self) -> float:
        """Processor time of other threads since this was last asked, when they are idle again."""
        before, self.busy = self.busy, self.clock.rest()
        return self.busy - before


def explained(monitor: CAMMonitor) -> tuple[Tensor, Tensor]:
    """Images and labels that the monitor looks at."""
    if monitor.probe is None or monitor.probe.labels is None:
        raise SystemExit("The monitor has switched itself off; what it warned of says why.")
    return monitor.probe.images, monitor.probe.labels


def layer_of(monitor: CAMMonitor) -> str:
    """Name of the layer that the monitor looks at."""
    return monitor._layers[0].name if monitor._layers else ""


def differ(monitor: CAMMonitor, by_hand: np.ndarray) -> float:
    """Largest difference between the monitor's last maps and others, both as pytorch-grad-cam scales them.

    It adds 1e-7 to what it divides by, which is seen where a map's largest value is as small as 1e-5.
    """
    cams = relative(monitor.history.looks[-1].cams.clamp(min=0))
    cams = cams - cams.amin(dim=(1, 2), keepdim=True)
    expected = upsample(relative(cams), by_hand.shape[1:])
    return (expected - torch.from_numpy(by_hand)).abs().max().item()


def resident_bytes() -> int:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def training_step(net: nn.Module, images: Tensor, labels: Tensor, device: torch.device) -> Callable[[], None]:
    """One training batch of a copy of the network: forward, backward, step."""
    copy = deepcopy(net).train()
    optimizer = torch.optim.SGD(copy.parameters(), lr=1e-3, momentum=0.9)
    rows = torch.arange(TRAINING_BATCH) % len(images)
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
    """Makes the last layer answer every image rightly, as ``stages.py`` does; how many are."""
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
    run = Run(figures, CAMMonitor(count, cues=None), device, by_hand=True)
    run.fit(net, validation, options.rounds + 1)
    return figures


def share(name: str, count: int, options: argparse.Namespace, device: torch.device) -> Figures:
    """One row of ``share``: the probe's images again and again are the validation set, of which class means are taken."""
    net, images, labels = (
        network(name, device),
        photographs(count, options.size),
        torch.arange(count) % CLASSES,
    )
    figures = Figures(name, count, min(count, options.max_batch))
    figures.hosts = fit_last_layer(net, images.to(device), labels.to(device), figures.batch)
    rows = torch.arange(options.validation) % count
    run = Run(
        figures, CAMMonitor(Probe(images, labels)), device, step=training_step(net, images, labels, device)
    )
    run.fit(net, TensorDataset(images[rows], labels[rows]), LOOKS)
    return figures


WAIT = (
    "| | inference | the loop waits | ratio | of it forward and backward | behind | first look | by hand: the loop waits | ratio "
    "| behind | peak: inference | monitor | by hand | stays, a look |"
)
SHARE = (
    "| | hosts | training batch | looks with all tests | such a look | another | mean share | largest share "
    "| mean share with behind | class means | share of the first epoch |"
)


def wait_row(figures: Figures) -> str:
    """The first look, which finds the layer, imports and allocates, stands for itself."""

    def median(values: list[float]) -> str:
        return f"{1e3 * statistics.median(values[1:]):.1f} ms"

    def ratio(values: list[float]) -> str:
        return f"{statistics.median(mine / base for mine, base in zip(values[1:], figures.inference[1:], strict=True)):.2f}"

    stays = (figures.held[-1] - figures.held[1]) / max(1, len(figures.held) - 2)
    cells = [
        f"{figures.model}, {figures.images} in batches of {figures.batch}",
        median(figures.inference),
        median(figures.monitor),
        f"**{ratio(figures.monitor)}**",
        ratio(figures.look),
        median(figures.behind),
        f"{1e3 * figures.monitor[0]:.0f} ms",
        median(figures.by_hand),
        f"**{ratio(figures.by_hand)}**",
        median(figures.behind_by_hand),
        *(f"{figures.peaks[name] / 1e6:.1f} MB" for name in ("inference", "CAMMonitor", "ByHand")),
        f"{stays / 1e6:.2f} MB",
    ]
    return f"| {' | '.join(cells)} |"


def share_row(figures: Figures) -> str:
    """Class means are of the first validation alone, so they stand beside the looks."""
    batch = statistics.median(figures.training)
    looks = [whole - means for whole, means in zip(figures.monitor, figures.means, strict=True)]
    kinds = {
        kind: [time for time, made in zip(looks, figures.complete, strict=True) if made == kind]
        for kind in (True, False)
    }
    both = [mine + behind for mine, behind in zip(looks, figures.behind, strict=True)]

    def percent(time: float) -> str:
        return f"{100 * time / (EPOCH * batch):.2f} %"

    cells = [
        f"{figures.model}, {figures.images}",
        str(figures.hosts),
        f"{1e3 * batch:.1f} ms",
        f"{len(kinds[True])} of {len(looks)}",
        *(f"{statistics.mean(times):.2f} s" if times else "" for times in kinds.values()),
        percent(statistics.mean(looks)),
        percent(max(looks)),
        percent(statistics.mean(both)),
        f"{figures.means[0]:.2f} s",
        percent(figures.means[0]),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="*", choices=["wait", "share"], default=["wait", "share"])
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
        help="images of which share takes class means; the monitor takes 512 of a class at most",
    )
    parser.add_argument("--size", type=int, default=224)
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
                if options.json:
                    options.json.write_text(json.dumps(made))


if __name__ == "__main__":
    main()
