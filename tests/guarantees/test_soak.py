"""Many looks: what grows, grows as stated; what should not, does not."""

import itertools
import os
import resource
import threading
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from support.modules import Classifier, loader, trainer

from lightning_cam import CAMMonitor
from lightning_cam.data.history import MOST_LOOKS


class Gauge(Callback):
    """What the process holds after every so many epochs."""

    def __init__(self, monitor: CAMMonitor, every: int) -> None:
        self.monitor, self.every, self.found = monitor, every, []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if (trainer.current_epoch + 1) % self.every == 0:
            self.monitor._background.flush()
            trainer.logger.experiment.flush()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.found.append(
                {
                    "bytes": pages * resource.getpagesize(),
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


@pytest.mark.skipif(
    not os.path.exists("/proc/self/statm"), reason="this system does not tell what a process holds"
)
@pytest.mark.parametrize("looks", [60, pytest.param(1000, marks=pytest.mark.full)])
def test_many_looks(looks: int, tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=9, shown=4)
    gauge = Gauge(monitor, looks // 10)
    options = {"max_epochs": looks, "limit_train_batches": 1, "limit_val_batches": 2, "log_every_n_steps": 1}
    fitted = trainer(tmp_path, callbacks=[monitor, gauge], logger=TensorBoardLogger(tmp_path), **options)
    fitted.fit(Classifier(), loader(), loader(seed=1))
    assert fitted.current_epoch == looks
    assert monitor.history.looks[-1].epoch == looks - 1
    assert len(monitor.history) <= MOST_LOOKS
    assert monitor.history.looks[0].epoch == -1
    half, last = gauge.found[len(gauge.found) // 2 - 1], gauge.found[-1]
    assert {name: last[name] for name in ("files", "hooks", "threads")} == {
        name: half[name] for name in ("files", "hooks", "threads")
    }
    assert last["hooks"] == 0
    assert last["bytes"] - half["bytes"] < 32e6, "history, film strip and tests are bounded"
    sizes = [0, *(found["events"] for found in gauge.found)]
    each = [(after - before) / (looks / 10) for before, after in itertools.pairwise(sizes[5:])]
    assert 10e3 < min(each) < max(each) < 1e6, (
        "an overlay, a film strip of at most ten columns, the evidence of a finding, scalars"
    )
    assert max(each) < 2 * min(each), "no look is larger for those before it"
