"""Images, labels and masks in a batch, scores in an output, names and normalization in a dataset."""

import random
from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset
from torchvision import transforms as v1
from torchvision.datasets import FakeData
from torchvision.datasets.vision import StandardTransform
from torchvision.models import ResNet18_Weights
from torchvision.transforms import v2

from lightning_cam.attribution.outputs import read_scores
from lightning_cam.checks import IMAGENET
from lightning_cam.data import dataset as datasets
from lightning_cam.data.batch import read_batch
from lightning_cam.data.dataset import class_names, normalization, nth_loader
from lightning_cam.selectors import check_selector, describe, imported

IMAGES = torch.rand(4, 3, 8, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([2, 0, 1, 2])
MASKS = torch.rand(4, 8, 6, generator=torch.Generator().manual_seed(1)) > 0.5
SCORES = torch.rand(4, 5, generator=torch.Generator().manual_seed(2))
FEATURES = torch.rand(4, 7)

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


def check(batch: Any, has_labels: bool = True, has_masks: bool = True, **how: Any) -> None:
    found = read_batch(batch, **how)
    assert_close(found.images, IMAGES)
    assert (found.labels is not None, found.masks is not None) == (has_labels, has_masks)
    if has_labels:
        assert_close(found.labels, LABELS)
    if has_masks:
        assert_close(found.masks, MASKS)


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


SINGLE = torch.tensor([-0.5, 2.0, 0.0, 1e-3])


@pytest.mark.parametrize(
    "output",
    [
        SINGLE,
        SINGLE[:, None],
        {"loss": torch.tensor(0.3), "logits": SINGLE[:, None]},
        (None, SINGLE),
        SimpleNamespace(logits=SINGLE),
    ],
    ids=["n", "n 1", "dict", "tuple", "object"],
)
def test_one_score_per_image_becomes_two_classes(output: Any) -> None:
    scores = read_scores(output)
    assert_close(scores, torch.stack([-SINGLE, SINGLE], dim=1), rtol=0, atol=0)
    # The prediction is that of the logit's sign, and the softmax of half the scores its sigmoid.
    assert_close((scores / 2).softmax(dim=1)[:, 1], SINGLE.sigmoid())


def test_one_score_per_image_where_the_user_says() -> None:
    assert_close(
        read_scores({"other": SCORES, "disease": SINGLE}, "disease"), torch.stack([-SINGLE, SINGLE], dim=1)
    )
    assert_close(read_scores(SCORES, lambda output: output[:, 0])[:, 1], SCORES[:, 0])


def test_scores_of_all_classes_come_before_a_single_one() -> None:
    assert read_scores((SINGLE, SCORES)) is SCORES
    assert read_scores((SINGLE[:, None], SCORES)) is SCORES
    assert read_scores({"logits": SINGLE, "answer": SCORES}) is SCORES


def test_a_single_score_keeps_its_graph() -> None:
    single = SINGLE.clone().requires_grad_()
    read_scores(single)[:, 1].sum().backward()
    assert_close(single.grad, torch.ones(4))


@pytest.mark.parametrize("shape", [(4, 5, 8, 8), (4, 1, 8, 8), (4, 5, 7), (4, 5, 2, 2, 2)], ids=str)
def test_scores_at_positions_only_where_any_shape_will_do(shape: tuple[int, ...]) -> None:
    dense = torch.rand(shape)
    for output in (
        dense,
        {"out": dense, "aux": torch.rand(shape)},
        (None, dense),
        SimpleNamespace(logits=dense),
    ):
        assert read_scores(output, any_shape=True) is dense
        with pytest.raises(ValueError, match=r"scores: no class scores \(n, C\) found"):
            read_scores(output)
    assert read_scores({"maps": dense}, "maps", any_shape=True) is dense
    with pytest.raises(ValueError, match=r"scores: no class scores \(n, C\) found"):
        read_scores({"maps": dense}, "maps")


def test_plain_scores_come_before_those_at_positions() -> None:
    assert read_scores({"out": torch.rand(4, 5, 8, 8), "answer": SCORES}, any_shape=True) is SCORES


def test_scores_of_an_object() -> None:
    assert read_scores(SimpleNamespace(logits=SCORES, hidden=FEATURES)) is SCORES
    assert read_scores(SimpleNamespace(out=FEATURES, logits=SCORES)) is SCORES


@pytest.mark.parametrize("how", [1.5, True, [1]])
def test_how_is_a_key_an_index_or_a_function(how: object) -> None:
    with pytest.raises(TypeError, match=r"labels: got .*; give a key, an index, a function, or None"):
        check_selector("labels", how)


def second(batch: tuple) -> Tensor:
    return batch[1]


class Last:
    def __call__(self, batch: tuple) -> Tensor:
        return batch[-1]


def test_functions_by_import_path() -> None:
    batch = (LABELS, IMAGES, torch.zeros(4, 8, 6, dtype=torch.bool), MASKS)
    check(batch, images=f"{__name__}.second", masks=f"{__name__}.Last")
    assert imported(f"{__name__}.second") is second
    assert isinstance(imported(f"{__name__}.Last"), Last)  # of a class an instance
    assert imported(f"{__name__}.Last") is imported(f"{__name__}.Last")  # one for all batches
    for other in (
        "layercam",
        "reading.nothing",
        f"{__name__}.LABELS",
        f"{__name__}.third",
        "a..b",
        ".",
        "no_module.f",
        "",
        1,
        second,
    ):
        assert imported(other) is other


def test_a_key_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_script.py").write_text("raise AssertionError('a training begins')")
    monkeypatch.syspath_prepend(tmp_path)
    check({"a_script.image": IMAGES, "label": LABELS}, images="a_script.image", has_masks=False)
    with pytest.raises(AssertionError, match="a training begins"):  # what an import raises is told
        read_batch({"image": IMAGES, "label": LABELS}, images="a_script.image")


class Loop:
    """A wrapper that wraps itself."""

    @property
    def dataset(self) -> "Loop":
        return self


@pytest.mark.parametrize("mean", [None, "grey", lambda: 0.5, ()])
def test_a_mean_that_is_no_number_is_no_normalization(mean: object) -> None:
    step = SimpleNamespace(mean=mean, std=(0.5,))
    assert normalization(SimpleNamespace(dataset=SimpleNamespace(transform=step))) is None
    assert (
        normalization(SimpleNamespace(dataset=SimpleNamespace(transform=SimpleNamespace(mean=0.5, std=0.0))))
        is None
    )


def test_datasets_are_not_walked_through() -> None:
    class Counts(list):
        def __iter__(self) -> None:
            raise AssertionError("nothing is iterated")

    assert normalization(SimpleNamespace(dataset=Counts([1, 2]))) is None
    assert class_names(Loop()) is None


def test_the_preset_of_torchvisions_weights() -> None:
    preset = ResNet18_Weights.DEFAULT.transforms()
    mean, std = normalization(SimpleNamespace(dataset=SimpleNamespace(transform=preset)))
    assert (mean, std) == IMAGENET


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


@dataclass
class Output:
    loss: Tensor | None
    logits: Tensor
    hidden_states: tuple[Tensor, ...] | None = None


class HuggingFaceOutput(OrderedDict):
    """As transformers has it: a dataclass that is a dict, whose keys are the fields that are not None."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) is not None:
                self[field.name] = getattr(self, field.name)


HuggingFaceOutput.__annotations__ = {"loss": Tensor, "hidden": Tensor, "logits": Tensor}
HuggingFaceOutput.loss = HuggingFaceOutput.hidden = HuggingFaceOutput.logits = None
HuggingFaceOutput = dataclass(HuggingFaceOutput)

OUTPUTS = {
    "tensor": SCORES,
    "tuple": (SCORES, [torch.rand(4, 8)]),
    "list, after other things": [None, torch.tensor(0.3), torch.rand(4, 5, 5), SCORES],
    "dict": {"features": FEATURES, "logits": SCORES},
    "dict of scores": {"features": FEATURES, "scores": SCORES},
    "dict with another name": {"map": torch.rand(4, 5, 2, 2), "answer": SCORES},
    "dataclass": Output(torch.tensor(0.3), SCORES, (FEATURES,)),
    "dataclass and dict": HuggingFaceOutput(hidden=FEATURES, logits=SCORES),
    "named tuple": namedtuple("Answer", "features logits")(FEATURES, SCORES),
}


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS.keys())
def test_scores_are_found(output: Any) -> None:
    assert_close(read_scores(output), SCORES)


def test_scores_where_the_user_says() -> None:
    assert_close(read_scores((FEATURES, SCORES), 1), SCORES)
    assert_close(read_scores({"logits": FEATURES, "answer": SCORES}, "answer"), SCORES)
    assert_close(read_scores({"heads": [FEATURES, SCORES]}, lambda output: output["heads"][1]), SCORES)
    assert_close(read_scores(SimpleNamespace(logits=SCORES), "logits"), SCORES)


def test_scores_keep_their_graph_and_precision() -> None:
    scores = SCORES.bfloat16().requires_grad_()
    assert read_scores((FEATURES.long(), scores)) is scores


NO_SCORES = {
    "whole numbers": (LABELS[:, None], r"which is .*int64 tensor \(4, 1\)"),
    "maps": ({"out": torch.rand(4, 5, 8, 8)}, r"which is a dict of 'out': a float32 tensor \(4, 5, 8, 8\)"),
    "object": (
        SimpleNamespace(answer=SCORES),
        r"which is a SimpleNamespace; say where they are with scores=",
    ),
    "object without scores": (
        SimpleNamespace(logits=LABELS),
        r"which is a SimpleNamespace; say where they are with scores=",
    ),
    "nothing": (None, "which is a NoneType"),
    "nested": (([SCORES],), r"which is a tuple of a list of a float32 tensor"),
}


@pytest.mark.parametrize(("output", "words"), NO_SCORES.values(), ids=NO_SCORES.keys())
def test_no_scores_says_what_the_output_is(output: Any, words: str) -> None:
    with pytest.raises(
        ValueError, match=r"scores: no class scores \(n, C\) found in the model's output, " + words
    ):
        read_scores(output)


def test_wrong_scores() -> None:
    with pytest.raises(ValueError, match=r"scores: no 'logits' in a tuple of a float32 tensor"):
        read_scores((SCORES,), "logits")
    with pytest.raises(ValueError, match=r"scores: no class scores \(n, C\) found"):
        read_scores({"loss": torch.tensor(1.0), "logits": SCORES}, "loss")


def test_describe_names_eight_parts_and_no_more() -> None:
    words = describe({f"key{i}": i for i in range(100)})
    assert "'key7'" in words
    assert "'key8'" not in words


class Named(Dataset):
    def __init__(self, transform: Any = None, classes: Any = ("cat", "dog"), **more: Any) -> None:
        self.transform, self.classes = transform, classes
        vars(self).update(more)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        raise AssertionError("nothing is to be loaded")


MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
FOUND = (("cat", "dog"), (MEAN, STD))
DATASET = Named(v1.Compose([v1.ToTensor(), v1.Normalize(MEAN, STD)]))
PLAIN = TensorDataset(IMAGES, LABELS)
WRAPPED = {
    "dataset": DATASET,
    "subset": Subset(DATASET, [0, 1]),
    "subset of a subset": Subset(Subset(DATASET, [0, 1]), [0]),
    "concatenated": ConcatDataset([DATASET, DATASET]),
    "concatenated, the second one knows": ConcatDataset([PLAIN, DATASET]),
    "subset of concatenated": Subset(ConcatDataset([DATASET]), [0]),
    "random split": torch.utils.data.random_split(DATASET, [2, 2], torch.Generator())[0],
    "loader": DataLoader(DATASET),
    "loader of a subset": DataLoader(Subset(DATASET, [0])),
    "list of loaders": [DataLoader(PLAIN), DataLoader(DATASET)],
    "tuple of loaders": (DataLoader(DATASET),),
    "dict of loaders": {"a": DataLoader(PLAIN), "b": DataLoader(DATASET)},
    "any iterable with a dataset": SimpleNamespace(dataset=DATASET),
}


@pytest.mark.parametrize("loaders", WRAPPED.values(), ids=WRAPPED.keys())
def test_facts_are_found_below_wrappers(loaders: Any) -> None:
    assert (datasets.class_names(loaders), datasets.normalization(loaders)) == FOUND


TRANSFORMS = {
    "v1 Compose": v1.Compose([v1.ToTensor(), v1.Normalize(MEAN, STD)]),
    "v1 nested": v1.Compose([v1.Compose([v1.ToTensor(), v1.Normalize(MEAN, STD)])]),
    "v2 Compose": v2.Compose(
        [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(MEAN), list(STD))]
    ),
    "v2 nested": v2.Compose(
        [v2.Compose([v2.ToImage()]), v2.RandomApply([v2.Normalize(list(MEAN), list(STD))], p=1.0)]
    ),
    "sequential": nn.Sequential(v1.ConvertImageDtype(torch.float32), v1.Normalize(MEAN, STD)),
    "list": [v1.ToTensor(), v1.Normalize(MEAN, STD)],
    "alone": v1.Normalize(MEAN, STD),
    "the last of two": v1.Compose([v1.Normalize((0.5,), (0.5,)), v1.Normalize(MEAN, STD)]),
    "tensors": v1.Normalize(torch.tensor(MEAN, dtype=torch.float64), torch.tensor(STD, dtype=torch.float64)),
    "standard transform": StandardTransform(
        v1.Compose([v1.ToTensor(), v1.Normalize(MEAN, STD)]), v1.Lambda(int)
    ),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
@pytest.mark.parametrize("attribute", ["transform", "transforms"])
def test_normalization_is_found_in_transforms(transform: Any, attribute: str) -> None:
    assert datasets.normalization(DataLoader(Named(**{attribute: transform}))) == (MEAN, STD)


def test_normalization_of_a_torchvision_dataset() -> None:
    transform = v2.Compose(
        [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(MEAN), list(STD))]
    )
    assert datasets.normalization(FakeData(4, (3, 8, 8), transform=transform)) == (MEAN, STD)
    # A joint transform of image and target, as v2 has it, lies in ``transforms`` alone.
    dataset = FakeData(4, (3, 8, 8))
    dataset.transform, dataset.transforms = None, transform
    assert datasets.normalization(dataset) == (MEAN, STD)


@pytest.mark.parametrize(("mean", "std"), [(0.5, 0.25), ((0.5,), 0.25)], ids=["numbers", "mixed"])
def test_normalization_by_one_number(mean: Any, std: Any) -> None:
    """torchvision takes a plain number for all channels; the sanity check must not fail because of it."""
    transform = v1.Normalize(mean, std)
    assert_close(transform(torch.ones(1, 2, 2)), torch.full((1, 2, 2), 2.0))
    assert datasets.normalization(Named(transform)) == ((0.5,), (0.25,))


NOTHING = {
    "none": None,
    "tensors": PLAIN,
    "no transform": Named(None, None),
    "no normalization": Named(v1.Compose([v1.ToTensor(), v1.Resize(4)]), None),
    "a function": Named(lambda image: image, None),
    "a list of numbers": [1, 2],
    "no loader": [],
    "no names": Named(None, []),
    "one string": Named(None, "cat"),
    "a number": Named(None, 10),
}


@pytest.mark.parametrize("loaders", NOTHING.values(), ids=NOTHING.keys())
def test_nothing_is_found_where_nothing_is(loaders: Any) -> None:
    assert (datasets.class_names(loaders), datasets.normalization(loaders)) == (None, None)


def test_class_names_become_text() -> None:
    assert datasets.class_names(Named(classes=[3, "dog"])) == ("3", "dog")


@pytest.mark.usefixtures("unchecked")  # beartype itself draws random numbers
def test_nothing_is_iterated_and_no_random_number_used() -> None:
    before = torch.get_rng_state(), random.getstate()
    loader = DataLoader(DATASET, shuffle=True)
    datasets.class_names(loader)
    datasets.normalization(loader)
    assert_close(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_nth_loader() -> None:
    first, second = DataLoader(PLAIN), DataLoader(DATASET)
    assert nth_loader([first, second], 1) is second
    assert nth_loader((first, second), 0) is first
    assert nth_loader({"a": first, "b": second}, 1) is second
    assert nth_loader(first, 0) is first
