"""What the user is told: once, and never at the cost of a sound training."""

import logging
import warnings
from pathlib import Path

import pytest
import torch
from support.modules import Classifier, loader, trainer

from lightning_cam import CAMMonitor
from lightning_cam.callbacks.messages import Messages


class CannotPrint(Classifier):
    def print(self, *args: object, **kwargs: object) -> None:
        raise OSError("the terminal is gone")


def weights(module: Classifier) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def trained(directory: Path, module: Classifier, *callbacks: CAMMonitor) -> Classifier:
    torch.manual_seed(0)
    trainer(directory, callbacks=list(callbacks), max_epochs=2).fit(module, loader(), loader(seed=1))
    return module


def test_a_module_that_cannot_print_trains_on_and_its_hints_are_warnings(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    with pytest.warns(UserWarning, match=r"explains self.*replayed: equal .*print raised OSError"):
        with_it = trained(tmp_path / "with", CannotPrint(), monitor)
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1]
    assert torch.equal(weights(with_it), weights(trained(tmp_path / "without", CannotPrint())))


class WarnsAreErrors(Classifier):
    """As ``python -W error`` has it, from the first epoch of training on."""

    def on_train_start(self) -> None:
        warnings.simplefilter("error")


def test_warnings_that_are_errors_end_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fails_later(evidence: object) -> torch.Tensor:
        calls.append(0)
        if len(calls) > 1:
            raise ZeroDivisionError("planted")
        return torch.ones(6, 4, 4)

    calls: list[int] = []
    monitor = CAMMonitor(probe=6, method=fails_later, report=False, shortcuts=None)
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        module = trained(tmp_path, WarnsAreErrors(), monitor)
    assert module.trainer.current_epoch == 2
    assert "switched itself off in epoch 0" in caplog.text
    assert "ZeroDivisionError: planted" in caplog.text


def test_in_the_sanity_check_a_warning_that_is_an_error_raises(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    outside = torch.utils.data.TensorDataset(9 * torch.randn(12, 3, 16, 16), torch.arange(12) % 3)
    val = torch.utils.data.DataLoader(outside, batch_size=6)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*normalization is not known")
        with pytest.raises(UserWarning, match="normalization is not known"):
            trainer(tmp_path, callbacks=[monitor]).fit(Classifier(), loader(), val)


def test_each_note_is_told_once_whatever_its_numbers() -> None:
    messages = Messages("cam")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        messages.warn("3 of 4 images are lost")
        messages.warn("5 of 9 images are lost")
        messages.warn("another thing")
    assert [str(note.message) for note in caught] == [
        "CAMMonitor: 3 of 4 images are lost",
        "CAMMonitor: another thing",
    ]


def test_a_monitor_of_another_name_says_so() -> None:
    with pytest.warns(UserWarning, match="CAMMonitor 'second': lost"):
        Messages("second").warn("lost")
