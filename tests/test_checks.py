"""Images and labels that will not do are refused with words."""

from typing import Any

import pytest
import torch
from support.images import noise

from lightning_cam.checks import check_images
from lightning_cam.data.probe import Probe

WRONG_IMAGES = {
    "one channel": (
        noise()[0, 0],
        ValueError,
        r"images: got a float32 tensor \(8, 6\); give a tensor \(n, c, H, W\)",
    ),
    "flat": (torch.rand(4, 48), ValueError, r"images: got a float32 tensor \(4, 48\)"),
    "several volumes": (
        noise()[None, None],
        ValueError,
        r"images: got a float32 tensor \(1, 1, 4, 3, 8, 6\)",
    ),
    "no time": (torch.rand(4, 3, 0), ValueError, r"images: got a float32 tensor \(4, 3, 0\)"),
    "none": (
        noise(0),
        ValueError,
        r"images: got a float32 tensor \(0, 3, 8, 6\); .* with at least one image",
    ),
    "no pixels": (noise(size=(0, 6)), ValueError, r"images: got a float32 tensor \(4, 3, 0, 6\)"),
    "array": (noise().numpy(), TypeError, r"images: got a ndarray; give a tensor \(n, c, H, W\)"),
    "list": ([noise()[0]], TypeError, r"images: got a list of a float32 tensor \(3, 8, 6\); give a tensor"),
    "nothing": (None, TypeError, "images: got a NoneType; give a tensor"),
}


@pytest.mark.parametrize(("images", "kind", "words"), WRONG_IMAGES.values(), ids=WRONG_IMAGES.keys())
@pytest.mark.usefixtures("unchecked")
def test_wrong_images(images: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        Probe(images)
    with pytest.raises(kind, match=words):
        check_images(images)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_the_first_image_that_is_not_finite_is_named(value: float) -> None:
    images = noise()
    images[2, 1, 3, 3] = images[3] = value
    with pytest.raises(ValueError, match=r"images: image 2 holds values that are not finite \(NaN or inf\)"):
        Probe(images)


WRONG_LABELS = {
    "too few": (
        torch.arange(3),
        r"labels: got a.* int64 tensor \(3,\) for 4 images; give whole numbers of shape \(4,\)",
    ),
    "column": (torch.arange(4)[:, None], r"labels: got a.* int64 tensor \(4, 1\) for 4 images"),
    "floating": (
        torch.arange(4).float(),
        r"labels: got a float32 tensor \(4,\) for 4 images; give whole numbers",
    ),
    "one-hot": (torch.eye(4), r"labels: got a float32 tensor \(4, 4\)"),
    "list": ([0, 1, 2, 3], "labels: got a list of .* for 4 images; give whole numbers"),
    "number": (3, "labels: got an? int for 4 images"),
}


@pytest.mark.parametrize(("labels", "words"), WRONG_LABELS.values(), ids=WRONG_LABELS.keys())
@pytest.mark.usefixtures("unchecked")
def test_wrong_labels(labels: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Probe(noise(), labels)
