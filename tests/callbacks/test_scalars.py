"""Which scalars are logged, and when: few, none is NaN, and none stands for what was not measured."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping
from support.fits import fit
from support.modules import Classifier

from lightning_cam import STATISTICS, CAMMonitor
from lightning_cam.callbacks.scalars import DEFAULT, check_scalars, known_names, logged_scalars
from lightning_cam.data.history import remember
from lightning_cam.report.record import RunRecord


def look(right: list[float] | None = None, **statistics: float):
    values = {name: torch.tensor([value, value]) for name, value in statistics.items()}
    answered = None if right is None else torch.tensor(right, dtype=torch.float32)
    return remember(0, 0, torch.rand(2, 2, 2), torch.zeros(2).long(), torch.ones(2), values, answered)


def record_of(right: list[float] | None = None, **statistics: float) -> RunRecord:
    record = RunRecord()
    record.add(look(right, **statistics), blank=0.0, settings={})
    return record


def logged(metrics: dict[str, Any]) -> set[str]:
    return {name.removeprefix("cam/") for name in metrics if name.startswith("cam/")}


def test_at_most_six_by_default() -> None:
    assert DEFAULT == (
        "border_mass",
        "drift_last",
        "blank",
        "mass_inside",
        "probe_accuracy",
        "shortcut_reliance",
    )
    found = logged_scalars(record_of([1, 0], border_mass=0.1, entropy=0.5), ("default",))
    assert found == {"border_mass": pytest.approx(0.1), "blank": 0.0, "probe_accuracy": 0.5}


def test_before_the_first_look_only_what_others_watch() -> None:
    watched = {"entropy", "shortcut/border_8", "no_such"}
    assert logged_scalars(RunRecord(), ("all",)) == {}
    assert logged_scalars(RunRecord(), ("default",), watched) == {"entropy": 0.0, "shortcut/border_8": 0.0}
    record = record_of(entropy=0.5)
    assert logged_scalars(record, (), watched) == {"entropy": 0.5, "shortcut/border_8": 0.0}


def test_what_was_not_tested_is_not_logged() -> None:
    record = record_of(entropy=0.5)
    assert set(logged_scalars(record, ("all",))) == {"entropy", "blank"}
    record.keep({"shortcut/border_8": 0.25, "shortcut_reliance": 0.25})
    assert set(logged_scalars(record, ("all",))) == {
        "entropy",
        "blank",
        "shortcut/border_8",
        "shortcut_reliance",
    }
    assert set(logged_scalars(record, ("shortcut/", "ent"))) == {"entropy", "shortcut/border_8"}
    assert logged_scalars(record, ()) == {}


def test_where_nothing_is_right_or_wrong_there_is_no_accuracy() -> None:
    assert "probe_accuracy" not in record_of(None, entropy=0.5).scalars
    assert record_of([1.0, float("nan")], entropy=0.5).scalars["probe_accuracy"] == 1.0


def test_a_value_that_is_not_finite_leaves_the_last_one() -> None:
    record = record_of(entropy=0.5)
    record.add(look(entropy=float("nan"), gini=float("nan")), blank=1.0, settings={})
    assert record.scalars == {"entropy": 0.5, "gini": 0.0, "blank": 1.0}


def test_a_statistic_of_the_users_own_is_logged_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STATISTICS, "mine", lambda maps: maps.saliency.flatten(1).amax(dim=1))
    assert logged_scalars(record_of(mine=0.5, gini=0.5), ("default",)) == {"mine": 0.5, "blank": 0.0}


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("entropy", TypeError, 'scalars: got \'entropy\'; give "default", "all", or a list'),
        (3, TypeError, "scalars: got 3; give"),
        (["entropie"], ValueError, "scalars: no scalar 'entropie'; did you mean 'entropy'?"),
        ([""], ValueError, "scalars: no scalar ''; there are border_mass"),
        ([7], ValueError, "scalars: no scalar 7"),
    ],
)
def test_wrong_choices(value: Any, error: type[Exception], message: str, unchecked: None) -> None:
    with pytest.raises(error) as caught:
        CAMMonitor(scalars=value)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("value", ["default", "all", ["default", "entropy"], ["entropy"], ["shortcut"], []])
def test_right_choices(value: Any) -> None:
    assert CAMMonitor(scalars=value).settings.scalars == check_scalars(value)
    assert set(known_names()) >= set(DEFAULT)


def test_a_training_logs_the_default_and_what_is_watched(tmp_path: Path) -> None:
    class Watches(Classifier):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": schedule, "monitor": "cam/gini", "strict": True},
            }

    monitor = CAMMonitor(probe=6)
    stopping = EarlyStopping("cam/entropy", patience=9, check_finite=True)
    fitted = fit(tmp_path, monitor, model=Watches(), callbacks=[monitor, stopping])
    assert logged(fitted.callback_metrics) == {*DEFAULT, "entropy", "gini"} - {"mass_inside"}
    right = monitor.history.looks[-1].right
    assert fitted.callback_metrics["cam/probe_accuracy"].item() == pytest.approx(right.mean().item())
