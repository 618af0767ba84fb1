"""The probe batch: what it accepts, how it is kept, and how the collector chooses it."""

import io
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.testing import assert_close
from torchvision import transforms as v1
from torchvision.transforms import v2

from lightning_cam.checks import IMAGENET, Normalization, check_images
from lightning_cam.data.batch import Reading
from lightning_cam.data.probe import Probe, probe_from
from lightning_cam.data.sampler import Collector

HALF: Normalization = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def noise(count: int = 4, channels: int = 3, size: tuple[int, ...] = (8, 6), seed: int = 0) -> Tensor:
    return torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(seed))


def every_level(channels: int = 3, size: tuple[int, ...] = (16, 16)) -> Tensor:
    """uint8 images in which each channel has all 256 levels."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.stack([torch.randperm(256, generator=generator) for _ in range(2 * channels)])
    return levels.reshape(2, channels, *size).byte()


# ---- Probe


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


SIZES = {"signals": (11,), "volumes": (4, 8, 6)}


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


# ---- what is kept in a checkpoint


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


# ---- Collector


def stream(labels: list[int] | Tensor, batch: int = 7, size: tuple[int, int] = (2, 2)) -> Iterator[Reading]:
    """Batches of these classes; each image holds its number, so that one knows it again."""
    labels = torch.as_tensor(labels)
    images = torch.arange(len(labels)).float().reshape(-1, 1, 1, 1).expand(-1, 3, *size).contiguous()
    for part in torch.arange(len(labels)).split(batch):
        yield Reading(images[part], labels[part], None)


def collected(size: int, readings: Iterator[Reading]) -> Collector:
    collector = Collector(size)
    for reading in readings:
        collector.offer(reading)
        assert len(collector.chosen) <= size
    return collector


def numbers(probe: Probe) -> list[int]:
    return probe.images[:, 0, 0, 0].int().tolist()


def shuffled(labels: list[int], seed: int) -> list[int]:
    return torch.tensor(labels)[
        torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    ].tolist()


def fair(available: Counter[int], size: int) -> list[int]:
    """Counts per class, sorted, when one image after another goes to the class with the fewest that still has some."""
    given: Counter[int] = Counter()
    for _ in range(min(size, available.total())):
        given[
            min(
                (label for label in available if given[label] < available[label]),
                key=lambda label: given[label],
            )
        ] += 1
    return sorted(given.values())


DATA = {
    "two classes": [0] * 50 + [1] * 50,
    "ten classes": [label for label in range(10) for _ in range(20)],
    "some are rare": [0] * 60 + [1] * 2 + [2] * 30 + [3] * 5,
    "one is common": [5] * 90 + [7] * 3,
    "one class": [4] * 40,
    "fewer images than places": [0, 0, 0, 1, 2],
    "as many images as places": [0] * 10 + [1] * 6,
    "labels far apart": [10**9] * 30 + [-1] * 30 + [0] * 30,
}


@pytest.mark.parametrize("labels", DATA.values(), ids=DATA.keys())
@pytest.mark.parametrize("order", ["sorted", "reversed", "shuffled 1", "shuffled 2", "shuffled 3"])
def test_classes_are_balanced(labels: list[int], order: str) -> None:
    offered = {"sorted": sorted(labels), "reversed": sorted(labels, reverse=True)}.get(order) or shuffled(
        labels, int(order[-1])
    )
    probe, _ = collected(16, stream(offered)).probe()
    assert sorted(Counter(probe.labels.tolist()).values()) == fair(Counter(labels), 16)
    assert [offered[number] for number in numbers(probe)] == probe.labels.tolist()
    assert len(set(numbers(probe))) == len(probe)


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
@pytest.mark.parametrize("classes", [17, 100, 1000])
def test_more_classes_than_places_are_spread(order: str, classes: int) -> None:
    labels = [label for label in range(classes) for _ in range(3)]
    probe, _ = collected(16, stream(labels if order == "sorted" else shuffled(labels, 0), batch=64)).probe()
    chosen = probe.labels.tolist()
    assert len(set(chosen)) == 16
    if classes > 17:
        quarters = Counter(4 * label // classes for label in chosen)
        assert all(quarters[quarter] >= 2 for quarter in range(4)), f"{chosen} are not spread"


def test_which_classes_are_chosen_does_not_depend_on_the_order() -> None:
    labels = [label for label in range(100) for _ in range(3)]
    probes = [collected(8, stream(shuffled(labels, seed))).probe()[0] for seed in range(3)]
    assert len({tuple(sorted(probe.labels.tolist())) for probe in probes}) == 1


def test_the_first_images_of_a_class_are_kept() -> None:
    probe, _ = collected(4, stream([0] * 20 + [1] * 20)).probe()
    assert sorted(numbers(probe)) == [0, 1, 20, 21]


def test_images_without_labels() -> None:
    collector = Collector(5)
    for reading in stream(range(20)):
        collector.offer(Reading(reading.images, None, None))
    probe, serials = collector.probe(("a",))
    assert (numbers(probe), serials, probe.labels, probe.class_names) == (
        [0, 1, 2, 3, 4],
        [0, 1, 2, 3, 4],
        None,
        ("a",),
    )


def test_masks_come_along() -> None:
    collector = Collector(4)
    for reading in stream([0] * 10 + [1] * 10):
        collector.offer(Reading(reading.images, reading.labels, reading.images[:, 0] % 2 == 1))
    probe, _ = collector.probe()
    assert probe.masks.flatten(1).all(dim=1).tolist() == [number % 2 == 1 for number in numbers(probe)]
    assert set(numbers(probe)) == {0, 1, 10, 11}


def test_classes_are_in_turn() -> None:
    probe, serials = collected(7, stream([2] * 20 + [0] * 20 + [1] * 20)).probe()
    assert probe.labels.tolist() == [0, 1, 2, 0, 1, 2, probe.labels[6]]
    assert len(set(serials)) == 7
    for label in range(3):
        ours = [
            number
            for number, known in zip(numbers(probe), probe.labels.tolist(), strict=True)
            if known == label
        ]
        assert ours == sorted(ours), "within a class, in the order of the loader"


def test_images_of_another_shape_are_counted() -> None:
    collector = Collector(6)
    for size in ((2, 2), (3, 2), (2, 2), (2, 3)):
        for reading in stream([0, 1], size=size):
            collector.offer(reading)
    assert collector.skipped == 4
    probe, _ = collector.probe()
    assert probe.images.shape == (4, 3, 2, 2)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_signals_and_volumes_are_collected(size: tuple[int, ...]) -> None:
    images, labels = noise(12, size=size), torch.arange(12) % 2
    collector = Collector(20)
    collector.offer(Reading(images, labels, images[:, 0] > 0.5))
    collector.offer(Reading(noise(2), labels[:2], noise(2)[:, 0] > 0.5))
    assert collector.skipped == 2
    probe, serials = collector.probe()
    assert serials == list(range(12))
    assert_close(probe.images, images)
    assert_close(probe.masks, images[:, 0] > 0.5)


def test_images_that_lost_their_labels_or_masks_are_counted() -> None:
    collector = Collector(8)
    (reading,) = stream([0, 1])
    for other in (
        reading,
        Reading(reading.images, None, None),
        Reading(reading.images, reading.labels, reading.images[:, 0] > 0),
    ):
        collector.offer(other)
    assert collector.skipped == 4
    assert len(collector.probe()[0]) == 2


def test_what_is_kept_are_copies() -> None:
    collector = Collector(4)
    for reading in stream([0, 1, 0, 1]):
        masks = torch.ones(len(reading.images), 2, 2, dtype=torch.bool)
        collector.offer(Reading(reading.images, reading.labels, masks))
        for part in (reading.images, reading.labels, masks):
            part.zero_()
    probe, _ = collector.probe()
    assert numbers(probe) == [0, 1, 2, 3]
    assert probe.labels.tolist() == [0, 1, 0, 1]
    assert probe.masks.all()


def test_a_copy_does_not_keep_its_batch_in_memory() -> None:
    collector = collected(4, stream([0] * 7))
    assert all(
        candidate.image.untyped_storage().nbytes() == candidate.image.nbytes for candidate in collector.chosen
    )


@pytest.mark.usefixtures("unchecked")  # beartype itself draws random numbers
def test_no_random_number_is_used() -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()
    collected(5, stream(list(range(30)) * 2)).probe()
    assert_close(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert all(np.array_equal(now, then) for now, then in zip(np.random.get_state(), before[2], strict=True))


def test_rehearsed_images_are_not_taken_twice() -> None:
    labels = [0] * 20 + [1] * 20
    collector = Collector(8)
    for i, reading in enumerate(stream(labels, batch=4)):
        if i < 1:
            collector.offer(reading)
    rehearsed, serials = collector.probe()
    collector.end_rehearsal()
    for reading in stream(labels, batch=4):
        collector.offer(reading)
    probe, later = collector.probe()
    assert sorted(numbers(probe)) == [0, 1, 2, 3, 20, 21, 22, 23]
    assert numbers(rehearsed) == [0, 1, 2, 3]
    # An image keeps its serial number, by which the look at the untrained model is found again.
    known = dict(zip(numbers(rehearsed), serials, strict=True))
    assert all(
        dict(zip(numbers(probe), later, strict=True))[number] == serial for number, serial in known.items()
    )


@pytest.mark.parametrize("rehearsed", [[0], [1], [0, 1, 2], [2, 0]], ids=str)
@pytest.mark.parametrize("labelled", [True, False])
def test_rehearsed_images_are_not_taken_twice_where_there_is_room(
    rehearsed: list[int], labelled: bool
) -> None:
    """A shuffled loader rehearses other images than it begins with."""
    readings = [
        Reading(part.images, part.labels if labelled else None, None)
        for part in stream([0, 1, 1] * 4, batch=4)
    ]
    collector = Collector(20)
    for i in rehearsed:
        collector.offer(readings[i])
    collector.end_rehearsal()
    for reading in readings:
        collector.offer(reading)
    assert sorted(numbers(collector.probe()[0])) == list(range(12))


def test_equal_images_of_a_dataset_may_both_be_taken() -> None:
    collector = Collector(4)
    (reading,) = stream([0, 0])
    collector.offer(Reading(reading.images[:1].expand(2, -1, -1, -1), reading.labels, None))
    assert len(collector.probe()[0]) == 2


def test_one_place() -> None:
    probe, _ = collected(1, stream([0] * 5 + [1] * 5)).probe()
    assert len(probe) == 1
