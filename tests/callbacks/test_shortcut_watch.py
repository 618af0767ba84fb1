"""The monitor's shortcut tests, in a real Trainer, on a model whose behaviour is known."""

import math
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from support.planted import fit, tagged
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugin_util import markdown_to_safe_html
from torch import Tensor
from torch.utils.data import TensorDataset

from lightning_cam import CAMMonitor, Probe, ShortcutTests
from lightning_cam.shortcuts.findings import Finding
from lightning_cam.shortcuts.partial_input import PARTS
from lightning_cam.shortcuts.predictivity import OFFERS


def test_warns_at_the_second_look_and_shows_why(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    monitor = CAMMonitor(probe=24)
    with pytest.warns(
        UserWarning, match=r"cue 'cell_0_0' decides 100 % of conflicts .*2 looks in a row, since epoch 0"
    ):
        fit(tmp_path, monitor, logger=logger, max_epochs=5)
    (cell,) = [finding for finding in monitor.findings if finding.cue == "cell_0_0"]
    assert (cell.level, cell.looks, cell.since, cell.host) == ("warning", 3, 0, 0)
    (mean,) = [finding for finding in monitor.findings if finding.cue == "mean_image"]
    assert (mean.level, mean.looks) == ("notice", 5)
    found = EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    found.Reload()
    # What has held twice is known: its name is not asked for again until the third look after.
    assert [image.step for image in found.Images("cam/shortcut")] == [3, 7, 19]
    assert len(found.Tensors("cam/findings/text_summary")) == 5
    resting = found.Tensors("cam/findings/text_summary")[3].tensor_proto.string_val[0].decode()
    assert re.search(r"- warning, as last tested: cue 'cell_0_0' decides 100 % .* 2 looks in a row", resting)
    text = found.Tensors("cam/findings/text_summary")[-1].tensor_proto.string_val[0]
    html = markdown_to_safe_html(text)  # as TensorBoard shows it: the classes within their finding
    assert re.search(r"<li>warning: cue 'cell_0_0' decides 100 % [^<]*<ul>\s*<li>0: donor 8, host 0; ", html)
    assert [event.value for event in found.Scalars("cam/shortcut/cell_0_0")] == [1.0] * 5
    assert found.Scalars("cam/shortcut/cell_3_3")[-1].value == 0


def test_expected_cues_are_silent(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=24, shortcuts=ShortcutTests(expected=["cell", "border", "colour"]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tmp_path, monitor)
    assert not [warning for warning in caught if "decides" in str(warning.message)]
    assert {finding.level for finding in monitor.findings if finding.tier == "A"} == {"expected"}


def test_tier_b_warns_where_it_shall(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="cue 'mean_image' decides"):
        fit(tmp_path, CAMMonitor(probe=24, shortcuts=ShortcutTests(may_warn=["mean_image"])))


def test_an_alert_can_stop(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="decides"):
        assert (
            fit(
                tmp_path, CAMMonitor(probe=24, shortcuts=ShortcutTests(on_alert="stop")), max_epochs=5
            ).current_epoch
            == 2
        )


def test_an_alert_can_call(tmp_path: Path) -> None:
    heard: list[Finding] = []
    with pytest.warns(UserWarning, match="decides"):
        fit(tmp_path, CAMMonitor(probe=24, shortcuts=ShortcutTests(on_alert=heard.append)))
    assert {finding.level for finding in heard} == {"warning"}
    assert len(heard) == len({finding.cue for finding in heard})


def test_no_cues_no_tests(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=24, shortcuts=None)
    fitted = fit(tmp_path, monitor)
    assert not monitor.findings
    assert not [key for key in fitted.callback_metrics if "shortcut" in key]


def test_findings_survive_a_resume(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path, save_last=True)
    first = CAMMonitor(probe=24)
    fit(tmp_path, first, max_epochs=1, callbacks=[first, checkpoint], enable_checkpointing=True)
    assert {finding.looks for finding in first.findings} == {1}
    again = CAMMonitor(probe=24)
    with pytest.warns(UserWarning, match="2 looks in a row, since epoch 0"):
        fit(tmp_path, again, max_epochs=2, ckpt_path=checkpoint.last_model_path)
    assert {finding.looks for finding in again.findings if finding.cue == "cell_0_0"} == {2}


def test_one_class_says_what_is_missing(tmp_path: Path) -> None:
    images, labels = tagged().tensors
    with pytest.warns(UserWarning, match="no shortcut tests: labels: all 24 images are of class 0"):
        fit(tmp_path, CAMMonitor(probe=24), TensorDataset(images, torch.zeros_like(labels)))


def test_no_labels_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no shortcut tests: labels: the probe has none"):
        fit(tmp_path, CAMMonitor(probe=Probe(tagged().tensors[0])))


def knows(dataset: TensorDataset, since: int = 0) -> Any:
    """A network that refuses images that are not in the data set, from an epoch on."""
    known = dataset.tensors[0]

    def answer(module: Any, images: Tensor) -> Tensor:
        is_known = (images[:, None] == known).flatten(2).all(dim=2).any(dim=1)
        if module.current_epoch >= since and not is_known.all():
            raise LookupError("an image that nobody gave me")
        return module(images)

    return answer


def one_is_wrong() -> TensorDataset:
    """24 images, of which the model, which reads the tag, gets 23 right: so there are 23 hosts."""
    images, labels = tagged(24).tensors
    return TensorDataset(images, torch.cat([(labels[:1] + 1) % 3, labels[1:]]))


def looked_at(logger: TensorBoardLogger) -> EventAccumulator:
    found = EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    found.Reload()
    return found


@pytest.mark.parametrize(
    ("network", "cause"),
    [
        (knows(one_is_wrong()), "LookupError: an image that nobody gave me"),
    ],
    ids=["no other images"],
)
def test_an_error_in_the_tests_switches_off_the_tests_alone(network: Any, cause: str, tmp_path: Path) -> None:
    logger, monitor = TensorBoardLogger(tmp_path), CAMMonitor(probe=24, network=network)
    watching = EarlyStopping("cam/shortcut/cell_0_0", patience=9)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = fit(tmp_path, monitor, one_is_wrong(), logger=logger, callbacks=[monitor, watching])
    said = [str(warning.message) for warning in caught if "CAMMonitor" in str(warning.message)]
    off = [words for words in said if "switched" in words]
    assert len(off) == 1
    assert re.search(rf"shortcut tests are switched off in epoch 0; .*\({cause}\)\. .*shortcuts=None", off[0])
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1, 2]
    found = looked_at(logger)
    assert [image.step for image in found.Images("cam/overlay")] == [1, 3, 5]
    assert [event.step for event in found.Scalars("cam/entropy")] == [1, 3, 5]
    assert [event.value for event in found.Scalars("cam/shortcut/cell_0_0")] == [0.0] * 3
    assert {"cam/offer/corners", "cam/agreement/shuffled"} <= set(fitted.callback_metrics)
    # The remedy that it names: nothing is said any more.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tmp_path, CAMMonitor(probe=24, network=network, shortcuts=None), one_is_wrong())
    assert not [warning for warning in caught if "switched" in str(warning.message)]


def test_what_was_found_before_an_error_stays(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    monitor = CAMMonitor(probe=24, network=knows(tagged(), since=2))
    with pytest.warns(UserWarning, match="shortcut tests are switched off in epoch 2"):
        fit(tmp_path, monitor, logger=logger, max_epochs=4)
    assert [event.value for event in looked_at(logger).Scalars("cam/shortcut/cell_0_0")] == [1.0] * 4
    (cell,) = [finding for finding in monitor.findings if finding.cue == "cell_0_0"]
    assert (cell.level, cell.looks) == ("warning", 2)
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cues": ["bordr_8"]}, "cues: no cue 'bordr_8'; did you mean 'border_8'"),
        ({"cues": "border_8"}, "cues: got 'border_8'; give keys"),
        ({"expected": ["nothing"]}, "expected: no cue 'nothing'"),
        ({"may_warn": ["mean_imag_"]}, "may_warn: no cue 'mean_imag_'; did you mean 'mean_image'"),
        ({"on_alert": "shout"}, "on_alert: got 'shout'; give 'warn', 'stop' or a function"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        ShortcutTests(**arguments)


def test_the_monitor_logs_it_at_thorough_tests_and_warns_of_none(tmp_path: Path) -> None:
    logger, monitor = TensorBoardLogger(tmp_path), CAMMonitor(probe=24)
    with pytest.warns(UserWarning, match="decides") as caught:
        fitted = fit(tmp_path, monitor, logger=logger)
    values = {
        name: value.item()
        for name, value in fitted.callback_metrics.items()
        if name.startswith(("cam/offer", "cam/agree"))
    }
    assert set(values) == {f"cam/offer/{name}" for name in OFFERS} | {
        f"cam/agreement/{name}" for name in PARTS
    }
    assert values["cam/offer/corners"] == values["cam/agreement/border_only"] == 1
    assert all(math.isfinite(value) for value in values.values())
    assert not [
        warning
        for warning in caught
        if "offer" in str(warning.message) or "agreement" in str(warning.message)
    ]
    found = EventAccumulator(logger.log_dir)
    found.Reload()
    text = found.Tensors("cam/findings/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert "cue 'cell_0_0' decides 100 % of conflicts" in text
    assert "0: donor 8, host 0; 1: donor 8, host 0; 2: donor 8, host 0" in text
