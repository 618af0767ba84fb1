"""Tests of each label against the rest: equal to the book, the right label and cue of a trained network, and what is told."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from reference import labels as book
from support.several_labels import MARKED, NAMES, made, trained
from torch import Tensor

from lightning_cam import Probe, ShortcutReport, find_shortcuts
from lightning_cam.shortcuts import pairing
from lightning_cam.shortcuts.counts import holm
from lightning_cam.shortcuts.cues import CUES
from lightning_cam.shortcuts.examine import FAMILIES, choose_cues
from lightning_cam.shortcuts.examine_labels import (
    DONORS,
    MOST_LABELS,
    examine_labels,
    fewest_images,
    label_subjects,
    tellable,
)
from lightning_cam.shortcuts.findings import UNTESTED, FindingTracker
from lightning_cam.shortcuts.label_pairs import plan_for_labels, shams_for_labels

MARKS = {name: CUES[name] for name in ("border_8", "colour_mean", "cell_0_0")}


def marks(labels: Tensor, seed: int = 0) -> Tensor:
    """Noise in which the k-th pixel of the first row is bright where an image has label k."""
    images = 0.1 * torch.randn(len(labels), 1, 16, 16, generator=torch.Generator().manual_seed(seed))
    images[:, 0, 0, : labels.shape[1]] += labels.clamp(min=0)
    return images


def flags(count: int = 60, labels: int = 3, unknown: float = 0.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    found = (torch.rand(count, labels, generator=generator) < 0.5).float()
    return torch.where(torch.rand(count, labels, generator=generator) < unknown, torch.nan, found)


class Answers:
    """Reads the marks, and is wrong or silent (not a number) for some images and labels, whatever is shown."""

    def __init__(self, labels: Tensor, noise: float) -> None:
        generator = torch.Generator().manual_seed(7)
        self.luck = torch.rand(labels.shape, generator=generator) < noise
        self.silent = torch.rand(labels.shape, generator=generator) < noise / 4
        self.labels, self.count, self.asked = labels, labels.shape[1], 0

    def __call__(self, images: Tensor, index: Tensor) -> Tensor:
        self.asked += len(images)
        seen = images[:, 0, 0, : self.count] - 0.5
        scores = torch.where(self.luck[index] & (images[:, 0, 8, 8:9] > 0), -seen, seen)
        return torch.where(self.silent[index] & (images[:, 0, 9, 9:10] > 0), torch.nan, scores)


def subjects_of(labels: Tensor, ask: Answers, cues: dict[str, Any] = MARKS) -> pairing.TestedProbe:
    images = marks(labels)
    return label_subjects(images, labels, ask(images, torch.arange(len(images))), None, None, cues)


def examined(
    labels: Tensor, noise: float = 0.0, cues: dict[str, Any] = MARKS, tracker: FindingTracker = UNTESTED
) -> tuple[ShortcutReport, Answers]:
    ask = Answers(labels, noise)
    subjects = subjects_of(labels, ask, cues)
    ask.asked = 0
    return examine_labels(subjects, ask, cues, max_batch=50, thorough=True, tracker=tracker), ask


@pytest.mark.parametrize("unknown", [0.0, 0.2])
@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_counts_equal_the_book(noise: float, unknown: float) -> None:
    labels = flags(unknown=unknown)
    report, ask = examined(labels, noise)
    subjects = report.subjects
    assert subjects.columns == (0, 1, 2)
    truth, before = subjects.labels.tolist(), subjects.predicted.tolist()
    assert truth == [[-1 if value != value else int(value) for value in row] for row in labels.tolist()]
    planned = plan_for_labels(subjects, DONORS)
    pairs = list(zip(planned.hosts.tolist(), planned.donors.tolist(), strict=True))
    results = {(result.cue, result.label): result for result in report.results}
    assert len(results) == len(MARKS) * 3
    for name, row in MARKS.items():

        def after(chosen: Any, sham: bool = False, row: Any = row) -> list[list[int]]:
            shown = pairing.transplants(row, subjects, chosen, 50, sham)
            logits = torch.cat([ask(images, hosts) for images, hosts in shown])
            return [[book.answer(logit) for logit in one] for one in logits.tolist()]

        said = after(planned)
        expected = {
            label: book.tally(truth, before, pairs, said, label, bool(row.feature)) for label in range(3)
        }
        won = [label for label, found in expected.items() if found.donor > found.host]
        hosts = {
            host
            for label in won
            for host, donor in pairs
            if {truth[host][label], truth[donor][label]} == {0, 1}
            and before[host][label] == truth[host][label]
        }
        for label, found in expected.items():
            counts = results[name, label].tally
            assert (counts.donor, counts.host, counts.third, counts.wins, counts.votes) == found
            assert (counts.classes, counts.null) == (2, row.null)
            if label not in won:
                assert counts.flips == 0
            elif row.feature:  # the change the other way round, of the same pairs
                own = [
                    int(answers[label] != truth[host][label])
                    for (host, donor), answers in zip(pairs, after(planned, sham=True), strict=True)
                    if {truth[host][label], truth[donor][label]} == {0, 1}
                    and before[host][label] == truth[host][label]
                ]
                assert counts.flips == pytest.approx(sum(own) / len(own))
            else:
                shams = shams_for_labels(subjects, hosts, won)
                alike = list(zip(shams.hosts.tolist(), shams.donors.tolist(), strict=True))
                assert counts.flips == pytest.approx(book.flips(truth, before, alike, after(shams), label))


def test_the_network_is_asked_once_for_all_labels() -> None:
    labels = flags()
    ask = Answers(labels, 0.0)
    subjects = subjects_of(labels, ask)
    deaf = replace(subjects, predicted=1 - subjects.labels)
    ask.asked = 0
    cues = {"colour_mean": CUES["colour_mean"]}  # decides nothing, so there are no shams
    report = examine_labels(subjects, ask, cues, max_batch=50, thorough=True)
    assert ask.asked == 2 * len(labels) == report.passes * len(labels)
    assert {result.label for result in report.results} == {0, 1, 2}
    silent = examine_labels(deaf, ask, cues, max_batch=50, thorough=True)
    assert silent.results == ()
    assert "no label of any image of the probe is answered rightly, so there are no hosts yet" in silent.notes


def test_p_values_are_adjusted_over_labels_and_cues() -> None:
    report, _ = examined(flags(), noise=0.4)
    second = [result for result in report.results if result.row.stage == 2]
    assert len(second) == 9
    expected = [min(1.0, FAMILIES * value) for value in holm([result.tally.p_value for result in second])]
    assert [result.p_value for result in second] == pytest.approx(expected)
    assert max(result.p_value for result in second if result.holds) < 0.01


def test_what_was_found_is_one_question_of_that_label() -> None:
    report, _ = examined(flags())
    (border, *_) = [finding for finding in report.findings if finding.cue == "border_8"]
    again, _ = examined(flags(), tracker=FindingTracker((border,)))
    for result in again.results:
        assert (result.p_value == result.tally.p_value) == (
            result.key == border.key or result.tally.p_value == 1
        )


def test_stage_two_waits_for_stage_one() -> None:
    labels = flags()
    ask = Answers(labels, 0.0)
    cues = choose_cues(["mean_image", "cell_0_0"])
    subjects = subjects_of(labels, ask, cues)
    first = examine_labels(subjects, ask, cues, max_batch=60)
    assert {result.cue for result in first.results} == {"mean_image", "cell_0_0"}
    assert first.pointed is not None
    again = examine_labels(subjects, ask, cues, max_batch=60, tracker=FindingTracker(pointed=first.pointed))
    assert {result.cue for result in again.results} == {"mean_image"}
    assert (first.complete, again.complete) == (True, False)


@pytest.mark.parametrize("tests", [1, 3, 24, 8 * 24, 1000])
def test_enough_images_equal_the_book(tests: int) -> None:
    assert fewest_images(tests) == book.fewest_images(tests)


@pytest.mark.parametrize("labels", [1, 3, 12])
@pytest.mark.parametrize("tests", [1, 24])
def test_labels_that_can_be_told_equal_the_book(labels: int, tests: int) -> None:
    shares = torch.linspace(0.02, 0.5, labels)
    found = (torch.rand(64, labels, generator=torch.Generator().manual_seed(3)) < shares).long()
    told = tellable(found, tests)
    assert list(told) == book.tellable(found.tolist(), tests, MOST_LABELS)
    assert len(told) <= MOST_LABELS


def test_labels_that_are_left_out_are_named() -> None:
    labels = flags(labels=11)
    labels[:, 4] = (torch.arange(60) < 3).float()
    labels[:, 6] = torch.nan
    report, _ = examined(labels)
    assert len(report.subjects.columns or ()) == MOST_LABELS
    assert not {4, 6} & set(report.subjects.columns or ())
    (note,) = [note for note in report.notes if "not tested" in note]
    assert note.startswith(f"labels that are not tested: {', '.join(map(str, report.subjects.left_out))}; ")
    assert {result.label for result in report.results} == set(report.subjects.columns or ())
    named = examine_labels(
        report.subjects, Answers(labels, 0.0), MARKS, max_batch=60, class_names=tuple("abcdefghijk")
    )
    assert "'e'" in named.notes[0]


def test_a_label_joins_with_as_many_images_as_the_note_asks_for() -> None:
    labels = flags()
    for images, columns in ((fewest_images(3 * 2) - 1, (0, 1)), (fewest_images(3 * 3), (0, 1, 2))):
        labels[:, 2] = (torch.arange(60) < images).float()
        report, _ = examined(
            labels, cues={name: CUES[name] for name in ("border_8", "border_16", "cell_0_0")}
        )
        assert report.subjects.columns == columns
        if columns == (0, 1):
            assert f"one more would need {fewest_images(3 * 3)} images with it" in report.notes[0]


def test_where_no_label_can_be_told_that_is_said() -> None:
    report, ask = examined(flags(count=6))
    assert report.results == ()
    assert ask.asked == 0
    assert report.hosts == 0
    assert "labels that are not tested: 0, 1, 2; " in report.notes[0]


@pytest.fixture(scope="module")
def marked() -> ShortcutReport:
    return find_shortcuts(trained(marked=True), Probe(*made(64, 5, True), class_names=NAMES))


def test_a_trained_networks_shortcut_is_named_and_its_label(marked: ShortcutReport) -> None:
    assert {(finding.of, finding.label) for finding in marked.findings} == {(NAMES[MARKED], MARKED)}
    assert {finding.cue for finding in marked.findings} <= {"cell_0_0", "border_8", "border_16", "mean_image"}
    (cell,) = [finding for finding in marked.findings if finding.cue == "cell_0_0"]
    assert cell.tier == "A"
    assert cell.dominance > 0.9
    assert cell.statement.startswith("column: cue 'cell_0_0' decides ")
    assert set(cell.classes) == {"with column", "without column"}
    others = [r for r in marked.results if r.cue == "cell_0_0" and r.label != MARKED]
    assert max(result.tally.dominance for result in others) < 0.1


def test_the_clean_twin_has_no_finding() -> None:
    report = find_shortcuts(trained(marked=False), Probe(*made(64, 5, False), class_names=NAMES))
    assert report.hosts == 64
    assert len(report.results) >= 3 * 20
    assert not report.findings


def test_findings_are_shown_and_told(marked: ShortcutReport) -> None:
    for finding in marked.findings:
        assert marked.picture(finding, "now", None).size[0] > 400
    (cell,) = [finding for finding in marked.findings if finding.cue == "cell_0_0"]
    donors = marked.result_of(cell).by_class
    assert set(marked.following(cell).split("; ")) == {
        f"{word} column: donor {donors[value].donor}, host {donors[value].host}"
        for value, word in ((0, "without"), (1, "with"))
    }
    assert "cell_0_0         column " in marked.table()
    assert "the data alone tell column by border 1.00, corners 1.00" in marked.table()


def test_scalars_are_as_many_as_cues_whatever_the_labels(marked: ShortcutReport) -> None:
    assert set(marked.dominances) == {result.cue for result in marked.results}
    assert marked.dominances["cell_0_0"] > 0.9  # of the label whose test is the clearest
    assert set(marked.label_offers) == set(marked.label_agreement) == {0, 1, 2}
    for whole, parts in ((marked.offers, marked.label_offers), (marked.agreement, marked.label_agreement)):
        assert whole == {name: max(values[name] for values in parts.values()) for name in whole}
    assert marked.label_offers[MARKED]["corners"] == 1
    assert marked.label_offers[0]["corners"] < 0.6
    assert marked.label_agreement[MARKED]["border_only"] > 0.9
    assert abs(marked.label_agreement[0]["border_only"]) < 0.3
