"""Images and labels that will not do are refused with words."""

from typing import Any

import pytest
import torch
from support.images import noise
from torch.testing import assert_close

from lightning_cam.checks import check_images, check_labels, plain_labels
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
        r"labels: got an int64 tensor \(3,\) for 4 images; give one number per image, of shape \(4,\)",
    ),
    "of positions": (torch.ones(4, 2, 2), r"labels: got a float32 tensor \(4, 2, 2\) for 4 images"),
    "complex": (torch.ones(4, dtype=torch.complex64), r"labels: got a complex64 tensor \(4,\)"),
    "infinite": (
        torch.tensor([0.0, 1.0, torch.inf, 2.0]),
        "labels: got infinite numbers; mend them, or give NaN",
    ),
    "list": ([0, 1, 2, 3], "labels: got a list of .* for 4 images; give one number per image"),
    "number": (3, "labels: got an? int for 4 images"),
}


@pytest.mark.parametrize(("labels", "words"), WRONG_LABELS.values(), ids=WRONG_LABELS.keys())
@pytest.mark.usefixtures("unchecked")
def test_wrong_labels(labels: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Probe(noise(), labels)
    with pytest.raises(ValueError, match=words):
        check_labels(labels, 4, several=True)


@pytest.mark.usefixtures("unchecked")
def test_several_labels_only_where_they_will_do() -> None:
    check_labels(torch.eye(4), 4, several=True)
    with pytest.raises(ValueError, match=r"labels: got a float32 tensor \(4, 4\) for 4 images"):
        check_labels(torch.eye(4), 4)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (torch.tensor([3, 1], dtype=torch.int32), torch.tensor([3, 1])),
        (torch.tensor([True, False]), torch.tensor([1, 0])),
        (torch.tensor([1.0, 0.0]), torch.tensor([1, 0])),
        (torch.tensor([[1.0], [0.0]]), torch.tensor([1, 0])),
        (torch.tensor([1.0, 2.0], dtype=torch.float64), torch.tensor([1.0, 2.0])),
        (torch.tensor([1.0, torch.nan]), torch.tensor([1.0, torch.nan])),
        (torch.tensor([[1, 0], [0, 1]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])),
        (torch.tensor([[True, False], [False, True]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])),
    ],
    ids=str,
)
def test_labels_in_one_form(labels: torch.Tensor, expected: torch.Tensor) -> None:
    assert_close(plain_labels(labels), expected, equal_nan=True)
