"""What a run's record keeps of its shortcut tests."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from lightning_cam import Probe
from lightning_cam.data.history import Look, remember
from lightning_cam.report.record import RunRecord, record_from, state_of_run
from lightning_cam.shortcuts.findings import Finding
from lightning_cam.shortcuts.predictivity import predictivity
from lightning_cam.shortcuts.report import ShortcutReport


@dataclass(frozen=True, eq=False)
class Reported(ShortcutReport):
    """A report whose findings and reliances are given."""

    given: tuple[Finding, ...] = ()
    points: dict[str, float] = field(default_factory=dict)

    @property
    def findings(self) -> tuple[Finding, ...]:
        return self.given

    @property
    def reliances(self) -> dict[str, float]:
        return self.points


def finding(cue: str = "border_8", reliance: float = 0.5, **changes: Any) -> Finding:
    known = {
        "meaning": "the border", "level": "notice", "may_warn": True, "predictivity": 0.9, "told": 0.92,
        "drawn": 0.3, "probe_images": 64, "classes": ("a",),
    }  # fmt: skip
    return Finding(**{"cue": cue, "reliance": reliance, **known, **changes})


def report(*findings: Finding, **points: float) -> Reported:
    return Reported((), (), (), None, ("too small",), given=findings, points=points)


def test_two_looks_in_a_row_make_a_warning_and_one_in_between_a_notice_again() -> None:
    record = RunRecord()
    seen = []
    for epoch, found in enumerate([(finding(),), (finding(),), (), (finding(),)]):
        record.judge(report(*found), epoch)
        seen.append([(one.level, one.looks, one.since) for one in record.findings])
    assert seen == [[("notice", 1, 0)], [("warning", 2, 0)], [], [("notice", 1, 3)]]
    assert record.notes == ("too small",)
    assert record.tests == 4


def test_the_summary_is_the_largest_reliance_of_what_is_not_expected() -> None:
    record = RunRecord()
    record.judge(report(finding(), finding("tones", 0.8), border_8=0.5, tones=0.8), 0, expected=["tones"])
    assert record.scalars == {"shortcut/border_8": 0.5, "shortcut/tones": 0.8, "shortcut_reliance": 0.5}
    record.judge(report(border_8=0.1), 1)
    # What was not tested any more stays as it was.
    assert record.scalars == {"shortcut/border_8": 0.1, "shortcut/tones": 0.8, "shortcut_reliance": 0.0}


@pytest.mark.parametrize("looks", [3, 200, 201, 1000])
def test_reliances_are_kept_of_so_many_looks(looks: int) -> None:
    record = RunRecord()
    for epoch in range(looks):
        record.judge(report(border_8=epoch / 1000), epoch)
    epochs = [epoch for epoch, _ in record.reliances]
    assert epochs == sorted(set(epochs))
    assert (epochs[0], epochs[-1]) == (0, looks - 1)
    assert min(looks, 100) <= len(epochs) <= 200
    assert all(points == {"border_8": epoch / 1000} for epoch, points in record.reliances)


def test_a_checkpoint_has_all_of_it_and_is_read_without_pickled_code(tmp_path: Any) -> None:
    images, labels = torch.rand(12, 1, 16, 16), torch.arange(12) % 2
    record = RunRecord(probe=Probe(images, labels))
    told = predictivity(images, labels)
    record.judge(Reported((), (), (told,), None, ("note",), given=(finding(),), points={"tones": 0.25}), 3)
    record.add(look(), 0.0, {})
    record.beside_look(lambda: {"val_loss": 0.5})
    torch.save(state_of_run(record, None, "asked"), tmp_path / "state.pt")
    again = record_from(torch.load(tmp_path / "state.pt", weights_only=True))
    for name in ("findings", "predictivities", "reliances", "notes", "tests", "tested", "scalars", "metrics"):
        assert getattr(again, name) == getattr(record, name)
    assert again.predictivities == {name: one.kappa for name, one in told.items()}
    again.judge(report(finding()), 4)
    assert [(one.level, one.since) for one in again.findings] == [("warning", 3)]


def look(step: int = 7, epoch: int = 0) -> Look:
    return remember(epoch, step, torch.rand(2, 2, 2), torch.zeros(2).long(), torch.ones(2), {})


def test_the_users_metrics_are_kept_once_a_look() -> None:
    record = RunRecord()
    record.beside_look(lambda: {"val_loss": 9.0})
    record.add(look(0, epoch=-1), 0.0, {})
    record.beside_look(lambda: {"val_loss": 8.0})
    assert record.metrics == {}, "no look of a trained model yet"
    for step, loss in ((3, 0.5), (7, float("nan"))):
        record.add(look(step), 0.0, {})
        logged = {"val_loss": loss, **{f"val_{i:02}": float(i) for i in range(20)}}
        record.beside_look(lambda logged=logged: logged)
        record.beside_look(lambda: {"val_loss": 7.0})
    assert list(record.metrics) == [3, 7]
    assert list(record.metrics[7]) == [f"val_{i:02}" for i in range(12)]
    record.forget_looks()
    assert record.metrics == {}


def test_looks_that_are_forgotten_take_their_tests_along() -> None:
    record = RunRecord()
    record.judge(report(finding(), border_8=0.5), 0)
    record.forget_looks()
    assert (record.findings, record.reliances, record.predictivities, record.notes) == ((), [], {}, ())
    assert (record.tests, record.tested, record.scalars) == (0, None, {})
