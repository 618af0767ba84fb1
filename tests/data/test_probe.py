"""The probe batch: what it accepts, and how it is kept."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.images import SIZES, noise
from torch import Tensor
from torch.testing import assert_close
from torchvision import transforms as v1
from torchvision.transforms import v2

from lightning_cam.checks import IMAGENET, Normalization, check_images
from lightning_cam.data.probe import Probe, probe_from

HALF: Normalization = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def every_level(channels: int = 3, size: tuple[int, ...] = (16, 16)) -> Tensor:
    """uint8 images in which each channel has all 256 levels."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.stack([torch.randperm(256, generator=generator) for _ in range(2 * channels)])
    return levels.reshape(2, channels, *size).byte()


# --- Probe


def test_a_complete_probe() -> None:
    labels, masks = torch.tensor([0, 1, 2, 1]), noise()[:, 0] > 0.5
    probe = Probe(noise(), labels, masks, ("cat", "dog", "3"))
    assert len(probe) == 4
    assert_close(probe.images, noise())
    assert_close(probe.labels, labels)
    assert_close(probe.masks, masks)
    assert [probe.name(label) for label in (0, 2, 7, -1)] == ["cat", "3", "7", "-1"]


@pytest.mark.usefixtures("unchecked")
def test_other_forms_of_the_same_become_plain() -> None:
    labels, masks = torch.tensor([0, 1, 2, 1]), noise()[:, 0] > 0.5
    probe = Probe(noise(), labels.byte(), masks.byte() * 255, ["cat", "dog", 3])
    assert_close(probe.labels, labels)
    assert_close(probe.masks, masks)
    assert probe.class_names == ("cat", "dog", "3")


def test_images_are_enough() -> None:
    probe = Probe(noise())
    assert (probe.labels, probe.masks, probe.class_names) == (None, None, None)
    assert probe.name(3) == "3"


def test_a_probe_on_another_device() -> None:
    probe = Probe(noise(), torch.arange(4), noise()[:, 0] > 0.5, ("a",)).to("cpu")
    assert_close(probe.images, noise())
    assert_close(probe.labels, torch.arange(4))
    assert_close(probe.masks, noise()[:, 0] > 0.5)
    assert probe.class_names == ("a",)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_probe_of_signals_or_volumes(size: tuple[int, ...]) -> None:
    images = noise(size=size)
    check_images(images)
    probe = Probe(images, torch.arange(4), images[:, 0] > 0.5).to("cpu")
    assert_close(probe.images, images)
    assert_close(probe.masks, images[:, 0] > 0.5)
    broken = images.clone()
    broken[2, 0, 1] = torch.nan
    with pytest.raises(ValueError, match="images: image 2 holds values that are not finite"):
        Probe(broken)


WRONG_MASKS = {
    "with a channel": (
        torch.ones(4, 1, 8, 6, dtype=torch.bool),
        r"masks: got a bool tensor \(4, 1, 8, 6\) for images \(4, 3, 8, 6\)",
    ),
    "transposed": (
        torch.ones(4, 6, 8, dtype=torch.bool),
        r"masks: got a bool tensor \(4, 6, 8\) .*; give truth values \(4, 8, 6\)",
    ),
    "too few": (torch.ones(3, 8, 6, dtype=torch.bool), r"masks: got a bool tensor \(3, 8, 6\)"),
    "array": (np.ones((4, 8, 6), bool), "masks: got a ndarray for images"),
    "of a volume": (
        torch.ones(4, 3, 8, 6, dtype=torch.bool),
        r"masks: got a bool tensor \(4, 3, 8, 6\) for images \(4, 3, 8, 6\)",
    ),
}


@pytest.mark.parametrize(("masks", "words"), WRONG_MASKS.values(), ids=WRONG_MASKS.keys())
@pytest.mark.usefixtures("unchecked")
def test_wrong_masks(masks: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Probe(noise(), None, masks)


def test_fingerprint() -> None:
    same = noise().to(memory_format=torch.channels_last)
    assert Probe(noise()).fingerprint == Probe(same, torch.arange(4)).fingerprint
    other = noise()
    other[3, 2, 7, 5] += 1e-6
    prints = {
        Probe(images).fingerprint
        for images in (noise(), other, noise().flip(0), noise()[:3], noise().bfloat16())
    }
    assert len(prints) == 5


# --- what is kept in a checkpoint


def pictures() -> list[Image.Image]:
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in every_level()]


def through(transform: Callable[[Image.Image], Tensor]) -> Tensor:
    return torch.stack([transform(picture) for picture in pictures()])


def modern(*more: Any, dtype: torch.dtype = torch.float32) -> v2.Compose:
    return v2.Compose([v2.ToImage(), v2.ToDtype(dtype, scale=True), *more])


LOSSLESS: dict[str, tuple[Callable[[], Tensor], Normalization | None]] = {
    "v1": (lambda: through(v1.ToTensor()), None),
    "v1, normalization known in vain": (lambda: through(v1.ToTensor()), IMAGENET),
    "v1 imagenet": (lambda: through(v1.Compose([v1.ToTensor(), v1.Normalize(*IMAGENET)])), IMAGENET),
    "v1 half": (lambda: through(v1.Compose([v1.ToTensor(), v1.Normalize(*HALF)])), HALF),
    "v1 half, one number for all": (
        lambda: through(v1.Compose([v1.ToTensor(), v1.Normalize(*HALF)])),
        ((0.5,), (0.5,)),
    ),
    "v2": (lambda: through(modern()), None),
    "v2 imagenet": (lambda: through(modern(v2.Normalize(*map(list, IMAGENET)))), IMAGENET),
    "v2 half": (lambda: through(modern(v2.Normalize(*map(list, HALF)))), HALF),
    "v2 bfloat16": (lambda: through(modern(dtype=torch.bfloat16)), None),
    "v2 float16": (lambda: through(modern(dtype=torch.float16)), None),
    "one channel": (lambda: every_level(1).float() / 255, None),
    "one channel, normalized": (
        lambda: (every_level(1).float() / 255 - 0.1307) / 0.3081,
        ((0.1307,), (0.3081,)),
    ),
    "four channels": (lambda: every_level(4).float() / 255, None),
    "bfloat16 of a plain image": (lambda: (every_level().float() / 255).bfloat16(), None),
    "whole levels": (every_level, None),
    "whole levels, normalization known in vain": (every_level, IMAGENET),
    "black": (lambda: torch.zeros(2, 3, 8, 8), None),
}
AS_THEY_ARE: dict[str, tuple[Callable[[], Tensor], Normalization | None]] = {
    "arbitrary": (noise, None),
    "arbitrary, normalized": (lambda: (noise() - 0.5) / 0.5, HALF),
    "normalized, but nobody knows": (
        lambda: through(v1.Compose([v1.ToTensor(), v1.Normalize(*IMAGENET)])),
        None,
    ),
    "normalized otherwise": (lambda: through(v1.Compose([v1.ToTensor(), v1.Normalize(*IMAGENET)])), HALF),
    "wrong number of channels": (
        lambda: through(v1.Compose([v1.ToTensor(), v1.Normalize(*HALF)])),
        ((0.5,) * 4, (0.5,) * 4),
    ),
    "outside the range": (lambda: every_level().float() / 255 * 1.5, None),
    "0 to 255": (lambda: every_level().float(), None),
    "arbitrary bfloat16": (lambda: (noise() * 3 - 1).bfloat16(), IMAGENET),
    "arbitrary float64": (lambda: noise().double() + 1e-12, None),
    "one pixel is off": (lambda: (every_level() / 255).index_fill(0, torch.tensor([1]), 0.5003), None),
}


def there_and_back(probe: Probe, normalization: Normalization | None) -> tuple[dict[str, Any], Probe]:
    file = io.BytesIO()
    torch.save(probe.state(normalization), file)
    state = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    return state, probe_from(state)


def check_exact(found: Tensor, expected: Tensor) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert_close(
        found.contiguous().view(torch.uint8), expected.contiguous().view(torch.uint8)
    )  # the bits, so that -0.0 counts


@pytest.mark.parametrize(("images", "normalization"), LOSSLESS.values(), ids=LOSSLESS.keys())
def test_levels_are_kept_as_uint8(images: Callable[[], Tensor], normalization: Normalization | None) -> None:
    probe = Probe(images())
    state, back = there_and_back(probe, normalization)
    assert state["images"].dtype == torch.uint8
    assert_close(
        state["images"],
        every_level(len(probe.images[0])) if probe.images.any() else torch.zeros_like(state["images"]),
    )
    check_exact(back.images, probe.images)
    assert back.fingerprint == probe.fingerprint


@pytest.mark.parametrize(("images", "normalization"), AS_THEY_ARE.values(), ids=AS_THEY_ARE.keys())
def test_all_else_is_kept_as_it_is(images: Callable[[], Tensor], normalization: Normalization | None) -> None:
    probe = Probe(images())
    state, back = there_and_back(probe, normalization)
    assert state["images"].dtype == probe.images.dtype
    check_exact(back.images, probe.images)


@pytest.mark.parametrize("size", [(256,), (4, 8, 8)], ids=["signals", "volumes"])
@pytest.mark.parametrize("normalized", [True, False])
def test_levels_of_signals_and_volumes_are_kept_as_uint8(size: tuple[int, ...], normalized: bool) -> None:
    levels = every_level(3, size)
    mean, std = (torch.tensor(values).reshape(1, 3, *[1] * len(size)) for values in IMAGENET)
    probe = Probe((levels.float() / 255 - mean) / std if normalized else levels.float() / 255)
    state, back = there_and_back(probe, IMAGENET)
    check_exact(state["images"], levels)
    check_exact(back.images, probe.images)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_other_signals_and_volumes_are_kept_as_they_are(size: tuple[int, ...]) -> None:
    probe = Probe(noise(size=size), torch.arange(4), noise(size=size)[:, 0] > 0.5)
    state, back = there_and_back(probe, IMAGENET)
    assert state["images"].dtype == torch.float32
    check_exact(back.images, probe.images)
    assert_close(back.masks, probe.masks)


def test_minus_zero_is_kept() -> None:
    probe = Probe(-torch.zeros(2, 3, 8, 8))
    _, back = there_and_back(probe, None)
    check_exact(back.images, probe.images)


def test_bfloat16_of_a_normalized_image_is_kept_exactly() -> None:
    probe = Probe(through(v1.Compose([v1.ToTensor(), v1.Normalize(*IMAGENET)])).bfloat16())
    _, back = there_and_back(probe, IMAGENET)
    check_exact(back.images, probe.images)


@pytest.mark.parametrize("complete", [True, False])
def test_the_rest_is_kept(complete: bool) -> None:
    rest = (
        (torch.tensor([3, 1, 2, 0]), noise()[:, 0] > 0.5, ("a", "b", "c", "d"))
        if complete
        else (None, None, None)
    )
    probe = Probe(noise(), *rest)
    _, back = there_and_back(probe, None)
    assert back.class_names == probe.class_names
    if complete:
        assert_close(back.labels, probe.labels)
        assert_close(back.masks, probe.masks)
    else:
        assert (back.labels, back.masks) == (None, None)


@pytest.mark.parametrize("images", [noise(), every_level()], ids=["float", "uint8"])
def test_the_state_is_a_copy(images: Tensor) -> None:
    probe = Probe(
        images.clone(),
        torch.arange(len(images)),
        torch.zeros(len(images), *images.shape[2:], dtype=torch.bool),
    )
    state = probe.state()
    probe.images.zero_()
    probe.labels.zero_()
    probe.masks.logical_not_()
    check_exact(state["images"], images)
    assert_close(state["labels"], torch.arange(len(images)))
    assert not state["masks"].any()


@pytest.mark.parametrize(
    "labels",
    [
        torch.tensor([[1.0, 0.0, torch.nan], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, -1.0]]),
        torch.tensor([0.5, 31.0, torch.nan, 2.0]),
        torch.rand(4, 2),
    ],
    ids=["several", "numbers", "rows of numbers"],
)
def test_labels_of_every_task(labels: Tensor) -> None:
    probe = Probe(noise(), labels)
    for same in (probe, probe.to("cpu"), probe_from(probe.state()), Probe(noise(), labels.double())):
        assert same.labels.dtype == torch.float32
        assert_close(same.labels, labels, equal_nan=True)


def test_several_labels_of_any_dtype() -> None:
    several = torch.tensor([[1, 0], [0, 1], [1, 1], [0, 0]])
    for dtype in (torch.bool, torch.uint8, torch.int64, torch.float16):
        assert_close(Probe(noise(), several.to(dtype)).labels, several.float())
