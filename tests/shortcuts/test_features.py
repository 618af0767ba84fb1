"""What cues are made of: masks that grow, patches of large images, averages, textures that know their direction."""

import pytest
import torch
from reference import cues as book
from support.pairs import random
from torch.testing import assert_close

from lightning_cam.shortcuts.features import (
    Views,
    averages,
    centre,
    channel_shifts,
    dilated,
    in_cell,
    patches,
    ring,
    spectrum,
    texture,
)

SIZES = [(8, 8), (9, 11), (16, 20), (33, 28)]


def test_a_mask_grows_to_a_square() -> None:
    mask = torch.zeros(1, 32, 40, dtype=torch.bool)
    mask[0, 10, 20] = True
    expected = torch.zeros_like(mask)
    expected[0, 8:13, 18:23] = True
    assert torch.equal(dilated(mask), expected)
    assert torch.equal(dilated(mask)[0], torch.from_numpy(book.grown(mask[0].numpy())))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_rings_and_cells_equal_the_book(size: tuple[int, int]) -> None:
    image = torch.zeros(1, 1, *size)
    for share in (8, 16):
        expected = [
            [book.in_ring(row, column, size, share) for column in range(size[1])] for row in range(size[0])
        ]
        assert ring(image, share).tolist() == expected
    cells = torch.stack([in_cell(image, row, column) for row in range(4) for column in range(4)])
    assert torch.equal(cells.sum(dim=0), torch.ones(size, dtype=torch.int64))


def test_a_border_of_a_tiny_image_is_one_pixel_thick() -> None:
    assert ring(torch.zeros(1, 1, 8, 9), 16).sum() == 8 * 9 - 6 * 7


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_textures_and_spectra_equal_the_book(size: tuple[int, int]) -> None:
    images = random(2, 3, *size, seed=0)
    for found, of in ((texture(images), book.textures), (spectrum(images), book.spectrum)):
        expected = torch.stack([torch.as_tensor(of(image), dtype=torch.float64) for image in images.numpy()])
        assert_close(found, expected, rtol=0.0, atol=1e-9)


def test_textures_know_which_way_stripes_run() -> None:
    wave = torch.sin(torch.arange(32, dtype=torch.float64) * 0.9)
    upright, flat = wave.expand(32, 32), wave[:, None].expand(32, 32)
    diagonal = torch.sin(0.6 * (torch.arange(32.0)[:, None] + torch.arange(32.0))).double()
    found = texture(torch.stack([upright, flat, diagonal])[:, None])[:, 2:, 2:6, 2:6].mean(dim=(2, 3))
    assert_close(found, torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]).double(), rtol=0.0, atol=0.1)


def test_averages_of_a_group_that_has_none_are_zero() -> None:
    found = averages(torch.tensor([[1.0, 2.0, 6.0]]), torch.tensor([0, 2, 2]), 4)
    assert found.tolist() == [[1.0, 0.0, 4.0, 0.0]]


def test_patches_touch_the_edges_and_small_images_stay() -> None:
    image = torch.arange(224.0).expand(1, 1, 60, 224)
    found = patches(image)
    assert found.shape == (1, 1, 60, 64)
    columns = found[0, 0, 0].reshape(8, 8)
    assert (columns[0, 0], columns[-1, -1]) == (0, 223)
    assert (columns.diff(dim=1) == 1).all()
    assert torch.equal(patches(image[..., :64]), image[..., :64])


def test_the_centre_is_at_full_resolution() -> None:
    image = random(1, 1, 99, 50, seed=0)
    assert torch.equal(centre(image), image[:, :, 17:81])


def test_shifts_are_found_where_channels_lie_apart() -> None:
    scene = random(1, 1, 32, 32, seed=0)
    found = channel_shifts(torch.cat([scene.roll((3, -2), (2, 3)), scene, scene.roll(-4, 2)], dim=1))
    places = [divmod(int(one.argmax()), 9) for one in found[0]]
    assert [(row - 4, column - 4) for row, column in places] == [(3, -2), (-4, 0)]
    assert_close(found.amax(), torch.tensor(1.0).double(), rtol=0.0, atol=0.01)


def test_what_views_hold_is_made_once_and_equals_what_functions_give() -> None:
    images = random(2, 3, 20, 100, seed=0)
    views = Views(images)
    assert views.crop is views.crop
    assert_close(views.spectrum, spectrum(centre(images)))
    assert_close(views.shifts, channel_shifts(images))
    assert torch.equal(views.ordered, views.palette.flatten(2).sort(dim=2).values)
    logs = [list(book.amplitudes(image).values()) for image in centre(images).numpy()]
    assert_close(views.amplitudes.flatten(1), torch.tensor(logs, dtype=torch.float64))
