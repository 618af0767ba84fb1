"""Which scalars are logged, and when: none is NaN, and none is missing for who watches it."""

import torch

from lightning_cam import STATISTICS, CAMMonitor, Probe
from lightning_cam.callbacks.scalars import OF_TESTS, scalars
from lightning_cam.data.history import remember
from lightning_cam.report.record import RunRecord

OF_MASKS = {"mass_inside", "pointing_game"}


def look(**statistics: float):
    values = {name: torch.tensor([value, value]) for name, value in statistics.items()}
    return remember(0, 0, torch.rand(2, 2, 2), torch.zeros(2).long(), torch.ones(2), values)


def test_before_the_first_look_all_are_there_and_zero() -> None:
    found = scalars(RunRecord(), CAMMonitor().settings, is_off=False)
    assert set(found) == {*STATISTICS, "blank", *OF_TESTS}
    assert OF_TESTS == ("shortcut_reliance", "agreement/border_only", "agreement/shuffled")
    assert set(found.values()) == {0.0}


def test_no_cue_has_a_scalar_before_it_was_tested_and_the_summary_always_is_there() -> None:
    record, settings = RunRecord(), CAMMonitor().settings
    record.add(look(entropy=0.5), blank=0.0, settings={})
    found = scalars(record, settings, is_off=False)
    assert found["shortcut_reliance"] == 0.0
    assert not [name for name in found if name.startswith("shortcut/")]
    record.keep({"shortcut/border_8": 0.25, "shortcut_reliance": 0.25})
    found = scalars(record, settings, is_off=False)
    assert (found["shortcut/border_8"], found["shortcut_reliance"]) == (0.25, 0.25)


def test_a_probe_without_masks_has_none_of_masks() -> None:
    record = RunRecord(probe=Probe(torch.rand(2, 3, 8, 8)))
    found = scalars(record, CAMMonitor(shortcuts=None).settings, is_off=False)
    assert set(found) == {*STATISTICS, "blank"} - OF_MASKS


def test_after_a_look_what_it_measured_and_no_more() -> None:
    record = RunRecord()
    record.add(look(entropy=0.5, gini=0.25), blank=0.0, settings={})
    settings = CAMMonitor(shortcuts=None).settings
    assert scalars(record, settings, is_off=False) == {"entropy": 0.5, "gini": 0.25, "blank": 0.0}
    off = scalars(record, settings, is_off=True)
    assert off["entropy"] == 0.5
    assert off["border_mass"] == 0.0


def test_a_value_that_is_not_finite_leaves_the_last_one() -> None:
    record = RunRecord()
    record.add(look(entropy=0.5), blank=0.0, settings={})
    record.add(look(entropy=float("nan"), gini=float("nan")), blank=1.0, settings={})
    assert record.scalars == {"entropy": 0.5, "gini": 0.0, "blank": 1.0}
