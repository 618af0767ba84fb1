"""``find_shortcuts`` on models whose behaviour is known, and on bad input."""

from typing import Any

import pytest
import torch
from support.planted_cues import PLANTED, Reads, noise, reads_object, reads_tag, tag, with_object
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_cam import Probe, ShortcutReport, find_shortcuts

DATA = 240


def found(report: ShortcutReport) -> set[str]:
    return {finding.cue for finding in report.findings}


def planted(name: str, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    labels = torch.arange(count) % 3
    return PLANTED[name][0](with_object(noise(count, seed=seed), labels), labels), labels


def loader(images: Tensor, labels: Tensor, **options: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(images, labels), batch_size=50, **options)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_cue_is_named_and_the_network_that_ignores_it_is_silent(name: str) -> None:
    _, reads, cues = PLANTED[name]
    data, probe = loader(*planted(name, DATA, seed=1)), Probe(*planted(name, 48))
    report = find_shortcuts(Reads(reads), probe, data=data)
    assert report.hosts >= 44
    assert found(report) & cues, report.table()
    assert max(report.predictivities[cue] for cue in cues) > 0.85
    honest = find_shortcuts(Reads(reads_object), probe, data=data)
    assert honest.hosts >= 44
    assert honest.predictivities == report.predictivities  # of the data, whatever the model
    assert not found(honest) & cues, honest.table()


def test_without_a_cue_nothing_is_found() -> None:
    labels = torch.arange(DATA) % 3
    images = with_object(noise(DATA, seed=1), labels)
    report = find_shortcuts(Reads(reads_object), Probe(images[:48], labels[:48]), data=loader(images, labels))
    assert not [cue for cue in found(report) if not cue.startswith("cell")], report.table()
    assert all(not finding.may_warn for finding in report.findings)  # cells inside are the object's place


def test_a_tag_in_the_corner_is_named() -> None:
    images, labels = planted("tag", 48)
    report = find_shortcuts(Reads(reads_tag), Probe(images, labels, class_names=("red", "green", "blue")))
    (cell,) = [finding for finding in report.findings if finding.cue == "cell_0_0"]
    assert (cell.meaning, cell.may_warn, cell.level) == ("the top-left corner", True, "notice")
    assert cell.reliance > 0.9
    assert cell.predictivity > 0.9
    assert set(cell.classes) == {"red", "green", "blue"}
    assert "cell_1_1" not in found(report)


def test_one_class_of_many() -> None:
    """Class 0 by the tag, which it alone has; the others by where the object is."""

    def scores(images: Tensor) -> Tensor:
        red = images[:, 0]
        places = [
            red[:, row : row + 2, 4 + 4 * half : 8 + 4 * half].mean(dim=(1, 2))
            for row in (5, 7, 9, 11)
            for half in (0, 1)
        ]
        return torch.stack([3 * red[:, :4, :4].mean(dim=(1, 2)), *places], dim=1)

    labels = torch.arange(450) % 9
    images = 0.1 * torch.randn(450, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for image, label in zip(images, labels.tolist(), strict=True):
        if label:
            row, half = 5 + 2 * ((label - 1) // 2), (label - 1) % 2
            image[0, row : row + 2, 4 + 4 * half : 8 + 4 * half] += 2
        else:
            image[0, :4, :4] += 2
    report = find_shortcuts(Reads(scores), Probe(images[:72], labels[:72]), data=loader(images, labels))
    corner = [finding for finding in report.findings if finding.cue == "cell_0_0"]
    assert [(one.label, one.is_one_class, one.may_warn) for one in corner] == [(0, True, True)], (
        report.table()
    )
    assert corner[0].classes == ("0",)


def test_the_model_is_left_as_it_was() -> None:
    model = Reads(reads_tag).train()
    before, state = model.features.weight.clone(), torch.get_rng_state()
    find_shortcuts(model, Probe(*planted("tag", 36)))
    assert model.training
    assert model.features.weight.grad is None
    assert torch.equal(model.features.weight, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("classes", [3, 1000])
def test_a_constant_answer_is_no_finding(classes: int) -> None:
    model = Reads(lambda images: images.mean(dim=(1, 2, 3))[:, None] * 0 + torch.arange(float(classes)))
    report = find_shortcuts(model, Probe(*planted("tag", 36)))
    assert not report.findings
    assert report.results
    assert report.hosts == (12 if classes == 3 else 0)


def test_a_thousand_classes() -> None:
    model = Reads(lambda images: nn.functional.pad(reads_tag(images), (0, 997), value=-9.0))
    assert "cell_0_0" in found(find_shortcuts(model, Probe(*planted("tag", 36))))


def test_two_classes_and_one_logit() -> None:
    images, labels = planted("tag", 60)
    two = labels < 2
    model = Reads(lambda images: reads_tag(images)[:, 1] - reads_tag(images)[:, 0])
    report = find_shortcuts(model, Probe(images[two], labels[two]))
    assert "cell_0_0" in found(report)
    assert all(finding.is_binary for finding in report.findings)


def test_scores_that_are_not_finite_are_no_finding() -> None:
    report = find_shortcuts(Reads(lambda images: reads_tag(images) * torch.nan), Probe(*planted("tag", 36)))
    assert not report.findings


# --- several labels


def two_each(count: int = 60) -> tuple[Tensor, Tensor]:
    """Images with two of three tags in the corner; labels (n, 3)."""
    images, labels = planted("tag", count)
    one_hot = nn.functional.one_hot
    return tag(images, (labels + 1) % 3), one_hot(labels, 3) | one_hot((labels + 1) % 3, 3)


def present(images: Tensor) -> Tensor:
    """Of each label whether it is there, as logits."""
    return reads_tag(images) - 1.5


@pytest.mark.parametrize("kind", [torch.int64, torch.float32, torch.bool, torch.uint8], ids=str)
def test_zeros_and_ones_are_several_labels(kind: torch.dtype) -> None:
    images, labels = two_each()
    report = find_shortcuts(Reads(present), images, cues=["cell", "colour"], labels=labels.to(kind))
    assert {(finding.cue, finding.label) for finding in report.findings} >= {
        ("cell_0_0", label) for label in range(3)
    }
    assert report.hosts == 60
    same = find_shortcuts(Reads(present), Probe(images, labels), ["cell", "colour"], task="multilabel")
    assert same.findings == report.findings


@pytest.mark.parametrize("frozen", [False, True])
def test_a_sigmoid_at_the_end_is_undone(frozen: bool) -> None:
    class Shares(Reads):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images).sigmoid()

    images, labels = two_each()
    reports = [
        find_shortcuts(model.requires_grad_(not frozen), images, cues=["cell"], labels=labels)
        for model in (Reads(present), Shares(present))
    ]
    assert reports[0].hosts == reports[1].hosts == 60
    assert [one.reliance for one in reports[0].results] == [one.reliance for one in reports[1].results]


def test_labels_that_nobody_knows_are_not_counted() -> None:
    images, labels = two_each()
    known = labels.float()
    known[::4, 0] = torch.nan
    report = find_shortcuts(Reads(present), images, cues=["cell_0_0"], labels=known)
    (first,) = [result for result in report.results if result.label == 0]
    assert first.subjects.labels[::4].tolist() == [-1] * 15
    pairs = first.swaps.pairs
    rows = torch.cat([pairs.hosts, pairs.own, pairs.other])
    assert len(rows) > 60
    assert not set(rows.tolist()) & set(range(0, 60, 4))
    assert first.told.images == 45


def test_signals_of_one_or_several_labels_are_no_pictures() -> None:
    class Loud(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Conv1d(3, 3, 1)

        def forward(self, signals: Tensor) -> Tensor:
            return self.features(signals).mean(dim=2)

    for labels in (two_each()[1], torch.arange(60) % 3):
        report = find_shortcuts(Loud(), torch.rand(60, 3, 32), labels=labels)
        assert "cues are made for images (n, c, H, W), not for signals or volumes" in report.notes
        assert not report.results


# --- data


def test_data_give_predictivity_and_masks() -> None:
    images, labels = planted("tag", DATA, seed=1)
    masks = torch.zeros(DATA, 32, 32, dtype=torch.bool)
    masks[:, 10:22, 10:22] = True
    batches = [(images[i : i + 60], labels[i : i + 60], masks[i : i + 60]) for i in range(0, DATA, 60)]
    probe = Probe(images[:48], labels[:48], masks[:48])
    report = find_shortcuts(Reads(reads_tag), probe, data=batches)
    assert report.predictivities["background"] > 0.9
    assert report.views[0].classes == 3
    assert {one.images for told in report.told for one in told.values()} == {DATA}
    assert (
        "background"
        not in find_shortcuts(
            Reads(reads_tag), Probe(images[:48], labels[:48]), data=loader(images, labels)
        ).predictivities
    )


def test_more_data_than_are_kept_and_images_without_numbers() -> None:
    images, labels = planted("tag", 60)
    broken = images.clone()
    broken[0, 0, 0, 0] = torch.nan
    batches = [(images, labels)] * 20 + [(broken, labels)]
    report = find_shortcuts(Reads(reads_tag), Probe(images, labels), "default", data=batches)
    assert {one.images for told in report.told for one in told.values()} == {1000}


def test_images_that_are_too_small_are_said() -> None:
    report = find_shortcuts(
        Reads(lambda images: images[:, :, :2, :2].mean(dim=(2, 3))), Probe(noise(36, 6), torch.arange(36) % 3)
    )
    assert any("shorter side is 6 pixels; this cue needs 8" in note for note in report.notes)
    assert not report.results


def test_too_few_images_of_a_class_are_said_and_the_remedy_works() -> None:
    images, labels = planted("tag", 3)
    report = find_shortcuts(Reads(reads_tag), Probe(images, labels))
    assert any("0 of 3 probe images have another image of their class" in note for note in report.notes)
    assert not report.findings
    enough = find_shortcuts(Reads(reads_tag), Probe(*planted("tag", 9)))
    assert not any("have another image of their class" in note for note in enough.notes)


@pytest.mark.parametrize("is_object", [False, True])
def test_empty_and_full_masks(is_object: bool) -> None:
    images, labels = planted("tag", 48)
    masks = torch.full((48, 32, 32), is_object)
    report = find_shortcuts(Reads(reads_tag), Probe(images, labels, masks))
    assert "cell_0_0" in found(report)
    assert ("background" in found(report)) <= (not is_object)  # where all is object there is no background


def test_whole_numbers_stay_whole() -> None:
    images, labels = planted("tag", 48)

    class Takes(Reads):
        def forward(self, images: Tensor) -> Tensor:
            assert images.dtype == torch.uint8
            return super().forward(images.float() / 40)

    whole = (40 * images + 100).clamp(0, 255).to(torch.uint8)
    assert "cell_0_0" in found(find_shortcuts(Takes(reads_tag), Probe(whole, labels)))


# --- what is refused, and what helps


def test_a_regression_is_refused_and_the_remedy_works() -> None:
    """The number is how bright the corner is."""
    model = Reads(lambda images: reads_tag(images)[:, 0] / 8)
    images, _ = planted("tag", 60)
    numbers = model(images).detach()
    words = r"'regression' has no shortcut tests.* labels=\(labels > limit\).long\(\), scores=.*task='binary'"
    for task in ("auto", "regression"):
        with pytest.raises(ValueError, match=words):
            find_shortcuts(model, images, labels=numbers, task=task)
    with pytest.raises(ValueError, match=words):
        find_shortcuts(model, images, labels=torch.arange(60) % 7)
    limit = 1.5
    report = find_shortcuts(
        model, images, labels=(numbers > limit).long(), scores=lambda output: output - limit, task="binary"
    )
    assert report.hosts == 60
    assert "cell_0_0" in found(report)


def test_bad_input_is_refused() -> None:
    images, labels = planted("tag", 36)
    model, several = Reads(reads_tag), two_each(36)[1]
    with pytest.raises(ValueError, match="labels: the probe has none"):
        find_shortcuts(model, Probe(images))
    with pytest.raises(ValueError, match="all 36 images are of class 0"):
        find_shortcuts(model, Probe(images, labels * 0))
    with pytest.raises(ValueError, match="not finite"):
        Probe(images * torch.nan, labels)
    with pytest.raises(ValueError, match=r"task: no task 'multilable'; did you mean 'multilabel'"):
        find_shortcuts(model, images, labels=labels, task="multilable")
    with pytest.raises(ValueError, match="labels: the probe has labels of its own"):
        find_shortcuts(model, Probe(images, labels), labels=labels)
    with pytest.raises(ValueError, match=r"task='multiclass', which needs .*give task='multilabel'"):
        find_shortcuts(model, images, labels=several, task="multiclass")
    with pytest.raises(ValueError, match=r"task='multilabel', which needs .*give task='multiclass'"):
        find_shortcuts(model, images, labels=labels, task="multilabel")
    with pytest.raises(ValueError, match="labels: got 2 per image for a network with 3 scores"):
        find_shortcuts(model, images, labels=several[:, :2])
    with pytest.raises(ValueError, match="of 3 labels none is there in one image and missing in another"):
        find_shortcuts(model, images, labels=several * 0)
    with pytest.raises(ValueError, match="did you mean 'border_8'"):
        find_shortcuts(model, Probe(images, labels), cues=["bordr_8"])


@pytest.mark.usefixtures("unchecked")
def test_data_that_do_not_fit_are_refused_and_the_remedy_works() -> None:
    images, labels = planted("tag", 36)
    model, probe = Reads(reads_tag), Probe(images, labels)
    for batch in (images, {"image": images}, (images,), (images, labels, labels, labels)):
        with pytest.raises(TypeError, match=r"data: got a batch of .*; give batches \(images, labels\)"):
            find_shortcuts(model, probe, data=[batch])
    with pytest.raises(ValueError, match="data: it gave no image whose values are finite"):
        find_shortcuts(model, probe, data=[(images * torch.nan, labels)])
    with pytest.raises(ValueError, match="data: it gave no image"):
        find_shortcuts(model, probe, data=[])
    with pytest.raises(ValueError, match=r"data: got labels \(35,\) for 36 images"):
        find_shortcuts(model, probe, data=[(images, labels[:35])])
    with pytest.raises(ValueError, match=r"data: got masks \(36, 8, 8\)"):
        find_shortcuts(model, probe, data=[(images, labels, torch.zeros(36, 8, 8, dtype=torch.bool))])
    with pytest.raises(ValueError, match=r"data: got labels \(36, 3\)"):
        find_shortcuts(model, probe, data=[(images, nn.functional.one_hot(labels))])
    assert "cell_0_0" in found(find_shortcuts(model, probe, data=[(images, labels)]))
    assert "cell_0_0" in found(find_shortcuts(model, probe, data=[[images, labels]]))
