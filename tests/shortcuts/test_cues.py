"""Every row of CUES: equal to its plain twin, blind to units, one pair at a time."""

from dataclasses import fields, replace

import pytest
import torch
from reference import cues as book
from support.pairs import SIZES, random
from torch import Tensor
from torch.testing import assert_close

from lightning_cam.shortcuts.cues import CUES, Pair
from lightning_cam.shortcuts.features import FEATURES

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
OF_THE_MEAN_IMAGE = [name for name in CUES if CUES[name].feature == "image"]


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


def test_every_cue_and_feature_has_a_twin():
    assert set(CUES) == set(book.CUES), "write the cue a second time in tests/reference/cues.py, CUES"
    assert set(FEATURES) == set(book.FEATURES), (
        "write the feature a second time in tests/reference/cues.py, FEATURES"
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
