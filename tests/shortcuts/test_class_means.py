"""The means of classes: plain means, added up over batches, without those left out."""

import pytest
import torch
from support.pairs import SIZES, random
from torch import Tensor
from torch.testing import assert_close

from lightning_cam.distributed import Ranks
from lightning_cam.shortcuts.class_means import ClassMeans, weighted
from lightning_cam.shortcuts.features import FEATURES, dilated

LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 1, 0, 1, 0])


def batch() -> tuple[Tensor, Tensor]:
    """Ten images, and masks that hide the upper left of each."""
    masks = torch.zeros(10, *SIZES[1], dtype=torch.bool)
    masks[:, :4, :4] = random(10, 4, 4, seed=10) > 0
    return random(10, 3, *SIZES[1], seed=9), masks


def means(parts: list[slice], masked: bool = False) -> ClassMeans:
    images, masks = batch()
    found = ClassMeans(list(FEATURES))
    for part in parts:
        found.add(images[part], LABELS[part], masks[part] if masked else None, (0, 1))
    return found


@pytest.mark.parametrize("feature", FEATURES)
def test_means_are_plain_means(feature):
    images, _ = batch()
    expected = [FEATURES[feature](images[label == LABELS]).mean(dim=0) for label in (1, 0, 1)]
    assert_close(
        means([slice(10)]).of(feature, torch.tensor([1, 0, 1])), torch.stack(expected), rtol=0.0, atol=1e-9
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("feature", FEATURES)
def test_two_batches_equal_one(feature, masked):
    labels = torch.tensor([0, 1])
    found = means([slice(4), slice(4, 10)], masked).of(feature, labels)
    assert_close(found, means([slice(10)], masked).of(feature, labels), rtol=0.0, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("feature", FEATURES)
def test_left_out_equals_never_added(feature, masked):
    images, masks = batch()
    left_out = torch.tensor([2, 4])
    without = weighted(feature, images[left_out], masks[left_out] if masked else None)
    found = means([slice(10)], masked).of(feature, LABELS[left_out], without)
    never = [
        means([slice(i), slice(i + 1, 10)], masked).of(feature, LABELS[i : i + 1]) for i in left_out.tolist()
    ]
    assert_close(found, torch.cat(never), rtol=0.0, atol=1e-9, equal_nan=True)


def test_of_each_class_the_first_images_alone():
    images, _ = batch()
    found = ClassMeans(["image"])
    for part in (slice(3), slice(3, 10)):
        found.add(images[part], LABELS[part], None, (0, 1), most=3)
    assert found.counts == {0: 3, 1: 3}
    expected = torch.stack([images[label == LABELS][:3].mean(dim=0) for label in (0, 1)])
    assert_close(found.of("image", torch.tensor([0, 1])), expected, rtol=0.0, atol=1e-9)


def test_masked_pixels_weigh_nothing():
    images, masks = batch()
    grown = dilated(masks)[:, None].expand_as(images)
    seen = torch.where(grown, torch.nan, images)
    expected = torch.stack([seen[label == LABELS].nanmean(dim=0) for label in (0, 1)])
    found = means([slice(10)], masked=True).of("image", torch.tensor([0, 1]))
    assert expected.isnan().any()
    assert_close(found, expected, rtol=0.0, atol=1e-9, equal_nan=True)


def test_known_are_classes_of_four_images_without_those_left_out():
    found = means([slice(10)])  # five of class 0, four of class 1; class 2 was not asked for
    assert [found.known(left_out) for left_out in (0, 1, 2)] == [[0, 1], [0], []]


def test_images_of_other_sizes_are_counted_and_left_out():
    images, _ = batch()
    found = ClassMeans(["image"])
    found.add(images[:5], LABELS[:5], None, (0, 1))
    found.add(images[:3, :, 1:], LABELS[:3], None, (0, 1))
    found.add(images[5:], LABELS[5:], None, (0, 1))
    assert (found.skipped, found.shape) == (3, tuple(images.shape[1:]))
    expected = means([slice(10)]).of("image", torch.tensor([0, 1]))
    assert_close(found.of("image", torch.tensor([0, 1])), expected, rtol=0.0, atol=1e-9)


def test_averages_of_another_size_than_the_probe_count_for_nothing():
    images, _ = batch()
    found = ClassMeans(["image"])
    found.add(images, LABELS, None, (0, 1))
    assert found.over(Ranks(), (0, 1), images[:1], None).counts == {0: 5, 1: 4}
    other = found.over(Ranks(), (0, 1), images[:1, :, 1:], None)
    assert (other.counts, other.sums) == ({}, {})
