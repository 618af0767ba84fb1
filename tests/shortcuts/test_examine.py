"""One look's tests: which cues the model is asked about, how often, and what holds."""

from dataclasses import replace

import pytest
import torch
from support.planted_cues import noise, reads_tag, tag
from torch import Tensor

from lightning_cam import Probe
from lightning_cam.shortcuts import pairing
from lightning_cam.shortcuts.cues import CUES
from lightning_cam.shortcuts.examine import (
    CLOSER,
    DRAWN_PAIRS,
    FIRST,
    FURTHER,
    Asking,
    check_subjects,
    choose_cues,
    examine,
    label_views,
)
from lightning_cam.shortcuts.predictivity import Predictivity
from lightning_cam.shortcuts.reliance import by_class, reliance
from lightning_cam.shortcuts.rule import MOST_CUES, SEVERAL

CLASSES = 3


def told(kappa: float, f1: tuple[float, ...] = (0.0,) * CLASSES) -> Predictivity:
    return Predictivity(kappa, kappa, torch.tensor(f1), 500, torch.zeros(0, dtype=torch.int64))


def probe(count: int = 48) -> pairing.TestedProbe:
    labels = torch.arange(count) % CLASSES
    return pairing.TestedProbe(tag(noise(count), labels), labels, labels, None, CLASSES)


class Counts:
    """Answers by the tag, and counts the images it is shown."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, images: Tensor, index: Tensor) -> Tensor:
        self.asked += len(images)
        return reads_tag(images)


def test_only_cues_that_tell_the_label_are_asked_about_and_the_passes_are_counted() -> None:
    view, ask, turns = probe(), Counts(), len(FIRST) + len(FURTHER)
    given = {"cell_0_0": told(0.99), "cell_2_2": told(0.99), "colour_mean": told(0.1)}
    report = examine([view], Asking(ask, 20), CUES, [given])
    assert {result.cue for result in report.results} == {"cell_0_0", "cell_2_2"}
    corner, inner = (
        next(one for one in report.results if one.cue == cue) for cue in ("cell_0_0", "cell_2_2")
    )
    assert (len(corner.swaps.own), len(inner.swaps.own)) == (
        turns * 48,
        48,
    )  # a closer look where accuracy is lost
    assert ask.asked == 2 * (turns * 48 + 48) == report.passes * 48
    assert (corner.holds, inner.holds) == (True, False)
    assert corner.reliance == reliance(corner.swaps, view.labels, CLASSES)
    assert corner.by_class == by_class(corner.swaps, view.labels)
    assert [finding.cue for finding in report.findings] == ["cell_0_0"]
    assert examine([view], Asking(Counts(), 20), CUES, [{}]).results == ()


def test_cues_that_are_not_chosen_are_not_asked_about() -> None:
    report = examine([probe()], Asking(Counts(), 48), choose_cues(["border"]), [{"cell_0_0": told(1.0)}])
    assert (report.results, report.predictivities) == ((), {})


def test_at_most_three_cues_are_looked_at_closely() -> None:
    names = ["cell_0_0", "border_8", "border_16", "colour_mean", "colour"]
    report = examine([probe()], Asking(Counts(), 48), CUES, [{name: told(0.99) for name in names}])
    often = [result for result in report.results if len(result.swaps.own) > 48]
    assert len(often) == CLOSER
    least = min(result.reliance.points for result in often)
    assert all(one.reliance.points <= least + 0.2 for one in report.results if one not in often)


def test_one_class_is_asked_about_alone() -> None:
    labels = torch.arange(60) % 4
    images = noise(60)
    images[labels == 2, :, :6, :6] += 4
    view = pairing.TestedProbe(images, labels, labels, None, 4)

    def ask(shown: Tensor, index: Tensor) -> Tensor:
        """Class 2 by the tag; the others are known by heart."""
        own = torch.nn.functional.one_hot(labels[index], 4).float()
        own[:, 2] = torch.where(shown[:, :, :6, :6].mean(dim=(1, 2, 3)) > 2, 2.0, -1.0)
        return own

    given = {"cell_0_0": told(0.3, (0.2, 0.2, 0.99, 0.2))}
    (result,) = examine([view], Asking(ask, 60), CUES, [given]).results
    assert (result.label, result.is_one_class, result.holds, result.may_warn) == (2, True, True, True)
    assert len(result.swaps.own) == min(DRAWN_PAIRS, 2 * 45)
    assert set(labels[result.swaps.pairs.other].tolist()) == {2}
    lost, drawn = result.by_class[2]
    assert (lost, drawn) == (1.0, 1.0)
    assert result.predictivity == pytest.approx(0.99)
    silent = examine(
        [view],
        Asking(lambda shown, index: torch.nn.functional.one_hot(labels[index], 4).float(), 60),
        CUES,
        [given],
    )
    assert not silent.results[0].holds


def test_single_classes_are_not_asked_about_where_all_together_are_found() -> None:
    given = {"cell_0_0": told(0.9, (0.99, 0.2, 0.2))}
    report = examine([probe()], Asking(Counts(), 48), CUES, [given])
    assert [(result.label, result.holds) for result in report.results] == [(None, True)]
    weak = {"cell_0_0": told(SEVERAL[-1][0] - 0.01, (0.99, 0.2, 0.2))}
    (alone,) = examine([probe()], Asking(Counts(), 48), CUES, [weak]).results
    assert alone.label == 0


def flags(count: int = 60) -> Tensor:
    return torch.stack(
        [torch.arange(count) % 2, torch.arange(count) // 2 % 2, torch.arange(count) // 4 % 2], dim=1
    )


def test_each_label_is_asked_about_before_any_gets_a_second_cue() -> None:
    images, truth = noise(60), flags()
    first = pairing.TestedProbe(images, truth[:, 0], truth[:, 0], None, 3)
    views = label_views(first, truth, truth * 2.0 - 1, [0, 1, 2])
    assert [(view.column, view.classes) for view in views] == [(0, 2), (1, 2), (2, 2)]
    many = {name: told(1.0) for name in CUES if CUES[name].needs != "masks"}
    report = examine(views, Asking(Counts(), 60), CUES, [many, many, {"border_8": told(0.95)}])
    owners = [result.label for result in report.results]
    assert len(owners) == MOST_CUES
    assert owners.count(2) == 1
    assert min(owners.count(0), owners.count(1)) >= 3


def test_labels_and_scores_must_fit() -> None:
    truth = flags()
    view = pairing.TestedProbe(noise(60), truth[:, 0], truth[:, 0], None, 3)
    with pytest.raises(ValueError, match="labels: got 3 per image for a network with 2 scores"):
        label_views(view, truth, torch.zeros(60, 2), [0])
    given = truth.float()
    given[0, 1] = torch.nan
    assert label_views(view, given, torch.zeros(60, 3), [1])[0].labels[0] == -1


def test_notes_say_what_could_not_be_tested() -> None:
    small = replace(probe(), images=noise(48, 12))
    notes = examine([small], Asking(Counts(), 48), CUES, [{}]).notes
    assert any(
        "a thin border: the images' shorter side is 12 pixels; this cue needs 16" in note for note in notes
    )
    few = replace(probe(4), labels=torch.arange(4))
    assert any(
        "0 of 4 probe images have another image" in note
        for note in examine([few], Asking(Counts(), 4), CUES, [{}]).notes
    )
    assert examine([probe()], Asking(Counts(), 48), CUES, [{}]).notes == ()


@pytest.mark.usefixtures("unchecked")
def test_keys_and_prefixes_choose_cues() -> None:
    assert set(choose_cues(["border", "cell_0_0"])) == {"border_16", "border_8", "cell_0_0"}
    assert choose_cues("default") == CUES
    for bad in ("border", [3], 5):
        with pytest.raises(TypeError, match=r"expected: got .*; give keys of CUES"):
            choose_cues(bad, "expected")
    with pytest.raises(ValueError, match="cues: no cue ''"):
        choose_cues([""])


def test_subjects_need_labels_that_differ() -> None:
    images = noise(6)
    assert torch.equal(check_subjects(Probe(images, torch.arange(6) % 2)), torch.arange(6) % 2)
    with pytest.raises(ValueError, match="labels: all 6 images are of class 1"):
        check_subjects(Probe(images, torch.ones(6).long()))
    with pytest.raises(ValueError, match="task: 'regression' has no shortcut tests"):
        check_subjects(Probe(images, torch.arange(6) % 2), "regression")


def test_a_few_images_are_no_evidence() -> None:
    """Seven that could receive a cue: nothing is asked, and it is said what is needed."""
    view, ask = probe(7), Counts()
    report = examine([view], Asking(ask, 20), CUES, [{"cell_0_0": told(0.99, (0.99,) * CLASSES)}])
    assert (ask.asked, report.results, report.findings) == (0, (), ())
    assert any("7 of 7 probe images" in note and "at least 8 are needed" in note for note in report.notes)
    assert report.predictivities == {"cell_0_0": 0.99}
    assert examine([probe(8)], Asking(ask, 20), CUES, [{"cell_0_0": told(0.99)}]).results
