"""The judge: whose sources name the rule, and that it finds what a monitor in a Trainer finds."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lightning_cam import CAMMonitor
from research.shortcuts.bank import load_model, prepared, train
from research.shortcuts.judge import BATCH, PROBE, STUDY, judge, rule, sources
from research.shortcuts.setups import Setup


def test_every_file_that_the_judge_needs_names_the_rule() -> None:
    """But for the list of runs: it does not change what is found in one."""
    script = (
        "import sys, research.shortcuts.judge; "
        "print(*(name for name in sys.modules if name.startswith('research.shortcuts.')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603
    needed = {name.removeprefix("research.shortcuts.") for name in done.stdout.split()}
    assert needed - set(STUDY) == {"plans"}
    assert set(STUDY) <= needed
    files = sources()
    assert all(path.is_file() for path in files)
    assert {"cues.py", "rule.py", "examine.py", "predictivity.py", "report.py", "sampler.py"} <= {
        path.name for path in files
    }


def test_another_source_is_another_rule(tmp_path: Path) -> None:
    files = [tmp_path / "a.py", tmp_path / "b.py"]
    for path in files:
        path.write_text("LEAST = 1\n")
    before = rule(files)
    assert rule(files) == before
    files[1].write_text("LEAST = 2\n")
    assert rule(files) != before


class Kept(LightningModule):
    """A kept run again: the weights of each of its epochs are put in before the validation; training changes none."""

    def __init__(self, setup: Setup, run: dict[str, Any], monitor: CAMMonitor) -> None:
        super().__init__()
        self.states, self.monitor = run["states"], monitor
        self.network = load_model(run["states"][0], len(run["class_names"]), setup)
        self.found: list[list[dict[str, Any]]] = []

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    def training_step(self, batch: Any) -> Tensor:
        return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])

    def on_validation_epoch_start(self) -> None:
        self.network.load_state_dict(self.states[self.current_epoch])

    def validation_step(self, batch: Any) -> None:
        self.log("val_loss", torch.nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def on_train_epoch_end(self) -> None:
        self.found.append([dict(vars(finding)) for finding in self.monitor.findings])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.full
@pytest.mark.parametrize(
    "setup",
    [
        Setup("digits", "corner_patch", "coded", 31),
        Setup("fashion", "frame", "one", 31),
        Setup("binary_digits", "tint", "coded", 31),
    ],
    ids=lambda setup: setup.key,
)
def test_the_judge_finds_what_a_monitor_finds(setup: Setup, tmp_path: Path) -> None:
    """In a real Trainer, on the same weights and validation images in the same order."""
    torch.set_num_threads(1)
    run, data = train(setup, epochs=4), prepared(setup)
    monitor = CAMMonitor(PROBE, target_layer="network.features", class_names=data.class_names, report=False)
    module = Kept(setup, run, monitor)
    trainer = Trainer(
        default_root_dir=tmp_path, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False, max_epochs=4, limit_train_batches=1, num_sanity_val_steps=0, callbacks=[monitor],
    )  # fmt: skip
    train_loader = DataLoader(TensorDataset(data.train_images[:8], data.train_labels[:8]), batch_size=8)
    val_loader = DataLoader(TensorDataset(data.val_images, data.val_labels), batch_size=BATCH)
    trainer.fit(module, train_loader, val_loader)

    expected = [row["findings"] for row in judge(setup, run)["epochs"]]
    assert any(expected), "a comparison of nothing"
    assert len(module.found) == len(expected)
    for ours, judged in zip(module.found, expected, strict=True):
        assert [one["cue"] for one in ours] == [one["cue"] for one in judged]
        for mine, other in zip(ours, judged, strict=True):
            numbers = {name for name, value in other.items() if isinstance(value, float)}
            assert {"predictivity", "reliance", "drawn", "told"} <= numbers
            for name in mine.keys() | other.keys():
                assert mine[name] == (
                    pytest.approx(other[name], abs=1e-6) if name in numbers else other[name]
                ), name
