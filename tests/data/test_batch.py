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
    "keys that are numbers": {0: IMAGES, 1: LABELS, 2: MASKS},
    "named tuple": Triple(IMAGES, LABELS, MASKS),
    "dataclass": Usual(IMAGES, LABELS, MASKS),
}


@pytest.mark.parametrize("batch", COMPLETE.values(), ids=COMPLETE.keys())
def test_a_batch_is_read(batch: Any) -> None:
    check(batch)


@pytest.mark.parametrize(
    "batch",
    [
        {"picture": IMAGES, "species": LABELS, "outline": MASKS},
        Odd(IMAGES, LABELS, MASKS),
        Unusual("today", MASKS, IMAGES, LABELS),
    ],
    ids=["dict", "named tuple", "dataclass"],
)
def test_of_unusual_names_images_and_masks_are_told_by_their_shape_and_labels_by_nothing(batch: Any) -> None:
    check(batch, has_labels=False)
    check(batch, labels="species")


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
    assert read_batch({"image": IMAGES, "label": ["a", "b", "c", "d"], "site": site}).labels is None
    assert read_batch({"image": IMAGES, "site": site, "scan": scan}).labels is None


@pytest.mark.parametrize("name", ["idx", "index", "id", "site", "male", "age", "species"])
def test_a_lone_other_name_is_no_label(name: str) -> None:
    """A hospital's number, a sex, an age or an index beside the image is not what is classified."""
    assert read_batch({"image": IMAGES, name: LABELS}).labels is None
    assert read_batch({"image": IMAGES, name: LABELS.float() % 2}).labels is None
    assert_close(read_batch({"image": IMAGES, name: LABELS}, labels=name).labels, LABELS)


COUNTED, MANY = torch.arange(32), torch.rand(32, 3, 8, 6)
CLASSES = torch.arange(32) * 7 % 5
HOT = torch.rand(32, 5, generator=torch.Generator().manual_seed(5)) > 0.6
NUMBERS = torch.rand(32, generator=torch.Generator().manual_seed(6)) * 80


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        ((COUNTED, MANY, CLASSES), CLASSES),
        ((MANY, CLASSES, COUNTED + 64), CLASSES),
        ((MANY, COUNTED + 64), None),
        ((MANY, CLASSES, torch.ones(32)), CLASSES),
        ((MANY, CLASSES // 2, CLASSES), None),
        ((MANY, HOT.float(), torch.ones(32)), None),
        ((MANY, HOT, CLASSES % 2), None),
        ((MANY, HOT.long(), CLASSES), None),
        ((MANY, NUMBERS, CLASSES % 2), None),
        ((MANY, NUMBERS), None),
        ((MANY, HOT.float()), None),
        ((MANY, torch.rand(32, 7), CLASSES), CLASSES),
        ((MANY, torch.ones(32)), torch.ones(32, dtype=torch.int64)),
    ],
    ids=[
        "an index first",
        "an index last",
        "an index alone",
        "weights",
        "coarse and fine classes",
        "several labels and weights",
        "several labels and a site",
        "several labels, whole, and a site",
        "a bone's age and a sex",
        "numbers alone",
        "several labels alone",
        "features",
        "ones alone",
    ],
)
def test_what_of_a_tuple_is_the_label(batch: Any, expected: Tensor | None) -> None:
    found = read_batch(batch).labels
    assert found is None if expected is None else torch.equal(found, expected)


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int64, torch.float32, torch.float64], ids=str
)
def test_several_labels_that_are_named(dtype: torch.dtype) -> None:
    hot = HOT.to(dtype)
    for batch, how in (({"img": MANY, "idx": COUNTED, "lab": hot}, "lab"), ((MANY, CLASSES, hot), 2)):
        found = read_batch(batch, labels=how)
        assert_close(found.labels, hot if hot.is_floating_point() else hot.long())
        assert found.classes is None
    assert_close(read_batch({"image": MANY, "site": CLASSES, "labels": hot}).labels.bool(), HOT)


def test_labels_that_nobody_knows() -> None:
    uncertain = torch.where(NUMBERS[:, None] > 60, -1, HOT.long())
    assert_close(read_batch((MANY, uncertain), labels=1).labels, uncertain)
    missing = torch.where(NUMBERS[:, None] > 60, torch.nan, HOT.float())
    assert_close(read_batch((MANY, missing), labels=1).labels, missing, equal_nan=True)


def test_numbers_that_are_named() -> None:
    batch = {"image": MANY, "boneage": NUMBERS[:, None], "male": CLASSES % 2}
    assert read_batch(batch).labels is None
    found = read_batch(batch, labels="boneage")
    assert_close(found.labels, NUMBERS)
    assert found.classes is None
    assert_close(read_batch({"image": MANY, "target": NUMBERS}).labels, NUMBERS)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_truth_values_are_labels(shape: tuple[int, ...]) -> None:
    truth = (LABELS == 2).reshape(shape)
    for found in (
        read_batch((IMAGES, truth)),
        read_batch((IMAGES, truth), labels=1),
        read_batch({"x": IMAGES, "y": truth}),
    ):
        assert found.labels.tolist() == [1, 0, 0, 1]
        assert found.labels is found.classes


def test_a_function_may_say_that_there_are_none() -> None:
    check(
        (IMAGES, LABELS, MASKS),
        has_labels=False,
        has_masks=False,
        labels=lambda batch: None,
        masks=lambda batch: None,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_floating_masks_that_are_called_so(dtype: torch.dtype) -> None:
    check({"image": IMAGES, "label": LABELS, "mask": MASKS.to(dtype)})
    check({"image": IMAGES, "label": LABELS, "masks": MASKS[:, None].to(dtype)})
    soft = MASKS.to(dtype) * 0.5
    check({"image": IMAGES, "label": LABELS, "mask": soft}, has_masks=False)
    check({"image": IMAGES, "label": LABELS, "outline": MASKS.to(dtype)}, has_masks=False)


def test_a_list_of_images_is_refused_with_the_way_that_detectors_go() -> None:
    sizes = [torch.rand(3, 8, 6), torch.rand(3, 9, 6)]
    with pytest.raises(ValueError, match=r"a list of images, as a detector takes it, .* network=lambda"):
        read_batch((sizes, [{"boxes": torch.zeros(1, 4)}] * 2))


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
    for batch in ((IMAGES, floating), {"image": IMAGES, "y": floating}):
        assert_close(read_batch(batch).labels, labels)
    assert_close(read_batch((IMAGES, torch.zeros(4), floating), labels=2).labels, labels)


def test_weights_are_no_labels_beside_another_thing() -> None:
    weights = torch.ones(4)
    check((IMAGES, weights, LABELS), has_masks=False)
    check({"image": IMAGES, "weight": weights, "label": LABELS}, has_masks=False)
    # What is called a label is one, and what is not is not, where another thing has the name.
    assert read_batch({"image": IMAGES, "label": weights, "site": LABELS}).labels.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    "labels",
    [
        torch.tensor([0.0, 1.0, 0.5, 1.0]),
        torch.tensor([0.0, 1.0, torch.nan, 1.0]),
        torch.tensor([0.0, 1.0, -1.0, 1.0]),
        torch.eye(4),
        torch.eye(4).long(),
        torch.rand(4, 3),
    ],
    ids=["soft", "not finite", "negative", "several a row", "several a row, whole", "soft, several a row"],
)
def test_other_values_are_labels_only_where_somebody_says_so(labels: Tensor) -> None:
    assert read_batch((IMAGES, labels)).labels is None
    assert_close(read_batch((IMAGES, labels), labels=1).labels, labels, equal_nan=True)


@pytest.mark.parametrize(
    "labels",
    [
        torch.ones(3),
        torch.arange(12).reshape(4, 3),
        torch.ones(4, 2, 2),
        torch.ones(4, dtype=torch.complex64),
    ],
    ids=["too few", "several numbers a row", "places", "complex"],
)
def test_what_can_be_no_labels_is_refused(labels: Tensor) -> None:
    assert read_batch((IMAGES, labels)).labels is None
    words = r"labels: got .* for 4 images; give whole numbers of shape \(4,\), or of several labels zeros and"
    with pytest.raises(ValueError, match=words):
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
    batch = {"image": IMAGES, "label": LABELS, "soft": torch.rand(3, 4), "mask": MASKS, "thumb": MASKS[:, :2]}
    with pytest.raises(ValueError, match=r"images: no images \(n, c, H, W\) found"):
        read_batch(batch, images="label")
    with pytest.raises(
        ValueError,
        match=r"labels: got a float32 tensor \(3, 4\) for 4 images; give whole numbers of shape \(4,\)",
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
