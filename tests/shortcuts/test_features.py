"""Every row of FEATURES: equal to its plain twin; and how a mask grows."""

import pytest
import torch
from reference import cues as book
from support.pairs import SIZES, random
from torch.testing import assert_close

from lightning_cam.shortcuts.features import FEATURES, dilated


@pytest.mark.parametrize("size", [*SIZES, (9, 130)], ids=str)
@pytest.mark.parametrize("name", FEATURES)
def test_features_equal_the_book(name, size):
    images = random(2, 3, *size, seed=0)
    expected = torch.stack([torch.from_numpy(book.FEATURES[name](one)) for one in images.numpy()])
    assert_close(FEATURES[name](images), expected, rtol=0.0, atol=1e-9)


def test_a_mask_grows_to_a_square():
    mask = torch.zeros(1, 32, 40, dtype=torch.bool)
    mask[0, 10, 20] = True
    expected = torch.zeros_like(mask)
    expected[0, 8:13, 18:23] = True
    assert torch.equal(dilated(mask), expected)
