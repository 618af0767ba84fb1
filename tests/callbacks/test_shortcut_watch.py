"""The monitor's shortcut tests, in a real Trainer, on a model whose behaviour is known."""

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from support.planted import ReadsTheTag, fit, tagged
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.utils.data import TensorDataset

from lightning_cam import CUES, CAMMonitor, Probe, ShortcutTests
from lightning_cam.shortcuts.findings import Finding

WARNED = "Possible shortcut: the top-left corner"


def said_of(caught: list[warnings.WarningMessage]) -> list[str]:
    return [str(warning.message) for warning in caught if "CAMMonitor" in str(warning.message)]


def looked_at(logger: TensorBoardLogger) -> EventAccumulator:
    found = EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    found.Reload()
    return found


def levels(monitor: CAMMonitor) -> dict[str, str]:
    return {finding.cue: finding.level for finding in monitor.findings}


def test_a_notice_at_the_first_look_a_warning_at_the_second(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger, monitor = TensorBoardLogger(tmp_path), CAMMonitor(scalars="all", probe=24)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = fit(tmp_path, monitor, logger=logger)
    (warned,) = [words for words in said_of(caught) if WARNED in words]
    assert re.search(
        r"tells the class in 100 % of the validation images\. Accuracy on 24 probe images falls by 100 points when "
        r"it comes from an image of another class rather than of its own \(2 looks in a row, since epoch 0\)\. "
        r"Other cues show it too, perhaps for the same reason: the border \(100 points\)\. "
        r"See the picture cam/alert\. If the model should use it: "
        r"ShortcutTests\(expected=\['cell_0_0', 'border_8'\]\)\.",
        warned,
    )
    told = caplog.text
    (notice,) = [line for line in told.splitlines() if "Notice" in line and "the top-left corner" in line]
    assert "(epoch 0). Other cues" in notice
    assert "If the next look finds it again, this becomes a warning." in notice

    (cell,) = [finding for finding in monitor.findings if finding.cue == "cell_0_0"]
    assert (cell.level, cell.looks, cell.since) == ("warning", 3, 0)
    assert (cell.predictivity, cell.reliance) == (1.0, 1.0)
    assert levels(monitor) == {"border_8": "warning", "cell_0_0": "warning"}
    found = looked_at(logger)
    assert [image.step for image in found.Images("cam/alert")] == [3, 7], "noticed, and warned of"
    texts = found.Tensors("cam/findings/text_summary")
    lines = [text.tensor_proto.string_val[0].decode() for text in texts]
    assert ["- notice: The top-left corner. It alone" in text for text in lines] == [True, False, False]
    assert ["- warning: The top-left corner. It alone" in text for text in lines] == [False, True, True]
    assert [event.value for event in found.Scalars("cam/shortcut/cell_0_0")] == [1.0] * 3
    assert [event.value for event in found.Scalars("cam/shortcut_reliance")] == [1.0] * 3
    # What does not tell the class was not asked about, so nothing is said of it.
    assert "cam/shortcut/cell_3_3" not in fitted.callback_metrics
    assert fitted.callback_metrics["cam/agreement/border_only"] == 1
    record = monitor._run.record
    assert record.predictivities["cell_0_0"] == 1
    assert record.predictivities["cell_3_3"] < 0.3
    assert [epoch for epoch, _ in record.reliances] == [0, 1, 2]
    assert record.tested == (24, 24)
    assert any("this cue needs 24" in note for note in record.notes)


def test_expected_cues_are_silent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    monitor = CAMMonitor(scalars="all", probe=24, shortcuts=ShortcutTests(expected=["cell", "border"]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = fit(tmp_path, monitor)
    assert not [words for words in said_of(caught) if "Possible shortcut" in words]
    assert "Notice" not in caplog.text
    assert levels(monitor) == {"border_8": "expected", "cell_0_0": "expected"}
    assert fitted.callback_metrics["cam/shortcut/cell_0_0"] == 1
    assert fitted.callback_metrics["cam/shortcut_reliance"] == 0


class ReadsInside(ReadsTheTag):
    """Reads the second place of the second row of 4 x 4, inside the image."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.roll((-4, -4), dims=(2, 3)))


def inside() -> TensorDataset:
    images, labels = tagged().tensors
    return TensorDataset(images.roll((4, 4), dims=(2, 3)), labels)


@pytest.mark.parametrize("may_warn", [False, True])
def test_what_is_noticed_only_warns_where_it_shall(
    may_warn: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tests = ShortcutTests(may_warn=["cell"] if may_warn else [])
    monitor = CAMMonitor(scalars="all", probe=24, shortcuts=tests)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tmp_path, monitor, inside(), model=ReadsInside())
    (cell,) = [finding for finding in monitor.findings if finding.cue == "cell_1_1"]
    assert (cell.level, cell.looks) == ("warning" if may_warn else "notice", 3)
    warned = [words for words in said_of(caught) if "row 2, column 2 of 4 x 4" in words]
    assert len(warned) == may_warn
    told = caplog.text
    notices = [line for line in told.splitlines() if "Notice" in line and "row 2, column 2 of 4 x 4" in line]
    assert len(notices) == 1
    assert ("ShortcutTests(may_warn=['cell_1_1'])" in notices[0]) != may_warn


def test_an_alert_can_stop(tmp_path: Path) -> None:
    monitor = CAMMonitor(scalars="all", probe=24, shortcuts=ShortcutTests(on_alert="stop"))
    with pytest.warns(UserWarning, match=WARNED):
        assert fit(tmp_path, monitor, max_epochs=5).current_epoch == 2


def test_an_alert_can_call(tmp_path: Path) -> None:
    heard: list[Finding] = []
    with pytest.warns(UserWarning, match=WARNED):
        fit(tmp_path, CAMMonitor(scalars="all", probe=24, shortcuts=ShortcutTests(on_alert=heard.append)))
    assert sorted((finding.cue, finding.level, finding.looks) for finding in heard) == [
        ("border_8", "warning", 2),
        ("cell_0_0", "warning", 2),
    ]


def test_no_cues_no_tests(tmp_path: Path) -> None:
    monitor = CAMMonitor(scalars="all", probe=24, shortcuts=None)
    fitted = fit(tmp_path, monitor)
    assert not monitor.findings
    assert not [key for key in fitted.callback_metrics if "shortcut" in key or "agreement" in key]


def test_findings_survive_a_resume(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path, save_last=True)
    first = CAMMonitor(scalars="all", probe=24)
    fit(tmp_path, first, max_epochs=1, callbacks=[first, checkpoint], enable_checkpointing=True)
    assert {(finding.looks, finding.level) for finding in first.findings} == {(1, "notice")}
    again = CAMMonitor(scalars="all", probe=24)
    with pytest.warns(UserWarning, match=rf"{WARNED}.*2 looks in a row, since epoch 0"):
        fitted = fit(tmp_path, again, max_epochs=2, ckpt_path=checkpoint.last_model_path)
    assert levels(again) == {"border_8": "warning", "cell_0_0": "warning"}
    assert [epoch for epoch, _ in again._run.record.reliances] == [0, 1]
    assert again._run.record.reliances[0] == first._run.record.reliances[0]
    assert fitted.callback_metrics["cam/agreement/border_only"] == 1, "of the first look"


def test_scalars_of_tests_can_be_watched_and_a_checkpoint_can_follow_them(tmp_path: Path) -> None:
    best = ModelCheckpoint(tmp_path, monitor="cam/shortcut_reliance", mode="min")
    stops = EarlyStopping("cam/shortcut_reliance", patience=1, mode="min", check_finite=True)
    monitor = CAMMonitor(scalars="all", probe=24)
    with pytest.warns(UserWarning, match=WARNED):
        fitted = fit(
            tmp_path, monitor, max_epochs=5, callbacks=[monitor, best, stops], enable_checkpointing=True
        )
    assert fitted.current_epoch == 2, "it does not fall"
    assert best.best_model_score == 1


# --- data and models of every kind


class AlwaysTheFirst(ReadsTheTag):
    def forward(self, images: Tensor) -> Tensor:
        return 0 * super().forward(images) + torch.tensor([1.0, 0.0, 0.0])


def test_a_model_that_always_answers_one_class_relies_on_nothing(tmp_path: Path) -> None:
    monitor = CAMMonitor(scalars="all", probe=24)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = fit(tmp_path, monitor, model=AlwaysTheFirst())
    assert not [words for words in said_of(caught) if "switched" in words or "Possible" in words]
    assert monitor.findings == ()
    assert fitted.callback_metrics["cam/shortcut/cell_0_0"] == 0
    assert fitted.callback_metrics["cam/shortcut_reliance"] == 0
    assert monitor._run.record.tested == (8, 24)


def test_one_image_of_each_class_says_what_is_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monitor = CAMMonitor(probe=3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = fit(tmp_path, monitor, tagged(3))
    assert not [words for words in said_of(caught) if "switched" in words]
    assert monitor.findings == ()
    assert fitted.callback_metrics["cam/shortcut_reliance"] == 0
    assert "0 of 3 probe images have another image of their class in the probe" in caplog.text


def test_images_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    images, labels = tagged(96).tensors
    broken = images.clone()
    broken[::4, 0, 0, 0] = torch.nan
    broken[1::4, 0, 0, 0] = torch.inf
    predictivities = []
    for made in (broken, images):
        rows = torch.arange(96) if made is broken else torch.arange(96)[torch.arange(96) % 4 > 1]
        monitor, val = CAMMonitor(scalars="all", probe=24), TensorDataset(made[rows], labels[rows])
        with pytest.warns(UserWarning, match=WARNED):
            fit(tmp_path, monitor, tagged(), validated=val)
        assert levels(monitor) == {"border_8": "warning", "cell_0_0": "warning"}
        predictivities.append(monitor._run.record.predictivities)
    assert predictivities[0] == pytest.approx(predictivities[1])


def test_one_class_says_what_is_missing(tmp_path: Path) -> None:
    images, labels = tagged().tensors
    with pytest.warns(UserWarning, match="no shortcut tests: labels: all 24 images are of class 0"):
        fit(tmp_path, CAMMonitor(scalars="all", probe=24), TensorDataset(images, torch.zeros_like(labels)))


def test_no_labels_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no shortcut tests: labels: the probe has none"):
        fit(tmp_path, CAMMonitor(probe=Probe(tagged().tensors[0])))


# --- what goes wrong costs the tests, not the looks


def knows(dataset: TensorDataset, since: int = 0) -> Any:
    """A network that refuses images that are not in the data set, from an epoch on."""
    known = dataset.tensors[0]

    def answer(module: Any, images: Tensor) -> Tensor:
        is_known = (images[:, None] == known).flatten(2).all(dim=2).any(dim=1)
        if module.current_epoch >= since and not is_known.all():
            raise LookupError("an image that nobody gave me")
        return module(images)

    return answer


def test_an_error_in_the_tests_switches_off_the_tests_alone(tmp_path: Path) -> None:
    logger, monitor = (
        TensorBoardLogger(tmp_path),
        CAMMonitor(scalars="all", probe=24, network=knows(tagged())),
    )
    watching = EarlyStopping("cam/shortcut_reliance", patience=9)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = fit(tmp_path, monitor, logger=logger, callbacks=[monitor, watching])
    off = [words for words in said_of(caught) if "switched" in words]
    assert len(off) == 1
    assert re.search(
        r"shortcut tests are switched off in epoch 0; .*\(LookupError: an image that nobody gave me\)\. "
        r".*shortcuts=None",
        off[0],
    )
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1, 2]
    found = looked_at(logger)
    assert [image.step for image in found.Images("cam/overlay")] == [3, 7, 11]
    assert [event.step for event in found.Scalars("cam/border_mass")] == [3, 7, 11]
    assert [event.value for event in found.Scalars("cam/shortcut_reliance")] == [0.0] * 3
    assert not [name for name in fitted.callback_metrics if name.startswith("cam/shortcut/")]
    # The remedy that it names: nothing is said any more.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tmp_path, CAMMonitor(scalars="all", probe=24, network=knows(tagged()), shortcuts=None))
    assert not [words for words in said_of(caught) if "switched" in words]


def test_what_was_found_before_an_error_stays(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    monitor = CAMMonitor(scalars="all", probe=24, network=knows(tagged(), since=2))
    with pytest.warns(UserWarning, match="shortcut tests are switched off in epoch 2"):
        fit(tmp_path, monitor, logger=logger, max_epochs=4)
    found = looked_at(logger)
    for name in ("cam/shortcut/cell_0_0", "cam/shortcut_reliance"):
        assert [event.value for event in found.Scalars(name)] == [1.0] * 4
    (cell,) = [finding for finding in monitor.findings if finding.cue == "cell_0_0"]
    assert (cell.level, cell.looks) == ("warning", 2)
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1, 2, 3]


def test_features_that_fail_switch_off_the_tests_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def features(views: Any) -> Tensor:
        raise ArithmeticError("planted")

    monkeypatch.setitem(CUES, "planted", type(CUES["border_8"])(lambda pair: pair.hosts, features, "nothing"))
    monitor = CAMMonitor(scalars="all", probe=24)
    with pytest.warns(
        UserWarning, match=r"tests are switched off in epoch 0; .*\(ArithmeticError: planted\)"
    ):
        fitted = fit(tmp_path, monitor)
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1, 2]
    assert fitted.current_epoch == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cues": ["bordr_8"]}, "cues: no cue 'bordr_8'; did you mean 'border_8'"),
        ({"cues": "border_8"}, "cues: got 'border_8'; give keys"),
        ({"expected": ["nothing"]}, "expected: no cue 'nothing'"),
        ({"may_warn": ["sharpnes_"]}, "may_warn: no cue 'sharpnes_'; did you mean 'sharpness'"),
        ({"on_alert": "shout"}, "on_alert: got 'shout'; give 'warn', 'stop' or a function"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        ShortcutTests(**arguments)
