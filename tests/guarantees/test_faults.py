"""What goes wrong in a look does not go wrong in the training: fault by fault, in a real Trainer."""

import itertools
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from pytorch_lightning.loggers import TensorBoardLogger
from support.modules import Classifier, data, loader, trainer
from support.planted import ReadsTheTag, tagged
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_cam import LOGGERS, METHODS, CAMMonitor, Evidence, Inputs, Probe, ShortcutTests
from lightning_cam.loggers.backends import Backend

OFF = r"switched itself off in epoch \d; training goes on, without further maps, and its scalars stay as they are "


class Calls:
    """Counts calls, and raises at one of them and ever after."""

    def __init__(self, first: int, error: BaseException) -> None:
        self.left, self.error = itertools.count(first - 1, -1), error

    def __call__(self) -> None:
        if next(self.left) <= 0:
            raise self.error


def method(first: int, error: BaseException) -> Callable:
    calls = Calls(first, error)

    def maps(evidence: Evidence) -> Tensor:
        found = METHODS["gradcam"](evidence)
        calls()
        return found

    return maps


def forward(first: int, error: BaseException) -> Callable:
    calls = Calls(first, error)

    def run(module: nn.Module, images: Tensor) -> Tensor:
        scores = module(images)
        calls()
        return scores

    return run


def reading(place: int, first: int) -> Callable:
    calls = Calls(first, KeyError("planted"))

    def read(batch: Any) -> Tensor:
        calls()
        return batch[place]

    return read


def target(first: int) -> Callable:
    calls = Calls(first, RuntimeError("planted"))

    def score(scores: Tensor, labels: Tensor | None) -> Tensor:
        calls()
        return scores[:, 0]

    return score


def changes_shape(first: int) -> Callable:
    calls = Calls(first, StopIteration())

    def run(module: nn.Module, images: Tensor) -> Tensor:
        scores = module(images)
        try:
            calls()
        except StopIteration:
            return scores[:-1, None, None]
        return scores

    return run


def train(
    directory: Path, monitors: list, module: LightningModule | None = None, **options: Any
) -> tuple[dict[str, Tensor], dict[str, Tensor], list[str], Any]:
    """Weights, the user's metrics, what was warned of, the Trainer."""
    seed_everything(0, verbose=False)
    module = module or Classifier()
    fitted = trainer(directory, callbacks=monitors, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted.fit(module, loader(shuffle=True), loader(seed=1))
    metrics = {name: value for name, value in fitted.callback_metrics.items() if not name.startswith("cam/")}
    said = [str(warning.message) for warning in caught if "CAMMonitor" in str(warning.message)]
    untouched(module)
    return {name: value.clone() for name, value in module.state_dict().items()}, metrics, said, fitted


def untouched(module: nn.Module) -> None:
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in module.modules())
    assert all(m.training for m in module.modules()), "as before the last validation"


def the_same(found: tuple, expected: tuple) -> None:
    torch.testing.assert_close(found[:2], expected[:2], rtol=0, atol=0)


# In the sanity check, which runs two batches, the monitor looks once; so calls of the functions below are not yet those of a look.
FUNCTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "method": ({"method": method(2, RuntimeError("planted"))}, "RuntimeError: planted"),
    "method, in the second epoch": (
        {"method": method(3, ZeroDivisionError("planted"))},
        "ZeroDivisionError: planted",
    ),
    "forward": ({"network": forward(8, RuntimeError("planted"))}, "RuntimeError: planted"),
    "forward, in the tests for shortcuts": (
        {"network": forward(14, TypeError("planted"))},
        "TypeError: planted",
    ),
    "target": ({"target": target(6)}, "RuntimeError: planted"),
    "images": ({"inputs": Inputs(images=reading(0, 4))}, "KeyError: 'planted'"),
    "labels": ({"inputs": Inputs(labels=reading(1, 4))}, "KeyError: 'planted'"),
    "another shape": ({"network": changes_shape(8)}, "ValueError: scores: no class scores (n, C) found"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_exception_in_a_users_function(name: str, tmp_path: Path) -> None:
    options, cause = FUNCTIONS[name]
    expected = train(tmp_path / "without", [])
    monitor = CAMMonitor(probe=9, max_batch=9, **options)
    found = train(tmp_path / "with", [monitor], max_epochs=2)
    the_same(found, expected)
    (off,) = [words for words in found[2] if "switched itself off" in words]
    assert cause in off
    assert found[3].current_epoch == 2
    assert monitor.findings == ()


def test_an_exception_in_on_alert_is_told_once_and_the_tests_go_on(tmp_path: Path) -> None:
    seen = []

    def alert(finding: Any) -> None:
        seen.append(finding.cue)
        raise RuntimeError("planted")

    val = DataLoader(tagged(), batch_size=12)
    monitor = CAMMonitor(probe=24, shortcuts=ShortcutTests(on_alert=alert))
    with pytest.warns(UserWarning, match="on_alert: your function raised RuntimeError: planted"):
        trainer(tmp_path, callbacks=[monitor], max_epochs=4).fit(ReadsTheTag(), val, val)
    assert "cell_0_0" in seen
    assert len(seen) == len(set(seen))
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1, 2, 3]


class RunsOut(Classifier):
    """Has no memory for more of the monitor's images than so many; its own batches hold eight."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def watched(self, images: Tensor) -> Tensor:
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory: planted")
        return self(images)


def watched(module: RunsOut, images: Tensor) -> Tensor:
    return module.watched(images)


def test_out_of_memory_halves_the_batch(tmp_path: Path) -> None:
    expected = train(tmp_path / "without", [], RunsOut(3))
    images, labels = data(9, seed=5).tensors
    monitor, roomy = (CAMMonitor(probe=Probe(images, labels), network=watched) for _ in range(2))
    found = train(tmp_path / "with", [monitor], RunsOut(3))
    train(tmp_path / "roomy", [roomy], RunsOut(100))
    the_same(found, expected)
    assert sum("memory ran out with 8 images at once; from now on 4" in words for words in found[2]) == 1
    assert not any("switched itself off" in words for words in found[2])
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1]
    for look, other in zip(monitor.history.looks, roomy.history.looks, strict=True):
        torch.testing.assert_close(
            look.cams, other.cams, rtol=2e-3, atol=1e-4 * other.cams.abs().max().item()
        )


def test_out_of_memory_in_the_tests_for_shortcuts_halves_the_batch(tmp_path: Path) -> None:
    calls, sizes = itertools.count(), []

    def run(module: nn.Module, images: Tensor) -> Tensor:
        # Of the rehearsal and the first look there are five forwards.
        if len(images) > 4 and next(calls) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory: planted")
        sizes.append(len(images))
        return module(images)

    val = DataLoader(tagged(), batch_size=12)
    monitor = CAMMonitor(probe=24, network=run)
    with pytest.warns(UserWarning, match="memory ran out with 12 images at once; from now on 6"):
        trainer(tmp_path, callbacks=[monitor]).fit(ReadsTheTag(), val, val)
    assert max(sizes) == 12
    assert max(sizes[-20:]) == 3
    assert "cell_0_0" in {finding.cue for finding in monitor.findings}


def test_out_of_memory_for_a_single_image_switches_off(tmp_path: Path) -> None:
    expected = train(tmp_path / "without", [], RunsOut(0), num_sanity_val_steps=0)
    found = train(
        tmp_path / "with", [CAMMonitor(probe=9, network=watched)], RunsOut(0), num_sanity_val_steps=0
    )
    the_same(found, expected)
    assert any(
        "OutOfMemoryError" in words and "switched itself off in epoch 0" in words for words in found[2]
    )


class Full(TensorBoardLogger):
    """A logger whose pictures find no room."""


class Board(TensorBoardLogger):
    """A logger beside it."""


def no_room(logger: Full, tag: str, picture: Any, step: int) -> None:
    raise OSError(28, "No space left on device")


def pictures(logger: TensorBoardLogger, tag: str = "cam/overlay") -> list[int]:
    found = EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    found.Reload()
    return [event.step for event in found.Images(tag)] if tag in found.Tags()["images"] else []


def test_a_logger_that_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOGGERS, "full", Backend("full", Full, no_room))
    expected = train(tmp_path / "without", [])
    full, board = Full(tmp_path / "full"), Board(tmp_path / "board")
    monitor = CAMMonitor(probe=9, shortcuts=None)
    found = train(tmp_path / "with", [monitor], logger=[full, board])
    the_same(found, expected)
    (lost,) = [words for words in found[2] if "No space left on device" in words]
    assert "cam/overlay of step 2 was not taken by Full" in lost
    assert (
        "the other loggers have it; see to the logger or the disk. Training, scalars and the next looks go on"
        in lost
    )
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1]
    assert pictures(full) == []
    assert pictures(board) == [2, 5], "what one logger cannot take is not kept from the other"


def test_an_event_file_that_takes_no_more_pictures(tmp_path: Path) -> None:
    expected = train(tmp_path / "without", [])
    logger = TensorBoardLogger(tmp_path / "board")
    writer = logger.experiment._get_file_writer()
    writes = writer.add_summary

    def scalars_alone(summary: Any, *arguments: Any, **options: Any) -> None:
        if any(value.HasField("image") for value in summary.value):
            raise PermissionError(13, "Permission denied")
        writes(summary, *arguments, **options)

    writer.add_summary = scalars_alone
    monitor = CAMMonitor(probe=9, shortcuts=None)
    found = train(tmp_path / "with", [monitor], logger=logger)
    the_same(found, expected)
    (lost,) = [words for words in found[2] if "Permission denied" in words]
    assert "was not taken by TensorBoardLogger" in lost
    assert "it is in " in lost
    assert (
        tmp_path / "board/lightning_logs/version_0/cam/overlay/epoch=001-step=000005.jpg"
    ).stat().st_size > 1000
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1]


@pytest.mark.skipif(
    not os.path.exists("/dev/full"), reason="this system has no /dev/full, which is always full"
)
def test_a_full_disk(tmp_path: Path) -> None:
    expected = train(tmp_path / "without", [], max_epochs=3)
    folder, monitor = tmp_path / "with" / "cam" / "overlay", CAMMonitor(probe=9, shortcuts=None)

    class Fills(Callback):
        """The place of the second look's picture is on a full disk."""

        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            if trainer.current_epoch == 1:
                monitor.session.publisher.flush()
                (folder / "epoch=001-step=000005.jpg").symlink_to("/dev/full")

    found = train(tmp_path / "with", [monitor, Fills()], max_epochs=3)
    the_same(found, expected)
    (lost,) = [words for words in found[2] if "No space left on device" in words]
    assert "cam/overlay of step 5 was not taken by the file" in lost
    assert "it is lost; see to the logger or the disk" in lost
    for kept in ("epoch=000-step=000002.jpg", "epoch=002-step=000008.jpg"):
        assert (folder / kept).stat().st_size > 1000


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    expected = train(tmp_path / "without", [])
    (tmp_path / "file").write_text("in the way")
    monitor = CAMMonitor(probe=9, shortcuts=None, log_dir=tmp_path / "file")
    found = train(tmp_path / "with", [monitor])
    the_same(found, expected)
    assert any("was not taken by the file (" in words and "it is lost" in words for words in found[2])
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1]


def test_an_interrupt_during_a_look_ends_the_training_cleanly(tmp_path: Path) -> None:
    module, before = Classifier(), {}

    def interrupted(evidence: Evidence) -> Tensor:
        found = METHODS["gradcam"](evidence)
        if len(monitor.history.looks) == 2:
            raise KeyboardInterrupt
        return found

    class Remembers(CAMMonitor):
        def on_validation_batch_end(self, *arguments: Any, **options: Any) -> None:
            before.update(
                rng=torch.get_rng_state(), modes=[m.training for m in module.modules()], grads=grads(module)
            )
            super().on_validation_batch_end(*arguments, **options)

    monitor = Remembers(probe=9, shortcuts=None, method=interrupted)
    logger = TensorBoardLogger(tmp_path)
    fitted = trainer(tmp_path, callbacks=[monitor], logger=logger)
    with pytest.raises(SystemExit):
        fitted.fit(module, loader(shuffle=True), loader(seed=1))
    assert fitted.interrupted
    assert torch.equal(before["rng"], torch.get_rng_state())
    assert before["modes"] == [m.training for m in module.modules()] == [False] * len(before["modes"])
    torch.testing.assert_close(before["grads"], grads(module), rtol=0, atol=0)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
    assert pictures(logger) == [2], "what was drawn before is written"


def grads(module: nn.Module) -> list[Tensor | None]:
    return [None if p.grad is None else p.grad.clone() for p in module.parameters()]


def test_an_exception_of_the_users_own_loses_no_picture(tmp_path: Path) -> None:
    class Breaks(Classifier):
        def training_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
            if self.current_epoch == 1:
                raise RuntimeError("the user's own")
            return super().training_step(batch, batch_idx)

    logger = TensorBoardLogger(tmp_path)
    with pytest.raises(RuntimeError, match="the user's own"):
        trainer(tmp_path, callbacks=[CAMMonitor(probe=9)], logger=logger).fit(
            Breaks(), loader(), loader(seed=1)
        )
    assert pictures(logger) == pictures(logger, "cam/evolution") == [2]
