"""A training with many looks, in a process of its own: what the process holds after each of them.

python -m support.many_looks FOLDER LOOKS  prints one JSON object.
"""

import contextlib
import ctypes
import gc
import json
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback
from pytorch_lightning.loggers import TensorBoardLogger

from lightning_cam import CAMMonitor, Style
from support.modules import Classifier, loader, trainer


def resident() -> int:
    """Bytes of memory that are in use, without what Python and the allocator keep for later."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # other C libraries have no such call
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Gauge(Callback):
    """The memory after each epoch, and after every so many what else the process holds."""

    def __init__(self, monitor: CAMMonitor, every: int) -> None:
        self.monitor, self.every, self.found = monitor, every, []
        self.memory: list[int] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.monitor.session.publisher.flush()
        self.memory.append(resident())
        if (trainer.current_epoch + 1) % self.every == 0:
            trainer.logger.experiment.flush()
            self.found.append(
                {
                    "files": len(os.listdir("/proc/self/fd")),
                    "hooks": sum(
                        len(m._forward_hooks) + len(m._forward_pre_hooks) for m in pl_module.modules()
                    ),
                    "threads": threading.active_count(),
                    "events": sum(
                        path.stat().st_size for path in Path(trainer.logger.log_dir).glob("events*")
                    ),
                }
            )


def trained(folder: Path, looks: int) -> dict[str, Any]:
    monitor = CAMMonitor(probe=9, style=Style(shown=4), max_overhead=None)
    gauge = Gauge(monitor, looks // 10)
    options = {"max_epochs": looks, "limit_train_batches": 1, "limit_val_batches": 2, "log_every_n_steps": 1}
    fitted = trainer(folder, callbacks=[monitor, gauge], logger=TensorBoardLogger(folder), **options)
    fitted.fit(Classifier(), loader(), loader(seed=1))
    return {
        "epochs": fitted.current_epoch,
        "remembered": [look.epoch for look in monitor.history.looks],
        "memory": gauge.memory,
        "found": gauge.found,
    }


def many_looks(folder: Path, looks: int) -> dict[str, Any]:
    """What the process found that trained for so many looks."""
    paths = os.pathsep.join([*sys.path[1:], str(Path(__file__).parents[1])])
    done = subprocess.run(  # noqa: S603 - our own file
        [sys.executable, "-m", "support.many_looks", str(folder), str(looks)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(trained(Path(sys.argv[1]), int(sys.argv[2]))))  # noqa: T201
