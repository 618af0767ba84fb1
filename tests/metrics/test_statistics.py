"""Every row of STATISTICS: equal to its plain twin, inside its range, and known where the answer is known."""

import math

import pytest
import torch
from reference import equations as book
from torch import Tensor
from torch.testing import assert_close

from lightning_cam.metrics.statistics import (
    STATISTICS,
    MapContext,
    border_mass,
    corner_mass,
    jensen_shannon,
    measure,
    pointing_game,
)

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}
SIZES = ((8, 8), (9, 7), (5, 14), (1, 6), (2, 2), (17,), (2,), (4, 5, 3), (1, 6, 2), (5, 5, 5))

OF_THE_RAW_MAP = {"raw_peak": "a value, no share: a blank map has the peak zero"}
# Pixel (0, 4) and pixel (5, 9) of 12 x 20, mass on that pixel alone; the mask holds the second one only.
ONE_PIXEL = {
    "border_mass": (1.0, 0.0),
    "corner_mass": (1.0, 0.0),
    "entropy": (0.0, 0.0),
    "gini": (239 / 240, 239 / 240),
    "center_x": (4.5 / 20, 9.5 / 20),
    "center_y": (0.5 / 12, 5.5 / 12),
    "effective_area": (1 / 240, 1 / 240),
    "mass_inside": (0.0, 1.0),
    "pointing_game": (0.0, 1.0),
    "raw_peak": (3.0, 3.0),
    "drift_last": (1.0, 1.0),
    "drift_first": (0.0, 0.0),
}
# Uniform on 12 x 20: the border is 1 row and 2 columns thick, a corner 3 x 5; the mask holds 48 pixels, not the first one.
UNIFORM = {
    "border_mass": 1 - 10 * 16 / 240,
    "corner_mass": 4 * 3 * 5 / 240,
    "entropy": 1.0,
    "gini": 0.0,
    "center_x": 0.5,
    "center_y": 0.5,
    "effective_area": 1.0,
    "mass_inside": 48 / 240,
    "pointing_game": 0.0,
    "raw_peak": 0.7,
    "drift_last": 0.0,
    "drift_first": 0.0,
}


def several(size: tuple[int, ...], dtype: torch.dtype) -> MapContext:
    """Half-empty, tied and dense maps, one blank, one with an empty mask; raw maps of both signs, one nowhere positive."""
    generator = torch.Generator().manual_seed(0)
    saliency = torch.rand(6, *size, generator=generator, dtype=torch.float64)
    saliency[0] *= saliency[0] > 0.5
    saliency[1] = (saliency[1] * 4).round() / 4
    saliency[2] = saliency[2] ** 8
    saliency[3] = 0
    masks = torch.rand(6, *size, generator=generator) > 0.4
    masks[4] = False
    cams, last, first = torch.randn(3, 6, *(5, 4, 3)[: len(size)], generator=generator, dtype=torch.float64)
    cams[4] = -cams[4].abs()
    last[0] = torch.nan
    first[1] = 0
    first[2].flatten()[0] = torch.nan
    return MapContext(saliency.to(dtype), cams.to(dtype), masks, last.to(dtype), first.to(dtype))


def twin(name: str, maps: MapContext) -> Tensor:
    if name not in book.STATISTICS:
        pytest.fail(
            f"statistic {name!r} has no twin; write its equation a second time in tests/reference/equations.py, STATISTICS"
        )
    arrays = [tensor.double().numpy() for tensor in (maps.saliency, maps.cams)]
    arrays += [maps.masks.numpy(), *(tensor.double().numpy() for tensor in (maps.last, maps.first))]
    return torch.from_numpy(book.statistic(name, [book.Maps(*one) for one in zip(*arrays, strict=True)]))


def known(table: dict, name: str):
    if name not in table:
        pytest.fail(
            f"statistic {name!r} has no known value for this map; add it to the tables at the top of this file"
        )
    return table[name]


def at(pixels: list[tuple[int, int]], dtype: torch.dtype = torch.float64) -> Tensor:
    """One map of 12 x 20 per pixel, zero everywhere else."""
    maps = torch.zeros(len(pixels), 12, 20, dtype=dtype)
    for one, (row, column) in zip(maps, pixels, strict=True):
        one[row, column] = 1
    return maps


# --- Twins


def test_every_statistic_has_a_twin():
    missing = set(STATISTICS) - set(book.STATISTICS)
    assert not missing, (
        f"no twin for {sorted(missing)}: write the equation a second time in tests/reference/equations.py, STATISTICS"
    )
    left_over = set(book.STATISTICS) - set(STATISTICS)
    assert not left_over, (
        f"tests/reference/equations.py has twins of statistics that are gone: {sorted(left_over)}"
    )


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", STATISTICS)
def test_equals_the_book(name, size, dtype):
    maps = several(size, dtype)
    expected = twin(name, maps)
    assert expected.isfinite().any() == (len(size) >= STATISTICS[name].dimensions)
    found = STATISTICS[name](maps)
    assert found.dtype == dtype
    assert_close(found.double(), expected, rtol=TOLERANCE[dtype], atol=0.0, equal_nan=True)


@pytest.mark.parametrize("width", [0.01, 0.1, 0.2, 0.25, 0.3, 0.49])
@pytest.mark.parametrize("size", [(8, 8), (11, 7), (3, 17), (1, 5), (13,), (1,), (3, 7, 5)], ids=str)
@pytest.mark.parametrize("statistic", [border_mass, corner_mass], ids=lambda statistic: statistic.__name__)
def test_any_width_equals_the_book(statistic, size, width):
    saliency = torch.rand(3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = [getattr(book, statistic.__name__)(one, width) for one in saliency.numpy()]
    assert_close(statistic(saliency, width), torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=0.0)


# --- Known values


@pytest.mark.parametrize("name", STATISTICS)
def test_one_pixel(name):
    saliency = at([(0, 4), (5, 9)])
    cams = 3 * saliency
    context = MapContext(saliency, cams, at([(5, 9), (5, 9)]).bool(), last=cams.flip(0), first=cams / 7)
    expected = torch.tensor(known(ONE_PIXEL, name), dtype=torch.float64)
    assert_close(STATISTICS[name](context), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", STATISTICS)
def test_uniform(name):
    masks = torch.zeros(1, 12, 20, dtype=torch.bool)
    masks[:, 4:8, 3:15] = True
    cams = torch.full((1, 6, 5), 0.7, dtype=torch.float64)
    context = MapContext(
        torch.ones(1, 12, 20, dtype=torch.float64), cams, masks, last=cams * 5, first=cams / 7
    )
    expected = torch.tensor([known(UNIFORM, name)], dtype=torch.float64)
    assert_close(STATISTICS[name](context), expected, rtol=1e-12, atol=1e-12)


# One pixel of 20, and of 4 x 12 x 20: in the corner, inside. Of a signal there is no height.
ONE_OF_A_SIGNAL = {
    **ONE_PIXEL,
    "gini": (19 / 20, 19 / 20),
    "center_y": (math.nan, math.nan),
    "effective_area": (1 / 20, 1 / 20),
}
ONE_OF_A_VOLUME = {**ONE_PIXEL, "gini": (959 / 960, 959 / 960), "effective_area": (1 / 960, 1 / 960)}


@pytest.mark.parametrize("name", STATISTICS)
def test_one_pixel_of_a_signal(name):
    saliency = torch.zeros(2, 20, dtype=torch.float64)
    saliency[0, 4] = saliency[1, 9] = 1
    ends = {
        "border_mass": (0.0, 0.0),
        "corner_mass": (1.0, 0.0),
    }  # the border is two samples thick, a corner five
    masks = torch.zeros(2, 20, dtype=torch.bool)
    masks[:, 9] = True
    context = MapContext(saliency, 3 * saliency, masks, last=saliency.flip(0), first=saliency)
    expected = torch.tensor(known({**ONE_OF_A_SIGNAL, **ends}, name), dtype=torch.float64)
    assert_close(STATISTICS[name](context), expected, rtol=1e-12, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("name", STATISTICS)
def test_one_pixel_of_a_volume(name):
    saliency = torch.zeros(2, 4, 12, 20, dtype=torch.float64)
    saliency[0, 3, 0, 4] = saliency[1, 1, 5, 9] = 1
    masks = torch.zeros(2, 4, 12, 20, dtype=torch.bool)
    masks[:, 1, 5, 9] = True
    context = MapContext(saliency, 3 * saliency, masks, last=saliency.flip(0), first=saliency)
    expected = torch.tensor(known(ONE_OF_A_VOLUME, name), dtype=torch.float64)
    assert_close(STATISTICS[name](context), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(40,), (10, 20), (10, 20, 30)], ids=str)
def test_shares_of_a_uniform_map(size):
    saliency = torch.ones(1, *size, dtype=torch.float64)
    inside = math.prod((side - 2 * (side // 10)) / side for side in size)
    corners = math.prod(2 * round(side / 4) / side for side in size)
    assert_close(border_mass(saliency), torch.tensor([1 - inside], dtype=torch.float64))
    assert_close(corner_mass(saliency), torch.tensor([corners], dtype=torch.float64))


def test_effective_area_of_a_constant_part_is_that_part():
    saliency = torch.zeros(1, 12, 20, dtype=torch.float64)
    saliency[:, 2:5, 7:11] = 0.3
    maps = MapContext(saliency, saliency)
    assert_close(STATISTICS["effective_area"](maps), torch.tensor([12 / 240], dtype=torch.float64))


def test_pointing_game_takes_the_first_of_equal_peaks():
    saliency = at([(2, 2)]) + at([(6, 1)])
    assert_close(pointing_game(saliency, at([(2, 2)]).bool()), torch.ones(1, dtype=torch.float64))
    assert_close(pointing_game(saliency, at([(6, 1)]).bool()), torch.zeros(1, dtype=torch.float64))


# --- Ranges


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("size", [(2, 2), (3, 5), (31, 33), (224, 224), (1000,), (16, 15, 17)], ids=str)
@pytest.mark.parametrize("name", STATISTICS)
def test_stays_in_the_range_of_its_row(name, size, dtype):
    row = STATISTICS[name]
    ones = torch.ones(*size, dtype=torch.float64)
    noise = torch.rand(*size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    pixel = torch.zeros_like(ones)
    pixel[(-1,) * len(size)] = 1
    levels = [ones * level for level in (1.0, 0.7, 1 / 3, 0.1, 1e-6)]
    saliency = torch.stack([*levels, pixel, noise, noise**9, noise.round()]).to(dtype)
    masks = (noise > 0.5).expand_as(saliency)
    found = row(MapContext(saliency, saliency, masks, last=saliency.flip(0), first=saliency * 0.3))
    if len(size) < row.dimensions:
        assert found.isnan().all()
        return
    assert found.isfinite().all()
    assert (found >= row.low).all(), f"{name}: {found.min().item()!r} is below {row.low}"
    assert (found <= row.high).all(), f"{name}: {found.max().item()!r} is above {row.high}"


# --- What a statistic must not depend on


@pytest.mark.parametrize("size", [(9, 7), (21,), (4, 3, 5)], ids=str)
@pytest.mark.parametrize("name", STATISTICS)
def test_images_are_measured_independently(name, size):
    maps = several(size, torch.float64)
    alone = [
        STATISTICS[name](
            MapContext(maps.saliency[i:j], maps.cams[i:j], maps.masks[i:j], maps.last[i:j], maps.first[i:j])
        )
        for i, j in zip(range(6), range(1, 7), strict=True)
    ]
    assert_close(STATISTICS[name](maps), torch.cat(alone), rtol=1e-12, atol=0.0, equal_nan=True)


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize(("dim", "moved"), [(2, "center_x"), (1, "center_y")], ids=["left_right", "up_down"])
def test_a_flip_moves_the_center_and_nothing_else(name, dim, moved):
    maps = several((9, 7), torch.float64)
    # Of equal peaks the flip makes another one the first.
    maps.saliency[1] += torch.arange(63, dtype=torch.float64).reshape(9, 7) / 1e6
    flipped = MapContext(
        *(tensor.flip(dim) for tensor in (maps.saliency, maps.cams, maps.masks, maps.last, maps.first))
    )
    before, after = STATISTICS[name](maps), STATISTICS[name](flipped)
    assert_close(after, 1 - before if name == moved else before, rtol=1e-9, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize(
    ("dim", "moved"), [(3, "center_x"), (2, "center_y"), (1, None)], ids=["left_right", "up_down", "depth"]
)
@pytest.mark.parametrize("name", STATISTICS)
def test_a_flip_of_a_volume_moves_the_center_and_nothing_else(name, dim, moved):
    maps = several((4, 3, 5), torch.float64)
    maps.saliency[1] += torch.arange(60, dtype=torch.float64).reshape(4, 3, 5) / 1e6
    flipped = MapContext(
        *(tensor.flip(dim) for tensor in (maps.saliency, maps.cams, maps.masks, maps.last, maps.first))
    )
    before, after = STATISTICS[name](maps), STATISTICS[name](flipped)
    assert_close(after, 1 - before if name == moved else before, rtol=1e-9, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e12])
@pytest.mark.parametrize("name", STATISTICS)
def test_only_the_raw_peak_knows_the_scale(name, scale):
    maps = several((9, 7), torch.float64)
    scaled = MapContext(maps.saliency * scale, maps.cams * scale, maps.masks, maps.last / scale, maps.first)
    factor = scale if name in OF_THE_RAW_MAP else 1.0
    assert_close(
        STATISTICS[name](scaled), factor * STATISTICS[name](maps), rtol=1e-9, atol=0.0, equal_nan=True
    )


# --- Nothing to measure


@pytest.mark.parametrize("name", STATISTICS)
def test_a_blank_map_has_no_shares(name):
    zero = torch.zeros(2, 6, 5)
    context = MapContext(zero, zero, torch.ones(2, 6, 5, dtype=torch.bool), last=zero + 1, first=zero)
    expected = torch.zeros(2) if name in OF_THE_RAW_MAP else torch.full((2,), torch.nan)
    assert_close(STATISTICS[name](context), expected, equal_nan=True)


@pytest.mark.parametrize("name", ["mass_inside", "pointing_game"])
def test_an_empty_mask_has_no_inside(name):
    masks = torch.ones(2, 6, 5, dtype=torch.bool)
    masks[1] = False
    found = STATISTICS[name](MapContext(torch.rand(2, 6, 5), torch.rand(2, 3, 3), masks))
    assert_close(found, torch.tensor([1.0, torch.nan]), equal_nan=True)


@pytest.mark.parametrize("name", ["mass_inside", "pointing_game"])
def test_without_masks_nobody_knows(name):
    found = STATISTICS[name](MapContext(torch.rand(2, 6, 5), torch.rand(2, 3, 3)))
    assert_close(found, torch.full((2,), torch.nan), equal_nan=True)


def test_measure_leaves_out_what_needs_masks():
    maps = several((9, 7), torch.float64)
    everything = measure(maps)
    assert list(everything) == list(STATISTICS)
    for name, values in everything.items():
        assert_close(values, STATISTICS[name](maps), equal_nan=True)
    without = measure(MapContext(maps.saliency, maps.cams, None, maps.last, maps.first))
    assert set(STATISTICS) - set(without) == {"mass_inside", "pointing_game"}


def test_measure_of_signals_leaves_out_the_height():
    maps = several((17,), torch.float64)
    found = measure(maps)
    assert set(STATISTICS) - set(found) == {"center_y"}
    for name, values in found.items():
        assert_close(values, twin(name, maps), rtol=1e-9, atol=0.0, equal_nan=True)


def test_measure_of_volumes():
    assert list(measure(several((4, 3, 5), torch.float64))) == list(STATISTICS)


@pytest.mark.parametrize("name", ["mass_inside", "pointing_game", "center_y"])
def test_signals_without_masks(name):
    found = STATISTICS[name](MapContext(torch.rand(3, 9), torch.rand(3, 4)))
    assert_close(found, torch.full((3,), torch.nan), equal_nan=True)


def test_a_function_of_the_users_own_is_measured_too(monkeypatch):
    monkeypatch.setitem(STATISTICS, "mine", lambda maps: maps.saliency.flatten(1).amax(dim=1))
    maps = several((17,), torch.float64)
    assert_close(measure(maps)["mine"], maps.saliency.amax(dim=1))


# --- Drift


@pytest.mark.parametrize("name", ["drift_last", "drift_first"])
def test_drift_where_there_was_no_other_look_is_zero(name):
    cams = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(3))
    cams[2] = -1
    found = STATISTICS[name](MapContext(torch.rand(3, 9, 7), cams))
    assert_close(found, torch.tensor([0.0, 0.0, torch.nan]), rtol=0.0, atol=0.0, equal_nan=True)


def test_drift_compares_with_the_look_it_is_named_after():
    here, there = at([(0, 0)]), at([(3, 3)])
    context = MapContext(here, here, last=there, first=here)
    assert_close(STATISTICS["drift_last"](context), torch.ones(1, dtype=torch.float64))
    assert_close(STATISTICS["drift_first"](context), torch.zeros(1, dtype=torch.float64))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_jensen_shannon_is_symmetric_and_zero_with_itself(dtype):
    p, q = torch.randn(2, 8, 5, 4, generator=torch.Generator().manual_seed(4)).to(dtype)
    assert_close(jensen_shannon(p, q), jensen_shannon(q, p), rtol=0.0, atol=0.0)
    assert jensen_shannon(p, q).gt(0.01).all()
    assert_close(jensen_shannon(p, p), torch.zeros(8, dtype=dtype), rtol=0.0, atol=0.0)


def test_jensen_shannon_of_disjoint_maps_is_one_bit():
    noise = torch.rand(4, 5, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64) + 0.1
    left, right = noise.clone(), noise.clone()
    left[:, :, 3:], right[:, :, :3] = 0, -1
    assert_close(jensen_shannon(left, right), torch.ones(4, dtype=torch.float64), rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_jensen_shannon_of_a_map_that_is_not_finite_is_not_a_number(value):
    fine = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(6))
    broken = fine.clone()
    broken[0, 1, 2] = value
    expected = torch.tensor([torch.nan, 0.0])
    assert_close(jensen_shannon(broken, fine), expected, equal_nan=True)
    assert_close(jensen_shannon(fine, broken), expected, equal_nan=True)


# --- Arguments


@pytest.mark.parametrize("width", [0.0, 0.5, -0.1, 3.0, math.nan])
@pytest.mark.parametrize("statistic", [border_mass, corner_mass], ids=lambda statistic: statistic.__name__)
def test_width_outside_its_range(statistic, width):
    with pytest.raises(
        ValueError, match=rf"^width: got {width}; give a fraction of the side in \(0, 0\.5\)\.$"
    ):
        statistic(torch.ones(1, 8, 8), width)
