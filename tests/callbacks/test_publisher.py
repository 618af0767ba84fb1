"""What a fit leaves of pictures: every way to draw, and animations."""

from pathlib import Path

import pytest
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from support.files import frames_at
from support.modules import Classifier, loader, trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_cam import CAMMonitor, Style


def test_every_way_to_draw_in_a_fit(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    monitors = [
        CAMMonitor(probe=6, style=Style(color_scale="run", foreground=0.5), shortcuts=None),
        CAMMonitor(
            probe=6,
            method="hirescam",
            name="signed",
            style=Style(color_scale="run", colormap="RdBu_r", foreground=0.5),
            shortcuts=None,
        ),
    ]
    trainer(tmp_path, callbacks=monitors, logger=logger, max_epochs=9).fit(
        Classifier(), loader(), loader(seed=1)
    )
    found = EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    found.Reload()
    for name in ("cam", "signed"):
        # At the end; of 2, 4 and 8 looks, the untrained one among them, and at the end.
        assert len(found.Images(f"{name}/animation")) == 1
        assert len(found.Images(f"{name}/classes")) == 4


def test_an_animation_in_weights_and_biases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    trainer(tmp_path, callbacks=[CAMMonitor(probe=6, shortcuts=None)], logger=logger).fit(
        Classifier(), loader(), loader(seed=1)
    )
    logger.experiment.finish()
    (path,) = tmp_path.rglob("*.gif")
    assert frames_at(path) == 3
