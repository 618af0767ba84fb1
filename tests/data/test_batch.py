"""Images, labels and masks in a batch."""

from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.batches import IMAGES, LABELS, MASKS, check
from torch import Tensor
from torch.testing import assert_close

from lightning_cam.data.batch import read_batch

Triple = namedtuple("Triple", "image label mask")
Odd = namedtuple("Odd", "picture species outline")


@dataclass
class Usual:
    image: Tensor
    label: Tensor
    mask: Tensor


@dataclass
class Unusual:
    when: str
    outline: Tensor
    picture: Tensor
    species: Tensor


COMPLETE = {
    "tuple": (IMAGES, LABELS, MASKS),
    "list": [IMAGES, LABELS, MASKS],
    "any order": [MASKS, LABELS, IMAGES],
    "with other things": ("train", None, IMAGES, {"id": 3}, LABELS, 0.5, MASKS),
    "dict": {"image": IMAGES, "label": LABELS, "mask": MASKS},
    "dict of plurals": {"images": IMAGES, "targets": LABELS, "masks": MASKS},
    "as Hugging Face has it": {"pixel_values": IMAGES, "labels": LABELS, "segmentation": MASKS},
    "mapping": UserDict({"img": IMAGES, "y": LABELS, "mask": MASKS}),
    "ordered dict": OrderedDict(x=IMAGES, y=LABELS, mask=MASKS),
    "unusual keys": {"picture": IMAGES, "species": LABELS, "outline": MASKS},
    "keys that are numbers": {0: IMAGES, 1: LABELS, 2: MASKS},
    "named tuple": Triple(IMAGES, LABELS, MASKS),
    "named tuple with unusual names": Odd(IMAGES, LABELS, MASKS),
    "dataclass": Usual(IMAGES, LABELS, MASKS),
    "dataclass with unusual names": Unusual("today", MASKS, IMAGES, LABELS),
}


@pytest.mark.parametrize("batch", COMPLETE.values(), ids=COMPLETE.keys())
def test_a_batch_is_read(batch: Any) -> None:
    check(batch)


def test_images_alone() -> None:
    check(IMAGES, has_labels=False, has_masks=False)
    check([IMAGES], has_labels=False, has_masks=False)
    check({"image": IMAGES, "path": ["a", "b", "c", "d"]}, has_labels=False, has_masks=False)


def test_usual_names_come_before_the_order() -> None:
    depth, index = torch.rand(4, 1, 8, 6), torch.arange(4)
    check({"depth": depth, "index": index, "label": LABELS, "image": IMAGES, "mask": MASKS})
    check({"other": torch.zeros(4, 8, 6, dtype=torch.long), "image": IMAGES, "mask": MASKS}, has_labels=False)


def test_a_mask_is_not_taken_for_the_image() -> None:
    """The usual names decide first: what is called a mask is none of the images."""
    check({"mask": MASKS[:, None].byte(), "photo": IMAGES, "label": LABELS})


def test_explicit_keys() -> None:
    batch = {
        "image": torch.rand(4, 3, 2, 2),
        "photo": IMAGES,
        "label": torch.arange(4),
        "species": LABELS,
        "outline": MASKS,
    }
    check(batch, images="photo", labels="species", masks="outline")


def test_explicit_indices() -> None:
    batch = (
        torch.rand(4, 3, 2, 2),
        IMAGES,
        torch.arange(4),
        LABELS,
        torch.zeros(4, 8, 6, dtype=torch.bool),
        MASKS,
    )
    check(batch, images=1, labels=3, masks=-1)


def test_explicit_functions() -> None:
    batch = {
        "views": [torch.rand(4, 3, 2, 2), IMAGES],
        "meta": {"species": LABELS.tolist(), "outline": MASKS},
    }
    check(
        batch,
        images=lambda batch: batch["views"][1],
        labels=lambda batch: torch.tensor(batch["meta"]["species"]),
        masks=lambda batch: batch["meta"]["outline"],
    )


def test_explicit_names_of_attributes() -> None:
    check(Unusual("today", MASKS, IMAGES, LABELS), images="picture", labels="species", masks="outline")
    check(Odd(IMAGES, LABELS, MASKS), images="picture", labels=1, masks="outline")
    check(
        SimpleNamespace(picture=IMAGES, species=LABELS), has_masks=False, images="picture", labels="species"
    )


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_labels_of_any_whole_kind(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    check((IMAGES, LABELS.to(dtype).reshape(shape)), has_masks=False)
    assert read_batch((IMAGES, LABELS.to(dtype).reshape(shape))).labels.dtype == torch.int64


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.int32])
@pytest.mark.parametrize("shape", [(4, 8, 6), (4, 1, 8, 6)])
def test_masks_of_any_whole_kind(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    check((IMAGES, LABELS, MASKS.to(dtype).reshape(shape)))


def test_masks_with_several_values_are_where_they_are_not_zero() -> None:
    check((IMAGES, LABELS, MASKS.long() * 255))
    check((IMAGES, LABELS, MASKS.long() * -1))


def test_unnamed_values_of_many_kinds_are_no_mask() -> None:
    depth = torch.arange(4 * 8 * 6).reshape(4, 1, 8, 6)
    check((IMAGES, LABELS, depth), has_masks=False)
    assert read_batch({"image": IMAGES, "mask": depth}).masks.sum() == depth.numel() - 1


def test_what_is_named_decides_and_among_other_names_nothing_is_guessed() -> None:
    site, scan = torch.arange(4), torch.arange(4) + 100
    one_hot = torch.eye(4)
    assert read_batch({"image": IMAGES, "label": one_hot, "site": site}).labels is None
    assert read_batch({"image": IMAGES, "site": site, "scan": scan}).labels is None
    assert read_batch({"image": IMAGES, "species": site}).labels.tolist() == [0, 1, 2, 3]


def test_what_only_looks_like_labels_is_left() -> None:
    not_labels = (
        LABELS.float(),
        LABELS > 0,
        torch.arange(3),
        torch.eye(4).long(),
        LABELS.tolist(),
        torch.tensor(4),
    )
    check((IMAGES, *not_labels), has_labels=False, has_masks=False)


def test_what_only_looks_like_masks_is_left() -> None:
    depth, smaller, colors = torch.rand(4, 8, 6), MASKS[:, :4], torch.zeros(4, 3, 8, 6, dtype=torch.uint8)
    check((IMAGES, LABELS, depth, depth[:, None], smaller, colors), has_masks=False)


def test_floating_masks_where_the_user_says_so() -> None:
    check((IMAGES, LABELS, MASKS.float()), has_masks=False)
    found = read_batch((IMAGES, LABELS, MASKS.float()[:, None]), masks=2)
    assert_close(found.masks, MASKS)


# --- signals and volumes


SIGNALS = torch.rand(4, 2, 20, generator=torch.Generator().manual_seed(3))
VOLUMES = torch.rand(4, 2, 5, 8, 6, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("images", [SIGNALS, VOLUMES], ids=["signals", "volumes"])
@pytest.mark.parametrize(
    "batch",
    [
        lambda images, masks: (images, LABELS, masks),
        lambda images, masks: (masks, LABELS, images),
        lambda images, masks: (masks[:, None].byte(), images, LABELS[:, None]),
        lambda images, masks: {"mask": masks[:, None], "label": LABELS, "scan": images},
        lambda images, masks: Usual(images, LABELS, masks.long()),
    ],
    ids=["tuple", "masks first", "masks with a channel", "dict", "dataclass"],
)
def test_signals_and_volumes_are_read(images: Tensor, batch: Any) -> None:
    masks = images[:, 0] > 0.5
    found = read_batch(batch(images, masks))
    assert_close(found.images, images)
    assert_close(found.labels, LABELS)
    assert_close(found.masks, masks)


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        ((SIGNALS, VOLUMES, IMAGES), IMAGES),
        ((SIGNALS, VOLUMES), VOLUMES),
        ((SIGNALS, IMAGES), IMAGES),
        ((VOLUMES, IMAGES.mul(255).byte()), VOLUMES),
        ((IMAGES.mul(255).byte(), SIGNALS), IMAGES.mul(255).byte()),
        ({"pixel_values": VOLUMES, "thumbnail": IMAGES}, VOLUMES),
        ({"spectrogram": IMAGES, "input": SIGNALS}, SIGNALS),
        ({"x": SIGNALS.transpose(1, 2)}, SIGNALS.transpose(1, 2)),
        ({"scan": VOLUMES.mul(255).byte(), "mask": VOLUMES[:, 0] > 0.5}, VOLUMES.mul(255).byte()),
    ],
    ids=[
        "images first",
        "then volumes",
        "before signals",
        "floating before whole",
        "whole before signals",
        "a name before the shape",
        "a signal's name before the shape",
        "a name for a short signal",
        "whole volumes",
    ],
)
def test_which_of_several_are_the_images(batch: Any, expected: Tensor) -> None:
    assert_close(read_batch(batch).images, expected)


def test_signals_where_the_user_says() -> None:
    tokens = torch.rand(4, 20, 2)
    found = read_batch((IMAGES, tokens, LABELS), images=1, masks=lambda batch: batch[1][:, 0] > 0.5)
    assert_close(found.images, tokens)
    assert_close(found.labels, LABELS)
    assert_close(found.masks, tokens[:, 0] > 0.5)
    with pytest.raises(
        ValueError, match=r"masks: got a float32 tensor \(4, 20\) .*; give truth values of shape \(4, 2\)\."
    ):
        read_batch((IMAGES, tokens, LABELS), images=1, masks=lambda batch: batch[1][..., 0])


# --- labels of a binary head


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(4,), (4, 1)], ids=str)
def test_zeros_and_ones_are_labels_though_floating(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    labels = torch.tensor([1, 0, 0, 1])
    floating = labels.to(dtype).reshape(shape)
    for batch in ((IMAGES, floating), (IMAGES, torch.rand(4), floating), {"image": IMAGES, "y": floating}):
        assert_close(read_batch(batch).labels, labels)
    assert_close(read_batch((IMAGES, torch.zeros(4), floating), labels=2).labels, labels)


def test_whole_numbers_come_before_zeros_and_ones() -> None:
    weights = torch.ones(4)
    check((IMAGES, weights, LABELS), has_masks=False)
    check({"image": IMAGES, "weight": weights, "species": LABELS}, has_masks=False)
    # What is called a label is one, and what is not is not, where another thing has the name.
    assert read_batch({"image": IMAGES, "label": weights, "site": LABELS}).labels.tolist() == [1, 1, 1, 1]
    assert read_batch({"image": IMAGES, "label": torch.rand(4), "weight": weights}).labels is None


@pytest.mark.parametrize(
    "labels",
    [
        torch.tensor([0.0, 1.0, 0.5, 1.0]),
        torch.tensor([0.0, 1.0, torch.nan, 1.0]),
        torch.tensor([0.0, 1.0, -1.0, 1.0]),
        torch.eye(4),
        torch.eye(4).long(),
        torch.ones(3),
    ],
    ids=["soft", "not finite", "negative", "several a row", "several a row, whole", "too few"],
)
def test_other_floating_values_are_no_labels(labels: Tensor) -> None:
    assert read_batch((IMAGES, labels)).labels is None
    with pytest.raises(ValueError, match=r"labels: got .* for 4 images; give whole numbers of shape \(4,\)"):
        read_batch((IMAGES, labels), labels=1)


def test_one_image() -> None:
    found = read_batch((IMAGES[:1], LABELS[:1], MASKS[:1]))
    assert (found.images.shape, found.labels.tolist(), found.masks.shape) == ((1, 3, 8, 6), [2], (1, 8, 6))


def test_gradients_do_not_come_along() -> None:
    assert not read_batch((IMAGES.clone().requires_grad_(), LABELS)).images.requires_grad


NO_IMAGES = {
    "numbers": (LABELS, r"which holds .*int64 tensor \(4,\)"),
    "nested": (
        ((IMAGES, LABELS), ["a.png"]),
        r"a tuple of a tuple of a float32 tensor \(4, 3, 8, 6\), .*, a list of a str",
    ),
    "nested dict": (
        {"inputs": {"image": IMAGES}, "label": LABELS},
        r"a dict of 'inputs': a dict of 'image': a float32 tensor \(4, 3, 8, 6\), 'label': .*int64 tensor \(4,\)",
    ),
    "two loaders at once": ([[IMAGES, LABELS], [IMAGES, LABELS]], r"a list of a list of a float32 tensor"),
    "several volumes": (
        {"scans": torch.rand(2, 5, 1, 3, 4, 4)},
        r"'scans': a float32 tensor \(2, 5, 1, 3, 4, 4\)",
    ),
    "tokens": ((torch.rand(4, 20, 8), LABELS), r"a tuple of a float32 tensor \(4, 20, 8\)"),
    "levels without channels": (
        (torch.zeros(4, 8, 9, dtype=torch.uint8), LABELS),
        r"a tuple of an? uint8 tensor \(4, 8, 9\)",
    ),
    "masks alone": ((MASKS[:, None], LABELS), r"a tuple of a bool tensor \(4, 1, 8, 6\)"),
    "flat": ((torch.rand(4, 784), LABELS), r"a tuple of a float32 tensor \(4, 784\), .*int64 tensor \(4,\)"),
    "dataclass": (Usual(LABELS, LABELS, LABELS), r"a Usual of 'image': .*int64 tensor \(4,\), 'label'"),
    "named tuple": (Triple(1, 2, 3), r"a Triple of 'image': an? int, 'label': an? int"),
    "nothing": (None, r"which holds a NoneType"),
    "empty": ((), r"which holds a tuple;"),
    "string": ("images", r"which holds a str;"),
    "array": (IMAGES.numpy(), r"which holds a ndarray;"),
}


@pytest.mark.parametrize(("batch", "words"), NO_IMAGES.values(), ids=NO_IMAGES.keys())
def test_no_images_says_what_the_batch_holds(batch: Any, words: str) -> None:
    with pytest.raises(
        ValueError,
        match=r"images: no images \(n, c, H, W\) found in the batch, which holds .*say where they are",
    ):
        read_batch(batch)
    with pytest.raises(ValueError, match=words):
        read_batch(batch)


def test_nested_images_can_be_named() -> None:
    check(((IMAGES, LABELS), MASKS), images=lambda batch: batch[0][0], labels=lambda batch: batch[0][1])


def test_a_wrong_key_says_what_the_batch_holds() -> None:
    batch = {"image": IMAGES, "label": LABELS}
    with pytest.raises(
        ValueError, match=r"images: no 'img' in a dict of 'image': a float32 tensor \(4, 3, 8, 6\), 'label'"
    ):
        read_batch(batch, images="img")
    with pytest.raises(ValueError, match="labels: no 'species' in a dict"):
        read_batch(batch, labels="species")
    with pytest.raises(ValueError, match="masks: no 2 in a tuple of"):
        read_batch((IMAGES, LABELS), masks=2)
    with pytest.raises(ValueError, match="labels: no 'label' in a tuple of"):
        read_batch((IMAGES, LABELS), labels="label")
    with pytest.raises(ValueError, match="images: no 0 in a Usual of"):
        read_batch(Usual(IMAGES, LABELS, MASKS), images=0)


def test_a_key_that_finds_the_wrong_thing() -> None:
    batch = {"image": IMAGES, "label": LABELS, "soft": torch.rand(4, 3), "mask": MASKS, "thumb": MASKS[:, :2]}
    with pytest.raises(ValueError, match=r"images: no images \(n, c, H, W\) found"):
        read_batch(batch, images="label")
    with pytest.raises(
        ValueError,
        match=r"labels: got a float32 tensor \(4, 3\) for 4 images; give whole numbers of shape \(4,\)",
    ):
        read_batch(batch, labels="soft")
    with pytest.raises(ValueError, match=r"labels: got a list of .* for 4 images"):
        read_batch(batch, labels=lambda batch: batch["label"].tolist())
    with pytest.raises(
        ValueError,
        match=r"masks: got a bool tensor \(4, 2, 6\) for images \(4, 3, 8, 6\); .* of shape \(4, 8, 6\)",
    ):
        read_batch(batch, masks="thumb")


def test_errors_of_a_users_function_are_his_own() -> None:
    with pytest.raises(ZeroDivisionError, match="by zero"):
        read_batch((IMAGES,), images=lambda batch: 1 / 0)
