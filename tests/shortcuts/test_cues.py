"""Every row of CUES: its swap equals its plain twin, is blind to units, takes one pair at a time."""

from dataclasses import fields, replace

import pytest
import torch
from reference import cues as book
from support.pairs import SIZES, random
from torch import Tensor
from torch.testing import assert_close

from lightning_cam.shortcuts.cues import CUES, Pair
from lightning_cam.shortcuts.features import detail_share

TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-4}
LARGEST = max(row.smallest for row in CUES.values())
WITHOUT_MASKS = [name for name in CUES if CUES[name].needs != "masks"]


def pair(
    size: tuple[int, int] = (24, 25), channels: int = 3, dtype: torch.dtype = torch.float64, seed: int = 0
) -> Pair:
    """Two hosts and two donors with masks that hide something."""
    hosts, donors, backgrounds = (
        random(2, channels, *size, seed=seed + i).to(dtype) + torch.tensor([2.0 * i]).to(dtype)
        for i in range(3)
    )
    smooth = donors + donors.roll(1, 3)
    return Pair(hosts, smooth, random(2, *size, seed=seed + 4) > 0.8, backgrounds)


def rows(given: Pair) -> list[Pair]:
    """Each pair alone."""
    tensors = [getattr(given, field.name) for field in fields(given)]
    return [
        Pair(*(None if one is None else one[i : i + 1] for one in tensors)) for i in range(len(given.hosts))
    ]


def twin(name: str, given: Pair) -> Tensor:
    pairs = [
        book.Pair(
            one.hosts[0].double().numpy(),
            one.donors[0].double().numpy(),
            None if one.host_masks is None else one.host_masks[0].numpy(),
            None if one.donor_backgrounds is None else one.donor_backgrounds[0].double().numpy(),
        )
        for one in rows(given)
    ]
    return torch.from_numpy(book.swap(name, pairs))


def fits(name: str, size: tuple[int, int], channels: int) -> bool:
    return min(size) >= CUES[name].smallest and CUES[name].channels in (1, channels)


CASES = [
    (name, size, channels)
    for name in CUES
    for size, channels in ((SIZES[0], 3), ((18, 11), 3), ((25, 24), 1), ((28, 28), 3), ((33, 24), 4))
    if fits(name, size, channels) and (CUES[name].smallest > 16 or max(size) < 28)
]


def test_every_cue_has_a_twin() -> None:
    assert set(CUES) == set(book.SWAPS), "write the cue a second time in tests/reference/cues.py, SWAPS"
    assert {name for name, *_ in CASES} == set(CUES)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("name", "size", "channels"), CASES, ids=str)
def test_swaps_equal_the_book(name: str, size: tuple[int, int], channels: int, dtype: torch.dtype) -> None:
    given = pair(size, channels, dtype)
    found = CUES[name].swap(given)
    assert (found.dtype, found.shape) == (dtype, given.hosts.shape)
    assert name == "fringes" or not torch.equal(found, given.hosts)
    assert_close(found.double(), twin(name, given), rtol=0.0, atol=TOLERANCE[dtype])


def test_fringes_of_a_shift_that_was_made_are_moved() -> None:
    scenes = random(2, 1, 24, 24, seed=0)
    alike = scenes.expand(-1, 3, -1, -1).contiguous()
    fringed = torch.cat([alike[:, :1].roll((2, -1), (2, 3)), alike[:, 1:2], alike[:, 2:].roll(-3, 3)], dim=1)
    given = Pair(alike, fringed.flip(0))
    assert_close(CUES["fringes"].swap(given), fringed)
    assert_close(CUES["fringes"].swap(given), twin("fringes", given))
    assert_close(CUES["fringes"].swap(Pair(fringed, alike)), alike)


def test_a_host_becomes_as_sharp_as_its_donor_whichever_is_the_sharper() -> None:
    given = pair()
    smooth = given.donors + given.donors.roll(1, 2)
    smooth = smooth + smooth.roll(1, 3)
    for hosts, donors in ((given.hosts, smooth), (smooth, given.hosts)):
        found = CUES["sharpness"].swap(Pair(hosts, donors))
        assert_close(found, twin("sharpness", Pair(hosts, donors)))
        before, after = (abs(detail_share(one) - detail_share(donors)) for one in (hosts, found))
        assert (after < 0.2 * before).all()


@pytest.mark.parametrize("name", CUES)
def test_commutes_with_a_positive_scale_and_a_shift(name: str) -> None:
    given = pair()
    scale, shift = 40.0, -7.0
    other = replace(
        given,
        hosts=given.hosts * scale + shift,
        donors=given.donors * scale + shift,
        donor_backgrounds=given.donor_backgrounds * scale + shift,
    )
    assert_close(CUES[name].swap(other), CUES[name].swap(given) * scale + shift, rtol=0.0, atol=1e-7)


@pytest.mark.parametrize("name", CUES)
def test_pairs_are_independent(name: str) -> None:
    given = pair()
    alone = torch.cat([CUES[name].swap(one) for one in rows(given)])
    assert_close(alone, CUES[name].swap(given), rtol=0.0, atol=1e-11)


@pytest.mark.parametrize("name", WITHOUT_MASKS)
def test_the_host_itself_changes_nothing(name: str) -> None:
    hosts = pair().hosts
    assert_close(CUES[name].swap(Pair(hosts, hosts)), hosts, rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("name", CUES)
def test_leaves_its_inputs_as_they_are(name: str) -> None:
    given, before = pair(), pair()
    CUES[name].swap(given)
    for field in fields(given):
        assert torch.equal(getattr(given, field.name), getattr(before, field.name))


@pytest.mark.parametrize("constant", ["hosts", "donors", "both"])
@pytest.mark.parametrize("name", CUES)
def test_constant_images_give_finite_ones(name: str, constant: str) -> None:
    given = pair()
    flat = torch.full_like(given.hosts, 0.3)
    hosts = given.hosts if constant == "donors" else flat
    found = CUES[name].swap(replace(given, hosts=hosts, donors=given.donors if constant == "hosts" else flat))
    assert found.isfinite().all()


@pytest.mark.parametrize("is_object", [True, False])
def test_a_background_without_or_with_nothing_but_objects(is_object: bool) -> None:
    given = pair()
    given = replace(given, host_masks=torch.full_like(given.host_masks, is_object))
    assert torch.equal(CUES["background"].swap(given), given.hosts if is_object else given.donor_backgrounds)


def test_cells_make_up_the_image() -> None:
    given = pair((25, 26))
    changed = sum((CUES[name].swap(given) - given.hosts) for name in CUES if name.startswith("cell"))
    assert_close(given.hosts + changed, given.donors)


def test_background_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="needs masks"):
        CUES["background"].swap(Pair(pair().hosts, pair().donors))
