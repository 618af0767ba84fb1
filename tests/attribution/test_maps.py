"""From a raw CAM to a saliency map, and the reasons why a map is blank."""

import math

import pytest
import torch
from reference import equations as book
from torch import Tensor
from torch.testing import assert_close

from lightning_cam.attribution.maps import (
    BLANK_REASONS,
    blank_reason,
    normalize,
    part_strengths,
    saliency,
    upsample,
)

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}
SIZES = [
    ((5, 4), (13, 9)),
    ((7, 7), (56, 49)),
    ((3, 6), (12, 12)),
    ((1, 1), (7, 5)),
    ((1, 5), (4, 11)),
    ((3, 3), (3, 3)),
    ((8, 6), (3, 5)),
]


def signed_maps(count: int, size: tuple[int, int], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(
        dtype
    )


def each(twin, maps: Tensor, *args) -> Tensor:
    return torch.stack([torch.from_numpy(twin(one, *args)) for one in maps.double().numpy()])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("small", "large"), SIZES, ids=str)
def test_upsample_equals_the_book(small, large, dtype):
    cams = signed_maps(2, small, dtype)
    found = upsample(cams, large)
    assert found.dtype == dtype
    assert_close(found.double(), each(book.upsample, cams, large), rtol=0.0, atol=4 * TOLERANCE[dtype])


def test_upsample_keeps_a_constant_and_the_range():
    assert_close(upsample(torch.full((1, 5, 4), -0.25), (17, 23)), torch.full((1, 17, 23), -0.25))
    cams = signed_maps(3, (5, 4))
    found = upsample(cams, (17, 23))
    assert (found.amax(dim=(1, 2)) <= cams.amax(dim=(1, 2))).all()
    assert (found.amin(dim=(1, 2)) >= cams.amin(dim=(1, 2))).all()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_normalize_equals_the_book(dtype):
    maps = signed_maps(8, (6, 5), dtype)
    maps[1] = -maps[1].abs()
    maps[2] = 0
    maps[3, 2, 2], maps[4, 0, 0], maps[5, 5, 4] = math.nan, math.inf, -math.inf
    maps[6] *= 1e-30
    maps[7] *= 1e30
    found = normalize(maps)
    assert found.dtype == dtype
    assert_close(found.double(), each(book.normalize, maps), rtol=0.0, atol=TOLERANCE[dtype])
    assert_close(
        found.amax(dim=(1, 2)), torch.tensor([1, 0, 0, 0, 0, 0, 1, 1], dtype=dtype), rtol=0.0, atol=0.0
    )


def test_normalize_does_not_subtract_the_minimum():
    maps = torch.tensor([[[2.0, 4.0], [3.0, 1.0]], [[-1.0, 0.0], [2.0, 1.0]]])
    expected = torch.tensor([[[0.5, 1.0], [0.75, 0.25]], [[0.0, 0.0], [1.0, 0.5]]])
    assert_close(normalize(maps), expected)


def test_normalize_leaves_its_input_alone():
    maps = signed_maps(2, (4, 4))
    maps[0, 0, 0] = math.nan
    before = maps.clone()
    normalize(maps)
    assert_close(maps, before, rtol=0.0, atol=0.0, equal_nan=True)


@pytest.mark.parametrize(
    "step", [normalize, lambda maps: saliency(maps, (8, 8))], ids=["normalize", "saliency"]
)
def test_no_images_give_no_maps(step):
    assert step(torch.zeros(0, 8, 8)).shape == (0, 8, 8)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("small", "large"), SIZES, ids=str)
def test_saliency_equals_the_book(small, large, dtype):
    cams = signed_maps(3, small, dtype)
    cams[1, 0, 0] = math.nan
    cams[2] = cams[2].abs()
    expected = torch.stack(
        [torch.from_numpy(book.normalize(book.upsample(one, large))) for one in cams.double().numpy()]
    )
    assert_close(saliency(cams, large).double(), expected, rtol=0.0, atol=4 * TOLERANCE[dtype])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_broken_map_is_zero_and_spoils_no_other(value):
    cams = signed_maps(3, (4, 4))
    broken = cams.clone()
    broken[1, 3, 0] = value
    found, expected = saliency(broken, (16, 12)), saliency(cams, (16, 12))
    assert_close(found[1], torch.zeros(16, 12, dtype=torch.float64), rtol=0.0, atol=0.0)
    assert_close(found[[0, 2]], expected[[0, 2]], rtol=0.0, atol=0.0)


# --- Why a map is blank


SHOWS, NOT_FINITE, NO_ACTIVATION, NO_GRADIENT, NOTHING_FOR, NOWHERE_POSITIVE = range(6)


def test_blank_reasons_in_words():
    assert BLANK_REASONS == (
        "",
        "the map is not finite",
        "no activation at the layer",
        "the gradient is zero",
        "no evidence for the class",
        "the map is nowhere positive",
    )


@pytest.mark.parametrize(
    ("peak", "activation", "gradient", "reason"),
    [
        (1.0, 1.0, 1.0, SHOWS),
        (1e-30, -1.0, -1.0, SHOWS),
        (math.nan, 1.0, 1.0, NOT_FINITE),
        (math.inf, 1.0, 1.0, NOT_FINITE),
        (-math.inf, 1.0, 1.0, NOT_FINITE),
        (math.nan, 0.0, 0.0, NOT_FINITE),
        (0.0, 0.0, 1.0, NO_ACTIVATION),
        (0.0, 0.0, 0.0, NO_ACTIVATION),
        (0.0, 1.0, 0.0, NO_GRADIENT),
        (0.0, 1.0, 1.0, NOTHING_FOR),
        (0.0, -1.0, -1.0, NOTHING_FOR),
        (-1.0, 1.0, 1.0, NOTHING_FOR),
    ],
)
def test_blank_reason(peak, activation, gradient, reason):
    cams, activations, gradients = (
        torch.full((2, 3, 3), -2.0),
        torch.zeros(2, 4, 3, 3),
        torch.zeros(2, 4, 3, 3),
    )
    cams[:, 1, 1], activations[:, 2, 0, 1], gradients[:, 3, 2, 2] = peak, activation, gradient
    if peak == 0:
        cams = cams.clamp(min=0)
    # The second image shows something: the first one's reason is its own.
    cams[1], activations[1], gradients[1] = 1.0, 1.0, 1.0
    assert blank_reason(cams, activations, gradients).tolist() == [reason, SHOWS]


def test_blank_reason_of_a_method_that_asked_for_no_gradients():
    cams, activations = torch.zeros(2, 3, 3), torch.ones(2, 4, 3, 3)
    activations[1] = 0
    assert blank_reason(cams, activations).tolist() == [NOWHERE_POSITIVE, NO_ACTIVATION]


@pytest.mark.parametrize("size", [(6, 6), (12, 12), (13, 9)], ids=str)
def test_a_map_has_a_reason_where_its_saliency_is_blank_and_nowhere_else(size):
    cams = signed_maps(6, (6, 6))
    cams[1] = 0
    cams[2] = -cams[2].abs()
    cams[3, 2, 2] = math.nan
    # A weak peak among strong negative values: interpolation may swallow it.
    cams[4] = -1
    cams[4, 2, 3] = 0.01
    activations = torch.ones(6, 4, 6, 6, dtype=torch.float64)
    shows = saliency(cams, size).amax(dim=(1, 2)) > 0
    assert (blank_reason(upsample(cams, size), activations, activations) == SHOWS).tolist() == shows.tolist()


# --- Parts


@pytest.mark.parametrize("grid", [(9,), (5, 4), (3, 4, 2)], ids=str)
def test_parts_are_scaled_over_all_images(grid):
    parts = torch.rand(4, 3, *grid, generator=torch.Generator().manual_seed(1)) * torch.tensor(
        [1e-6, 1.0, 1e6]
    ).reshape(3, *[1] * len(grid))
    found = part_strengths(parts)
    assert_close(found.transpose(0, 1).flatten(1).amax(dim=1), torch.ones(3))
    for part in range(3):
        assert_close(found[:, part], parts[:, part] / parts[:, part].max())


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_a_part_that_is_nowhere_or_not_finite_shows_nothing(value):
    parts = torch.rand(4, 2, 5, 4, generator=torch.Generator().manual_seed(2))
    parts[:, 1] = 0
    parts[2, 1, 0, 0] = value
    found = part_strengths(parts)
    assert_close(found[:, 1], torch.zeros(4, 5, 4))
    assert_close(found[:, 0].amax(), torch.tensor(1.0))
