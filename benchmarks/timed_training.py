"""One Trainer that is timed: the monitor, the same by hand, and the inference forward, validation after validation."""

import gc
import resource
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from side_by_side import peak_bytes, seconds
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_cam import CAMMonitor, Style
from lightning_cam.attribution.maps import relative, upsample

SHOWN = 16  # as CAMMonitor draws by default


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
    """Times the hooks of callbacks from outside, and what other threads do meanwhile and after.

    Args:
        pause: Seconds between two questions whether the other threads are idle.
    """

    def __init__(self, device: torch.device, pause: float = 0.02) -> None:
        self.device, self.pause = device, pause
        self.spent: dict[tuple[Callback, str], float] = {}
        self.asks_peak = False  # of tensor memory, in place of times
        self.peaks: dict[Callback, int] = {}

    def times(self, callback: Callback) -> None:
        """Replaces the callback's own hooks by such that tell how long they took."""
        for name in [name for name in vars(type(callback)) if name.startswith("on_")]:
            setattr(callback, name, self._timed(callback, name, getattr(callback, name)))

    def times_looks(self, monitor: CAMMonitor) -> None:
        """Times the maps alone too, forward and backward, as ``look``."""
        setup = monitor.setup

        def timed_setup(*arguments: Any, **options: Any) -> None:
            setup(*arguments, **options)
            runner: Any = monitor.session._runner
            runner.explain = self._timed(monitor, "look", runner.explain)

        setattr(monitor, "setup", timed_setup)  # noqa: B010 - a method of this one monitor

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
            time.sleep(self.pause)
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
        by_hand: Whether the same is done by hand as well.
        memory: Whether what was timed is done once more, at one more validation, and its memory recorded.
        step: A training batch, timed after each validation.
        pause: As ``Clock`` takes it.
    """

    def __init__(
        self,
        figures: Figures,
        monitor: CAMMonitor,
        device: torch.device,
        by_hand: bool = False,
        memory: bool = False,
        step: Callable[[], None] | None = None,
        pause: float = 0.02,
    ) -> None:
        self.figures, self.monitor, self.device, self.step = figures, monitor, device, step
        self.by_hand = ByHand(monitor, figures.batch) if by_hand else None
        self.memory, self.clock, self.busy, self.validations = memory, Clock(device, pause), 0.0, 0
        self.clock.times(monitor)
        self.clock.times_looks(monitor)
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
                max_epochs=validations + self.memory,
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
        look, waited = spent.pop("look", 0.0), sum(spent.values())
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
        self.clock.asks_peak = self.memory and len(figures.inference) == self.validations

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
        raise SystemExit("The monitor has no probe with labels; what it said says why.")
    return monitor.probe.images, monitor.probe.labels


def without_tests(probe: int) -> CAMMonitor:
    """A monitor that only looks."""
    return CAMMonitor(probe, shortcuts=None, max_overhead=None)


def showing_few(probe: int) -> CAMMonitor:
    """A monitor whose pictures are small: TensorBoard's checksums take longer than all else that many looks ask for."""
    return CAMMonitor(probe, style=Style(shown=4), max_overhead=None)


def layer_of(monitor: CAMMonitor) -> str:
    """Name of the layer that the monitor looks at."""
    return str(monitor._run.record.settings.get("target layer", ""))


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
