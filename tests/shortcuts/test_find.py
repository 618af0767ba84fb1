"""``find_shortcuts`` on models whose behaviour is known, and on bad input."""

import pytest
import torch
from torch import Tensor, nn

from lightning_cam import Probe, ShortcutReport, find_shortcuts


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


def two_each() -> tuple[Tensor, Tensor]:
    """Images with two of three tags in the corner; labels (36, 3)."""
    images, labels = tagged()
    images[torch.arange(36), (labels + 1) % 3, :4, :4] += 3
    one_hot = torch.nn.functional.one_hot
    return images, one_hot(labels, 3) | one_hot((labels + 1) % 3, 3)


class Present(Corner):
    """Of each label whether it is there, as logits."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) - 1.5


@pytest.mark.parametrize("kind", [torch.int64, torch.float32, torch.bool, torch.uint8], ids=str)
def test_zeros_and_ones_are_several_labels(kind: torch.dtype) -> None:
    images, labels = two_each()
    report = find_shortcuts(Present(), images, cues=["cell", "colour"], labels=labels.to(kind))
    assert {(finding.cue, finding.label) for finding in report.findings} >= {
        ("cell_0_0", label) for label in range(3)
    }
    (first, *_) = [finding for finding in report.findings if finding.label == 0]
    assert first.statement.startswith("0: cue 'cell_0_0' decides 100 % of conflicts (donor ")
    assert report.hosts == 36
    same = find_shortcuts(Present(), Probe(images, labels), ["cell", "colour"], task="multilabel")
    assert same.findings == report.findings


@pytest.mark.parametrize("frozen", [False, True])
def test_a_sigmoid_at_the_end_is_undone(frozen: bool) -> None:
    class Shares(Present):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images).sigmoid()

    images, labels = two_each()
    reports = [
        find_shortcuts(model.requires_grad_(not frozen), images, cues=["cell"], labels=labels)
        for model in (Present(), Shares())
    ]
    assert reports[0].hosts == reports[1].hosts == 36
    assert [r.tally for r in reports[0].results] == [r.tally for r in reports[1].results]


def test_labels_that_nobody_knows_are_not_counted() -> None:
    images, labels = two_each()
    known = labels.float()
    known[::4, 0] = torch.nan
    report = find_shortcuts(Present(), images, cues=["colour_mean"], labels=known)
    assert report.subjects.labels[::4, 0].tolist() == [-1] * 9
    (first,) = [result for result in report.results if result.label == 0]
    rows = torch.cat([first.pairs.hosts, first.pairs.donors])
    assert len(rows) > 20
    assert not set(rows.tolist()) & set(range(0, 36, 4))


def test_masks_keep_the_objects_of_several_labels() -> None:
    images, labels = two_each()
    masks = torch.zeros(36, 16, 16, dtype=torch.bool)
    masks[:, :4, :4] = True
    report = find_shortcuts(Present(), Probe(images, labels, masks))
    assert not {"background", "mean_image", "cell_0_0"} & found(report)
    assert "background" in {result.cue for result in report.results}


def test_several_labels_of_signals_are_no_pictures() -> None:
    class Loud(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Conv1d(3, 3, 1)

        def forward(self, signals: Tensor) -> Tensor:
            return self.features(signals).mean(dim=2)

    report = find_shortcuts(Loud(), torch.rand(36, 3, 32), labels=two_each()[1])
    assert "cues are made for images (n, c, H, W), not for signals or volumes" in report.notes
    assert not report.results


def test_a_regression_is_refused_and_the_remedy_works() -> None:
    """The number is how bright the corner is."""

    class Brightness(Corner):
        def forward(self, images: Tensor) -> Tensor:
            return self.features(images)[:, 0, :4, :4].mean(dim=(1, 2))

    images, _ = tagged()
    numbers = Brightness()(images).detach()
    words = r"'regression' has no shortcut tests.* labels=\(labels > limit\).long\(\), scores=.*task='binary'"
    for task in ("auto", "regression"):
        with pytest.raises(ValueError, match=words):
            find_shortcuts(Brightness(), images, labels=numbers, task=task)
    with pytest.raises(ValueError, match=words):
        find_shortcuts(Brightness(), images, labels=torch.arange(36) % 7)
    limit = 1.5
    report = find_shortcuts(
        Brightness(),
        images,
        labels=(numbers > limit).long(),
        scores=lambda output: output - limit,
        task="binary",
    )
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
    with pytest.raises(ValueError, match=r"task: no task 'multilable'; did you mean 'multilabel'"):
        find_shortcuts(Corner(), images, labels=labels, task="multilable")
    with pytest.raises(ValueError, match="labels: the probe has labels of its own"):
        find_shortcuts(Corner(), Probe(images, labels), labels=labels)
    several = two_each()[1]
    with pytest.raises(ValueError, match=r"task='multiclass', which needs .*give task='multilabel'"):
        find_shortcuts(Corner(), images, labels=several, task="multiclass")
    with pytest.raises(ValueError, match=r"task='multilabel', which needs .*give task='multiclass'"):
        find_shortcuts(Corner(), images, labels=labels, task="multilabel")
    with pytest.raises(ValueError, match="labels: got 2 per image for a network with 3 scores"):
        find_shortcuts(Corner(), images, labels=several[:, :2])
    with pytest.raises(ValueError, match="of 3 labels none is there in one image and missing in another"):
        find_shortcuts(Corner(), images, labels=several * 0)
    with pytest.raises(ValueError, match="did you mean 'border_8'"):
        find_shortcuts(Corner(), Probe(images, labels), cues=["bordr_8"])
