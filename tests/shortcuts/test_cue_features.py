"""Every row of CUES: its features equal their plain twin, are blind to units and neighbours, and always defined."""

import pytest
import torch
from reference import cues as book
from support.pairs import random
from torch import Tensor
from torch.testing import assert_close

from lightning_cam.shortcuts.cue_features import background_features
from lightning_cam.shortcuts.cues import CUES
from lightning_cam.shortcuts.features import Views
from lightning_cam.shortcuts.predictivity import features_of, unfit

TOLERANCE = {torch.float64: 1e-8, torch.float32: 2e-3}
MOST = 800  # numbers of a cue, of images with four channels
PLANTED = (
    "border_8",
    "cell_2_1",
    "colour",
    "tones",
    "fringes",
    "detail",
    "spot",
    "sharpness",
    "background",
)


def images(size: tuple[int, int], channels: int = 3, seed: int = 0, count: int = 2) -> Tensor:
    """Noise with a bright patch, whose channels are unlike."""
    found = random(count, channels, *size, seed=seed)
    found[:, :, size[0] // 3 : size[0] // 3 + 5, size[1] // 2 : size[1] // 2 + 4] += 3
    return found * torch.linspace(1, 2, channels, dtype=torch.float64)[:, None, None] + 0.3


def masks(size: tuple[int, int], seed: int = 1, count: int = 2) -> Tensor:
    found = torch.zeros(count, *size, dtype=torch.bool)
    found[0, : size[0] // 2, 3:9] = True
    found[1] = random(*size, seed=seed) > 2
    return found


CASES = [
    (name, size, channels)
    for name, row in CUES.items()
    for size, channels in (((24, 25), 3), ((28, 28), 1), ((33, 28), 4))
    if row.channels in (1, channels) and (not name.startswith("cell") or size == (24, 25))
]


def test_every_cue_has_a_twin() -> None:
    assert set(CUES) == set(book.FEATURES), (
        "write the features a second time in tests/reference/cues.py, FEATURES"
    )
    assert {name for name, *_ in CASES} == set(CUES)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("name", "size", "channels"), CASES, ids=str)
def test_features_equal_the_book(name: str, size: tuple[int, int], channels: int, dtype: torch.dtype) -> None:
    given, hidden = images(size, channels).to(dtype), masks(size)
    found = CUES[name].features(Views(given, hidden))
    expected = [
        book.FEATURES[name](image, mask)
        for image, mask in zip(given.double().numpy(), hidden.numpy(), strict=True)
    ]
    assert found.dtype == dtype
    assert 0 < found.shape[1] <= MOST
    assert_close(found.double(), torch.tensor(expected, dtype=torch.float64), rtol=0.0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("name", ["border_8", "colour", "tones", "detail", "spot", "background"])
def test_features_of_a_large_image_equal_the_book(name: str) -> None:
    size = (104, 98)
    given, hidden = images(size, 1, count=1), masks(size)[:1]
    found = CUES[name].features(Views(given, hidden))
    expected = book.FEATURES[name](given[0].numpy(), hidden[0].numpy())
    assert_close(found[0], torch.tensor(expected, dtype=torch.float64), rtol=0.0, atol=1e-7)


@pytest.mark.parametrize("name", CUES)
def test_images_are_independent(name: str) -> None:
    given, hidden = images((24, 25)), masks((24, 25))
    alone = [CUES[name].features(Views(given[i : i + 1], hidden[i : i + 1])) for i in range(2)]
    assert_close(torch.cat(alone), CUES[name].features(Views(given, hidden)), rtol=0.0, atol=1e-10)


@pytest.mark.parametrize("size", [(8, 8), (9, 300), (24, 24), (224, 224)], ids=str)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_constant_images_have_finite_features(channels: int, size: tuple[int, int]) -> None:
    given = torch.full((2, channels, *size), 0.3)
    for is_object in (True, False):
        found = features_of(CUES, given, torch.full((2, *size), is_object))
        assert set(found) == {name for name, row in CUES.items() if not unfit(row, given)}
        for name, values in found.items():
            assert values.isfinite().all(), name
            assert_close(values[0], values[1])  # the rows of a batch of FFTs round differently


@pytest.mark.parametrize("name", PLANTED)
def test_leaves_images_as_they_are(name: str) -> None:
    given, hidden = images((24, 25)), masks((24, 25))
    CUES[name].features(Views(given, hidden))
    assert torch.equal(given, images((24, 25)))
    assert torch.equal(hidden, masks((24, 25)))


def test_the_background_needs_masks() -> None:
    with pytest.raises(ValueError, match="needs masks"):
        background_features(Views(images((24, 25))))
    assert "background" not in features_of(CUES, images((24, 25)), None)
