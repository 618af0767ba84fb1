"""Training with the monitor gives the same weights and the same metrics, to the last bit, as training without it."""

import inspect
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.configurations import CONFIGURATIONS, train
from torch import Tensor

from lightning_cam import CAMMonitor, Evidence, Style


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_same_weights_and_metrics(name: str, tmp_path: Path) -> None:
    configuration = CONFIGURATIONS[name]
    monitor = CAMMonitor(probe=9, style=Style(shown=4), **configuration.get("monitor", {}))
    weights, metrics, hooks = train(tmp_path / "without", [], configuration)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*switched itself off.*")
        monitored_weights, monitored_metrics, monitored_hooks = train(
            tmp_path / "with", [monitor], configuration
        )
    torch.testing.assert_close(monitored_weights, weights, rtol=0, atol=0)
    torch.testing.assert_close(monitored_metrics, metrics, rtol=0, atol=0)
    assert monitored_hooks == hooks
    looks = [look for look in monitor.history.looks if look.epoch >= 0]
    assert {look.epoch for look in looks} == configuration.get("epochs", {0, 1})
    assert all(look.cams.isfinite().all() and look.cams.amax() > 0 for look in looks)


def fails_at(call: int) -> Callable[[Evidence], Tensor]:
    calls = []

    def method(evidence: Evidence) -> Tensor:
        calls.append(evidence.gradients)
        if len(calls) == call:
            raise RuntimeError("planted")
        return calls[-1].mean(dim=1)

    return method


def test_same_weights_and_metrics_when_the_monitor_fails_half_way(tmp_path: Path) -> None:
    weights, metrics, hooks = train(tmp_path / "without", [], {})
    monitor = CAMMonitor(probe=9, method=fails_at(call=3))  # twice in the rehearsal
    with pytest.warns(
        UserWarning, match=r"switched itself off in epoch 0; training goes on.*RuntimeError: planted"
    ):
        monitored_weights, monitored_metrics, monitored_hooks = train(tmp_path / "with", [monitor], {})
    torch.testing.assert_close(monitored_weights, weights, rtol=0, atol=0)
    torch.testing.assert_close(monitored_metrics, metrics, rtol=0, atol=0)
    assert monitored_hooks == hooks


def test_the_user_sees_every_argument_documented() -> None:
    described = inspect.getdoc(CAMMonitor)
    assert all(f"{name}: " in described for name in inspect.signature(CAMMonitor).parameters)
