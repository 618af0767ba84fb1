"""What comes of a case: a fit under a monitor, everything that the monitor said, and what the user's own code says."""

import atexit
import io
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pytorch_lightning import Trainer, seed_everything
from torch import Tensor

from lightning_cam import CAMMonitor
from support.read_case import ReadCase, Setup
from support.read_modules import Own

QUIET = {
    "accelerator": "cpu",
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "enable_progress_bar": False,
    "logger": False,
}


@dataclass(frozen=True)
class Outcome:
    """A monitor after the fit, what it told, and the exception that ended the fit, if one did."""

    setup: Setup
    monitor: CAMMonitor
    told: str
    error: Exception | None
    folder: Path

    @property
    def all_told(self) -> str:
        """What was printed, warned of, raised, and what stands in the monitor's reading."""
        return f"{self.told}\n{self.monitor.reading}"


_OUTCOMES: dict[str, Outcome] = {}


def outcome(case: ReadCase) -> Outcome:
    """The case as it is, run once for all tests."""
    if case.name not in _OUTCOMES:
        _OUTCOMES[case.name] = run(case, case.make(), dict(case.arguments))
    return _OUTCOMES[case.name]


@cache
def _root() -> str:
    """One folder for all fits of this process, gone when it ends."""
    root = tempfile.mkdtemp(prefix="reading-")
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


@contextmanager
def logged_in(stream: io.StringIO) -> Iterator[None]:
    """What the monitor says in Lightning's log."""
    log, handler = logging.getLogger("pytorch_lightning"), logging.StreamHandler(stream)
    handler.addFilter(lambda record: record.getMessage().startswith("CAMMonitor"))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def run(case: ReadCase, setup: Setup, arguments: dict[str, Any]) -> Outcome:
    folder = Path(tempfile.mkdtemp(dir=_root()))
    monitor, printed, error = CAMMonitor(**{"log_dir": folder, **arguments}), io.StringIO(), None
    seed_everything(0, verbose=False)
    options = {"max_epochs": 1, "default_root_dir": folder, **QUIET, **case.options}
    with warnings.catch_warnings(record=True) as caught, logged_in(printed):
        warnings.simplefilter("always")
        trainer = Trainer(callbacks=[monitor], **options)
        try:
            if case.fit is None:
                trainer.fit(setup.module, setup.train, setup.val)
            else:
                case.fit(trainer, setup)
        except Exception as raised:  # noqa: BLE001 - the refusal is what is looked at
            error = raised
    said = [str(one.message) for one in caught if str(one.message).startswith("CAMMonitor")]
    raised = [] if error is None else [str(error), *getattr(error, "__notes__", [])]
    return Outcome(setup, monitor, "\n".join([*said, printed.getvalue(), *raised]), error, folder)


def own_answers(setup: Setup) -> Own:
    """What the user's own code says of each validation image, without any monitor."""
    setup.module.judged.clear()
    if setup.own is not None:
        setup.module.eval()
        with torch.no_grad():
            return setup.own(setup.module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Trainer(**QUIET).validate(setup.module, setup.val, verbose=False)
    return _joined(setup.module.judged)


def _joined(parts: list[Own]) -> Own:
    def join(name: str) -> Tensor | None:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else torch.cat([value.reshape(-1) for value in values]).float()

    return Own(parts[0].loss, join("right"), join("answer"), join("sure"))


def positions(probe: Tensor, seen: Tensor) -> list[int]:
    """For each probe image, which of the images that the network gets it is.

    Raises:
        AssertionError: It is none of them.
    """
    assert probe.shape[1:] == seen.shape[1:], (
        f"the probe holds {tuple(probe.shape)}, the network gets {tuple(seen.shape)}"
    )
    apart = torch.cdist(probe.flatten(1).double(), seen.flatten(1).double(), p=torch.inf)
    assert apart.amin(dim=1).amax() < 1e-4, "the probe has images that the network does not get"
    return apart.argmin(dim=1).tolist()


def share_in_figures(cams: Tensor, boxes: Tensor) -> float:
    """Share of the saliency within two pixels of the figures, (n, h, w) maps over (n, H, W) boxes; the mean over those
    images that have any.
    """
    saliency = F.interpolate(cams[:, None].float(), boxes.shape[1:], mode="bilinear")[:, 0].clamp(min=0)
    near = F.max_pool2d(boxes[:, None].float(), 5, stride=1, padding=2)[:, 0]
    total, inside = saliency.sum(dim=(1, 2)), (saliency * near).sum(dim=(1, 2))
    assert (total > 0).any(), "all maps are blank"
    return (inside / total)[total > 0].mean().item()
