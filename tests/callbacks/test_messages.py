"""What the user is told: once, and never at the cost of a sound training."""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from support.modules import Classifier, loader, trainer
from support.pages import written
from support.planted import ReadsTheTag, tagged
from torch.utils.data import DataLoader

from lightning_cam import CAMMonitor
from lightning_cam.callbacks.messages import UNWATCHED, Messages


def weights(module: Classifier) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def trained(directory: Path, module: Classifier, *callbacks: CAMMonitor) -> Classifier:
    torch.manual_seed(0)
    trainer(directory, callbacks=list(callbacks), max_epochs=2).fit(module, loader(), loader(seed=1))
    return module


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the monitor said in Lightning's log."""
    words = [(record.name, record.levelname, record.getMessage()) for record in caplog.records]
    found = [(name, level, text) for name, level, text in words if text.startswith("CAMMonitor")]
    assert {(name, level) for name, level, _ in found} <= {("pytorch_lightning.utilities.rank_zero", "INFO")}
    return [text.removeprefix("CAMMonitor: ") for _, _, text in found]


@pytest.mark.parametrize("verbose", [True, False])
def test_hints_are_in_lightnings_log_where_they_are_wanted(
    verbose: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(tmp_path, Classifier(), CAMMonitor(probe=6, verbose=verbose, shortcuts=None))
    told = [
        "explains self(batch[0]), which your cross_entropy compares with batch[1]; replayed: equal",
        f"every look on one page: {tmp_path}/cam/report.html; pictures are in {tmp_path}/cam",
    ]
    assert said(caplog) == (told if verbose else [])
    assert "CAMMonitor" not in capsys.readouterr().out


def test_a_verbose_that_is_neither(unchecked: None) -> None:
    with pytest.raises(TypeError, match="verbose: got 'yes'; give True or False"):
        CAMMonitor(verbose="yes")


def test_a_finding_stands_beside_the_reports_path(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    val, monitor = DataLoader(tagged(), batch_size=12), CAMMonitor(probe=24)
    with pytest.warns(UserWarning, match="Possible shortcut: "):
        trainer(tmp_path, callbacks=[monitor], max_epochs=2).fit(ReadsTheTag(), val, val)
    assert said(caplog)[-1].startswith(
        "possible shortcuts: the top-left corner (accuracy falls by 100 points), the border (accuracy falls "
        f"by 100 points); every look on one page: {tmp_path}"
    )


class Tested(Classifier):
    __test__ = False

    def test_step(self, batch: Any) -> None:
        self(batch[0])

    def predict_step(self, batch: Any) -> torch.Tensor:
        return self(batch[0])


@pytest.mark.parametrize("what", ["test", "predict"])
def test_what_is_not_watched_says_so_to_who_saw_no_look(
    what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monitor, module = CAMMonitor(probe=6), Tested()
    fitted = trainer(tmp_path, callbacks=[monitor], max_epochs=1)
    getattr(fitted, what)(module, loader())
    assert said(caplog) == [UNWATCHED]
    # Its remedy.
    fitted.validate(module, loader(), verbose=False)
    assert len(list((tmp_path / "cam" / "overlay").iterdir())) == 1
    getattr(fitted, what)(module, loader())
    assert said(caplog).count(UNWATCHED) == 1


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


def test_names_that_no_font_can_draw_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names, unknown = ["cat", "\U0002fa20", "\U0002fa21"], "\U0002fa20"  # no characters, so in no font
    trained(tmp_path, Classifier(), CAMMonitor(probe=6, class_names=names, shortcuts=None))
    (told,) = [text for text in said(caplog) if "letters" in text]
    assert told.startswith(
        f"no installed font has the letters of {unknown!r}, so pictures call 2 of 3 classes by their numbers; "
        "install one"
    )
    assert unknown in json.dumps(written(tmp_path / "cam" / "report.html"), ensure_ascii=False)
