"""One look's tests: which classes are tested alone, what is asked again, which cues are chosen."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from support.findings import finding
from torch import Tensor

from lightning_cam.shortcuts import pairing
from lightning_cam.shortcuts.class_means import ClassMeans
from lightning_cam.shortcuts.cues import CUES
from lightning_cam.shortcuts.examine import choose_cues, examine
from lightning_cam.shortcuts.findings import (
    FindingKey,
    FindingTracker,
)
from lightning_cam.shortcuts.result import Result


def levels(count: int = 72, classes: int = 9) -> tuple[pairing.TestedProbe, ClassMeans]:
    """Images whose class is the level of a tag in the corner; as the probe of a model that gets all of them right."""
    labels = torch.arange(count) % classes
    images = 0.01 * torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    images[:, :, :4, :4] += labels[:, None, None, None]
    means = ClassMeans(("image", "spectrum", "amplitude", "tone"))
    means.add(images, labels, None, range(classes))
    return pairing.TestedProbe(images, labels, labels.clone(), None, None, means, among=False), means


def reads_the_tag(
    subjects: pairing.TestedProbe, share: int, only: int | None = None, shift: int = 0, classes: int = 9
) -> pairing.Ask:
    """Answers the tag for ``share`` of ten probe images (of class ``only``'s tag, where given), else the image's label."""

    def ask(images: Tensor, index: Tensor) -> Tensor:
        tags = images[:, :, :4, :4].mean(dim=(1, 2, 3)).round().long().clamp(0, classes - 1)
        follows = ((index + shift) % 10 < share) & (True if only is None else tags == only)
        return torch.nn.functional.one_hot(
            torch.where(follows, tags, subjects.labels[index]), classes
        ).float()

    return ask


def having_found(*known: FindingKey) -> FindingTracker:
    return FindingTracker(tuple(finding(cue, label=label) for cue, label in known))


def judged(
    share: int,
    only: int | None = None,
    cue: str = "mean_image",
    known: Sequence[FindingKey] = (),
    **replaced: Tensor,
) -> tuple[list[Result], float]:
    subjects = replace(levels()[0], **replaced)
    ask = reads_the_tag(subjects, share, only)
    report = examine(subjects, ask, {cue: CUES[cue]}, classes=9, max_batch=50, tracker=having_found(*known))
    return list(report.results), report.passes


def test_one_class_is_tested_alone_where_it_alone_wins() -> None:
    together, alone = judged(10, only=3)[0]
    assert (together.label, alone.label) == (None, 3)
    assert not together.holds
    assert alone.holds
    assert (alone.tally.donor, alone.tally.host, alone.tally.votes) == (
        64,
        0,
        64,
    )  # every host of another class
    # Nine classes might have been suspected, in one of three families of tests.
    assert alone.p_value == pytest.approx(3 * 9 * alone.tally.p_value)
    assert together.p_value == 1.0


def test_one_class_is_not_tested_alone_where_all_win() -> None:
    (together,), _ = judged(10)
    assert together.holds
    assert together.p_value == pytest.approx(3 * together.tally.p_value)


def test_what_was_known_is_one_question() -> None:
    together, alone = judged(10, only=3, known=[("mean_image", 3), ("border_8", None), ("mean_tone", 3)])[0]
    assert alone.label == 3
    assert alone.p_value == alone.tally.p_value  # not one of many
    assert together.p_value == 1.0
    # It is asked again where the few conflicts of stage 1 would not raise the suspicion.
    labels = [result.label for result in judged(0, known=[("mean_image", 3)])[0]]
    assert labels == [None, 3]


def test_a_class_is_named_where_it_wins_less_than_half_of_the_conflicts() -> None:
    subjects, ask = levels()[0], reads_the_tag(levels()[0], 5, only=3, shift=5)
    report = examine(
        subjects,
        ask,
        {"mean_image": CUES["mean_image"]},
        classes=9,
        max_batch=50,
        tracker=having_found(("mean_image", 3)),
    )
    (finding,) = report.findings
    assert finding.statement == "cue 'mean_image' of class '3' decides 48 % of conflicts (donor 31, host 33)"


def test_a_weak_model_is_not_tested_on_one_class() -> None:
    labels = levels()[0].labels
    wrong = torch.where(torch.arange(72) % 8 < 5, (labels + 1) % 9, labels)
    assert [result.label for result in judged(10, only=3, predicted=wrong)[0]] == [None]


def test_spectra_are_not_tested_on_one_class() -> None:
    assert not [result for result in judged(10, only=3, cue="mean_spectrum")[0] if result.label is not None]


def test_an_open_question_is_asked_again_with_more_donors() -> None:
    (clear,), passes = judged(10)
    assert clear.tally.pairs == 144  # two donors each
    assert passes == 2
    open_, passes = judged(4)[0][0], judged(4)[1]
    assert open_.tally.pairs == 8 * 72  # four times two, of eight other classes
    assert passes > 10
    # Both times count as tests.
    assert open_.p_value == pytest.approx(min(1.0, 3 * 2 * open_.tally.p_value))


def test_keys_and_prefixes_choose_cues() -> None:
    assert set(choose_cues(["border", "cell_0_0"])) == {"border_16", "border_8", "cell_0_0"}
