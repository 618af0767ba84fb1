"""Every row of CUES and FEATURES: equal to its plain twin, blind to units, one pair at a time; and the means of classes."""

from dataclasses import fields, replace

import cues_by_the_book as book
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_cam.shortcuts.class_means import ClassMeans, weighted
from lightning_cam.shortcuts.cues import CUES, Pair
from lightning_cam.shortcuts.features import FEATURES, dilated

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
SIZES = ((16, 16), (18, 11))  # of 16 x 12, rounding decides which ring some frequencies belong to
OF_THE_MEAN_IMAGE = [name for name in CUES if CUES[name].feature == "image"]


def random(*size: int, seed: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mean_of(name: str, images: Tensor) -> Tensor | None:
    return FEATURES[CUES[name].feature](images) if CUES[name].feature else None


def pairs(
    name: str, size: tuple[int, int] = SIZES[1], dtype: torch.dtype = torch.float64, scale=1.0, shift=0.0
) -> Pair:
    """Two hosts and two donors; one class mean each, of an image that is neither; masks and maps that differ."""
    hosts, donors, host_class, donor_class = (
        (random(2, 3, *size, seed=seed) * scale + shift).to(dtype) for seed in range(4)
    )
    masks = [random(2, *size, seed=seed) > 0.8 for seed in (4, 5)]
    maps = [random(2, *size, seed=seed).sigmoid().to(dtype) for seed in (6, 7)]
    return Pair(hosts, donors, mean_of(name, host_class), mean_of(name, donor_class), *masks, *maps)


def rows(pair: Pair) -> list[tuple[Tensor | None, ...]]:
    tensors = [getattr(pair, field.name) for field in fields(pair)]
    return [
        tuple(None if tensor is None else tensor[row] for tensor in tensors) for row in range(len(pair.hosts))
    ]


def twin(name: str, pair: Pair) -> Tensor:
    arrays = [
        [None if one is None else (one if one.dtype == torch.bool else one.double()).numpy() for one in row]
        for row in rows(pair)
    ]
    return torch.from_numpy(book.cue(name, [book.Pair(*row) for row in arrays]))


# --- Cues -------------------------------------------------------------------------------------------------------------------------


def test_every_cue_and_feature_has_a_twin():
    assert set(CUES) == set(book.CUES), "write the cue a second time in tests/cues_by_the_book.py, CUES"
    assert set(FEATURES) == set(book.FEATURES), (
        "write the feature a second time in tests/cues_by_the_book.py, FEATURES"
    )


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", CUES)
def test_equals_the_book(name, size, dtype):
    pair = pairs(name, size, dtype)
    found = CUES[name](pair)
    assert found.dtype == dtype
    assert not torch.equal(found, pair.hosts) or (name == "border_16" and min(size) < CUES[name].smallest)
    assert_close(found.double(), twin(name, pair), rtol=0.0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("size", [*SIZES, (9, 130)], ids=str)
@pytest.mark.parametrize("name", FEATURES)
def test_features_equal_the_book(name, size):
    images = random(2, 3, *size, seed=0)
    expected = torch.stack([torch.from_numpy(book.FEATURES[name](one)) for one in images.numpy()])
    assert_close(FEATURES[name](images), expected, rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("name", OF_THE_MEAN_IMAGE)
def test_coarser_mean_images_are_enlarged(name):
    means = random(2, 2, 3, 8, 5, seed=8)
    pair = replace(pairs(name), host_mean=means[0], donor_mean=means[1])
    assert_close(CUES[name](pair), twin(name, pair), rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("name", OF_THE_MEAN_IMAGE)
def test_unknown_means_and_no_masks(name):
    pair = replace(pairs(name), host_masks=None)
    pair.host_mean[:, :, 3:9, 2:7] = torch.nan
    assert_close(CUES[name](pair), twin(name, pair), rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("name", CUES)
def test_commutes_with_a_positive_scale_and_a_shift_per_channel(name):
    scale, shift = torch.tensor([[0.3, 1.0, 40.0], [7.0, -2.0, 0.5]], dtype=torch.float64)[:, :, None, None]
    found = CUES[name](pairs(name, scale=scale, shift=shift))
    assert_close(found, CUES[name](pairs(name)) * scale + shift, rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("name", CUES)
def test_pairs_are_independent(name):
    pair = pairs(name)
    alone = [CUES[name](Pair(*(None if one is None else one[None] for one in row))) for row in rows(pair)]
    assert_close(torch.cat(alone), CUES[name](pair), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("name", CUES)
def test_the_host_itself_changes_nothing(name):
    pair = pairs(name)
    same = Pair(
        pair.hosts, pair.hosts, *[pair.host_mean] * 2, *[pair.host_masks] * 2, *[pair.host_saliency] * 2
    )
    assert_close(CUES[name](same), pair.hosts, rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("name", CUES)
def test_leaves_its_inputs_as_they_are(name):
    pair = pairs(name)
    CUES[name](pair)
    assert_close(rows(pair), rows(pairs(name)), rtol=0.0, atol=0.0)


@pytest.mark.parametrize("name", ["mean_image", *(name for name in CUES if name.startswith("cell"))])
def test_patterns_stay_off_the_object(name):
    pair = pairs(name)
    unchanged = (CUES[name](pair) == pair.hosts).all(dim=1)
    assert unchanged[pair.host_masks].all()
    assert not unchanged.all()


def test_background_keeps_the_host_under_both_objects():
    pair = pairs("background")
    found = CUES["background"](pair).movedim(1, -1)
    objects = pair.host_masks | pair.donor_masks
    assert torch.equal(found[objects], pair.hosts.movedim(1, -1)[objects])
    assert torch.equal(found[~objects], pair.donors.movedim(1, -1)[~objects])


def test_cells_make_up_the_mean_image():
    pair = pairs("mean_image")
    added = [CUES[name](pair) - pair.hosts for name in CUES if name.startswith("cell")]
    assert_close(pair.hosts + torch.stack(added).sum(dim=0), CUES["mean_image"](pair), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("name", ["mean_image", "mean_tone", "attended", "background"])
def test_says_what_is_missing(name):
    pair = pairs(name)
    with pytest.raises(ValueError, match="needs"):
        CUES[name](Pair(pair.hosts, pair.donors))


def test_a_mask_grows_to_a_square():
    mask = torch.zeros(1, 32, 40, dtype=torch.bool)
    mask[0, 10, 20] = True
    expected = torch.zeros_like(mask)
    expected[0, 8:13, 18:23] = True
    assert torch.equal(dilated(mask), expected)


# --- Means of classes -------------------------------------------------------------------------------------------------------------

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
