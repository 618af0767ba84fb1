"""``find_shortcuts`` on models whose behaviour is known, and on bad input."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lightning_cam import Probe, ShortcutReport, find_shortcuts
from lightning_cam.shortcuts.class_means import ClassMeans
from lightning_cam.shortcuts.cues import CUES
from lightning_cam.shortcuts.examine import choose_cues, examine
from lightning_cam.shortcuts.findings import (
    UNTESTED,
    Finding,
    FindingKey,
    FindingTracker,
    follow,
    standing_from,
    standing_state,
)
from lightning_cam.shortcuts.pairing import Ask, TestedProbe, plan
from lightning_cam.shortcuts.report import Result


class Corner(nn.Module):
    """Answers the channel that is brightest in the corner (or, ``whole``, everywhere)."""

    def __init__(self, whole: bool = False, classes: int = 3) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 3, 1, bias=False)
        self.features.weight = nn.Parameter(torch.eye(3)[:, :, None, None])
        self.whole, self.classes = whole, classes

    def forward(self, images: Tensor) -> Tensor:
        found = self.features(images)
        scores = (found if self.whole else found[:, :, :4, :4]).mean(dim=(2, 3))
        return torch.nn.functional.pad(scores, (0, self.classes - 3), value=-9.0)


def tagged(count: int = 36, size: int = 16) -> tuple[Tensor, Tensor]:
    labels = torch.arange(count) % 3
    images = 0.2 * torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))
    images[torch.arange(count), labels, :4, :4] += 3
    return images, labels


def found(report: ShortcutReport) -> set[str]:
    return {finding.cue for finding in report.findings}


def test_a_tag_in_the_corner_is_named() -> None:
    images, labels = tagged()
    report = find_shortcuts(Corner(), Probe(images, labels, class_names=("red", "green", "blue")))
    assert {"cell_0_0", "mean_image"} <= found(report)
    (cell,) = [finding for finding in report.findings if finding.cue == "cell_0_0"]
    assert (cell.dominance, cell.host, cell.tier, set(cell.classes)) == (
        1.0,
        0,
        "A",
        {"red", "green", "blue"},
    )
    assert report.cells is not None
    assert [round(value) for row in report.cells for value in row] == [1] + [0] * 15
    assert all(result.cue in report.table() for result in report.results)
    assert report.picture(cell, "now", None).size[0] > 400


def test_a_colour_is_named_and_no_cell() -> None:
    labels = torch.arange(36) % 3
    images = torch.randn(36, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    images[torch.arange(36), labels] += 0.5
    names = found(find_shortcuts(Corner(whole=True), Probe(images, labels)))
    assert {"colour_mean", "colour_std", "colour_median"} <= names
    assert not [name for name in names if name.startswith("cell")]


def test_one_class_of_many() -> None:
    class Tagged(nn.Module):
        """Class 0 by the tag, which it alone has; the others by where the object is."""

        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Conv2d(3, 3, 1, bias=False)
            self.features.weight = nn.Parameter(torch.eye(3)[:, :, None, None])

        def forward(self, images: Tensor) -> Tensor:
            red = self.features(images)[:, 0]
            objects = [
                red[:, row : row + 2, 8 * half : 8 * half + 8].mean(dim=(1, 2))
                for row in (8, 10, 12, 14)
                for half in (0, 1)
            ]
            return torch.stack([3 * red[:, :4, :4].mean(dim=(1, 2)), *objects], dim=1)

    labels = torch.arange(63) % 9
    images = 0.1 * torch.randn(63, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for image, label in zip(images, labels.tolist(), strict=True):
        if label:
            row, half = 8 + 2 * ((label - 1) // 2), (label - 1) % 2
            image[0, row : row + 2, 8 * half : 8 * half + 8] += 2
        else:
            image[0, :4, :4] += 2
    report = find_shortcuts(Tagged(), Probe(images, labels))
    assert ("cell_0_0", 0) in {
        (finding.cue, finding.label) for finding in report.findings
    } or "mean_image" in found(report)


def levels(count: int = 72, classes: int = 9) -> tuple[TestedProbe, ClassMeans]:
    """Images whose class is the level of a tag in the corner; as the probe of a model that gets all of them right."""
    labels = torch.arange(count) % classes
    images = 0.01 * torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    images[:, :, :4, :4] += labels[:, None, None, None]
    means = ClassMeans(("image", "spectrum", "amplitude", "tone"))
    means.add(images, labels, None, range(classes))
    return TestedProbe(images, labels, labels.clone(), None, None, means, among=False), means


def reads_the_tag(
    subjects: TestedProbe, share: int, only: int | None = None, shift: int = 0, classes: int = 9
) -> Ask:
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
    report = examine(subjects, ask, {cue: CUES[cue]}, classes=9, max_batch=50, standing=having_found(*known))
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
        standing=having_found(("mean_image", 3)),
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


def test_the_model_is_left_as_it_was() -> None:
    images, labels = tagged()
    model = Corner().train()
    before, state = model.features.weight.clone(), torch.get_rng_state()
    find_shortcuts(model, Probe(images, labels))
    assert model.training
    assert model.features.weight.grad is None
    assert torch.equal(model.features.weight, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("classes", [3, 1000])
def test_a_constant_answer_is_no_finding(classes: int) -> None:
    class Constant(Corner):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * 0 + torch.arange(self.classes)

    images, labels = tagged()
    report = find_shortcuts(Constant(classes=classes), Probe(images, labels))
    assert not report.findings
    assert report.hosts == (12 if classes == 3 else 0)


def test_two_classes_and_one_logit() -> None:
    class Logit(Corner):
        def forward(self, images: Tensor) -> Tensor:
            scores = super().forward(images)
            return scores[:, 1] - scores[:, 0]

    images, labels = tagged()
    two = labels < 2
    assert "cell_0_0" in found(find_shortcuts(Logit(), Probe(images[two], labels[two])))


def test_several_labels_are_one_against_the_rest() -> None:
    """Of an image that may show several things, each is a question of its own: this one, or not."""
    images, labels = tagged()
    several = torch.nn.functional.one_hot(labels, 3) | torch.nn.functional.one_hot((labels + 1) % 3, 3)
    images[torch.arange(36), (labels + 1) % 3, :4, :4] += 3
    for label in range(3):
        probe = Probe(images, several[:, label], class_names=("absent", "present"))
        report = find_shortcuts(Corner(), probe, scores=lambda output, label=label: output[:, label] - 1.5)
        assert report.hosts == 36
        assert "cell_0_0" in found(report)


def test_a_thousand_classes() -> None:
    images, labels = tagged()
    assert "cell_0_0" in found(find_shortcuts(Corner(classes=1000), Probe(images, labels)))


def test_scores_that_are_not_finite_are_no_finding() -> None:
    class Broken(Corner):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * torch.nan

    images, labels = tagged()
    assert not find_shortcuts(Broken(), Probe(images, labels)).findings


def test_too_few_images_of_a_class_are_said() -> None:
    images, labels = tagged(3)
    report = find_shortcuts(Corner(), Probe(images, labels))
    assert any("class means need 5 images" in note for note in report.notes)
    assert not report.findings


def test_images_that_are_too_small_are_said() -> None:
    images, labels = tagged(size=6)
    report = find_shortcuts(Corner(), Probe(images, labels))
    assert any("shorter side is 6 pixels; this cue needs 8" in note for note in report.notes)


def test_identical_images_and_empty_masks() -> None:
    images, labels = tagged()
    images = torch.cat([images, images[:1]])
    labels = torch.cat([labels, labels[:1]])
    report = find_shortcuts(Corner(), Probe(images, labels, torch.zeros(37, 16, 16, dtype=torch.bool)))
    assert "background" in found(report)  # all is background


def test_masks_keep_the_object() -> None:
    images, labels = tagged()
    masks = torch.zeros(36, 16, 16, dtype=torch.bool)
    masks[:, :4, :4] = True  # the corner is the object
    assert not {"background", "mean_image", "cell_0_0"} & found(
        find_shortcuts(Corner(), Probe(images, labels, masks))
    )


def test_bad_input_is_refused() -> None:
    images, labels = tagged()
    with pytest.raises(ValueError, match="labels: the probe has none"):
        find_shortcuts(Corner(), Probe(images))
    with pytest.raises(ValueError, match="all 36 images are of class 0"):
        find_shortcuts(Corner(), Probe(images, labels * 0))
    with pytest.raises(ValueError, match="not finite"):
        Probe(images * torch.nan, labels)
    with pytest.raises(ValueError, match="did you mean 'border_8'"):
        find_shortcuts(Corner(), Probe(images, labels), cues=["bordr_8"])


def test_keys_and_prefixes_choose_cues() -> None:
    assert set(choose_cues(["border", "cell_0_0"])) == {"border_16", "border_8", "cell_0_0"}


def test_hosts_are_right_and_donors_even() -> None:
    labels = torch.arange(40) % 4
    predicted = torch.where(torch.arange(40) < 8, (labels + 1) % 4, labels)
    subjects = TestedProbe(torch.rand(40, 3, 8, 8), labels, predicted, None, None, ClassMeans(()), among=True)
    pairs = plan(subjects, range(4), 3)
    assert (predicted[pairs.hosts] == labels[pairs.hosts]).all()
    assert (labels[pairs.hosts] != labels[pairs.donors]).all()
    assert labels[pairs.donors].bincount().tolist() == [24] * 4
    assert set(labels[plan(subjects, range(4), 3, only=2).donors].tolist()) == {2}


def finding(cue: str = "border_8", tier: str = "A", **options: int | None) -> Finding:
    return Finding(cue, tier, "notice", 121 / 125, 121, 4, 1e-6, ("a",), **options)


def test_one_look_is_a_notice_two_are_a_warning() -> None:
    first = follow((), [finding(), finding("mean_image", "B")], {"border_8", "mean_image"}, 3)
    assert [known.level for known in first] == ["notice", "notice"]
    second = follow(first, [finding(), finding("mean_image", "B")], {"border_8", "mean_image"}, 4)
    assert [known.level for known in second] == ["warning", "notice"]
    assert (
        second[0].statement
        == "cue 'border_8' decides 97 % of conflicts (donor 121, host 4; 2 looks in a row, since epoch 3)"
    )
    assert follow(second, [], {"mean_image"}, 5) == second[:1]
    assert not follow(second, [], {"border_8", "mean_image"}, 5)
    assert follow(first, [finding()], {"border_8"}, 4, expected=["border"])[0].level == "expected"
    assert (
        follow(first, [finding("mean_image", "B")], {"mean_image"}, 4, alarming=["mean"])[0].level
        == "warning"
    )


def test_stage_two_rests_where_it_would_tell_nothing_new() -> None:
    once, twice = follow((), [finding()], {"border_8"}, 0), follow((finding(),), [finding()], {"border_8"}, 1)
    assert not UNTESTED.is_thorough
    assert UNTESTED.after((), False, None).after((), False, None).is_thorough  # every third look
    found = UNTESTED.after(once, True, ("mean_image", None))
    assert found.is_thorough  # to be confirmed
    confirmed = found.after(twice, True, ("mean_image", None))
    assert not confirmed.is_thorough
    assert confirmed.asked == ("mean_image", None)
    assert standing_from(standing_state(confirmed)) == confirmed
    assert standing_from({}) == UNTESTED  # of a checkpoint without tests
