"""Measures of maps: equal to their plain twins, right where the truth is known, and without a trace."""

import random
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from reference import faithfulness as book
from side_by_side import peak_bytes
from support.networks import net, pictures
from support.small_nets import maps, noise, small_net
from support.traces import assert_same, state, variant_untidy
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_cam import explain
from lightning_cam.metrics import removal as covering
from lightning_cam.metrics.faithfulness import (
    average_drop,
    deletion,
    increase_in_confidence,
    insertion,
    road,
    road_curves,
)
from lightning_cam.metrics.randomization import parameter_randomization

MEASURES = {
    "deletion": deletion,
    "insertion": insertion,
    "average_drop": average_drop,
    "increase_in_confidence": increase_in_confidence,
    "road": road,
}
PERCENTAGES = [10, 30, 50, 70, 90]
TWINS = {
    "deletion": lambda score, image, saliency: book.deletion(score, image, saliency, steps=13),
    "insertion": lambda score, image, saliency: book.insertion(score, image, saliency, steps=13),
    "average_drop": book.average_drop,
    "increase_in_confidence": book.increase_in_confidence,
    "road": lambda score, image, saliency: book.road(score, image, saliency, noise(image.shape), PERCENTAGES),
}
OPTIONS = {"deletion": {"steps": 13}, "insertion": {"steps": 13}, "road": {"percentages": PERCENTAGES}}
TOLERANCE = {
    torch.float64: 1e-6,
    torch.float32: 1e-5,
}  # the noise, and an imputation's start, are float32 in both
WITHOUT_CLASS = {"target": lambda scores, labels: scores.mean(dim=1)}


def score_of(model: nn.Module, target: int) -> Callable[[np.ndarray], float]:
    """Softmax probability of one class of one image, float64."""
    model = model.double()

    def score(image: np.ndarray) -> float:
        with torch.no_grad():
            return float(model(torch.tensor(image)[None]).softmax(dim=1)[0, target])

    return score


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("channels", "size"), [(3, (9, 12)), (1, (12, 7))])
@pytest.mark.parametrize("with_labels", [False, True])
def test_the_plain_twin(
    measure: str, dtype: torch.dtype, channels: int, size: tuple[int, int], with_labels: bool
) -> None:
    images, saliency = pictures(4, size, channels), maps(4, size)
    labels = torch.tensor([0, 3, 1, 2]) if with_labels else None
    found = MEASURES[measure](
        small_net(channels).to(dtype), images, saliency, labels=labels, **OPTIONS.get(measure, {})
    )
    classes = small_net(channels)(images).argmax(dim=1) if labels is None else labels
    expected = [
        TWINS[measure](score_of(small_net(channels), int(target)), image, one)
        for target, image, one in zip(
            classes, images.double().numpy(), saliency.double().numpy(), strict=True
        )
    ]
    assert found.shape == (4,)
    assert found.dtype == dtype
    assert_close(found.double(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=TOLERANCE[dtype])


def test_road_curves_and_their_twin() -> None:
    images, saliency = pictures(2, (9, 12)), maps(2, (9, 12))
    most, least = road_curves(
        small_net(), images, saliency, labels=torch.tensor([1, 2]), percentages=PERCENTAGES
    )
    for i, target in enumerate((1, 2)):
        expected = book.road_curves(
            score_of(small_net(), target),
            images[i].double().numpy(),
            saliency[i].numpy(),
            noise((3, 9, 12)),
            PERCENTAGES,
        )
        assert_close(torch.stack([most[i], least[i]]), torch.tensor(expected), rtol=0, atol=1e-5)


def test_signals_and_volumes() -> None:
    for size in ((30,), (6, 7, 8)):
        images, saliency = torch.rand(3, 2, *size), torch.rand(3, *size)
        brightness = nn.Flatten()
        for measure in (deletion, insertion, average_drop, increase_in_confidence):
            assert measure(brightness, images, saliency, **WITHOUT_CLASS).isfinite().all()
        with pytest.raises(
            ValueError,
            match=r"images: got .* a removed pixel has eight neighbours in images \(n, c, H, W\) only",
        ):
            road(brightness, images, saliency, **WITHOUT_CLASS)


# --- Where the truth is known


class Window(nn.Module):
    """Answers with the mean brightness of one window, and its opposite: what counts is known to the pixel."""

    where = (slice(None), slice(4, 10), slice(6, 11))

    def forward(self, images: Tensor) -> Tensor:
        inside = images[:, *self.where].mean(dim=(1, 2, 3))
        return torch.stack([-4 * inside, 4 * inside], dim=1)


def window_saliency(count: int) -> Tensor:
    saliency = torch.zeros(count, 16, 16)
    saliency[:, *Window.where[1:]] = 1
    return saliency


def test_deletion_of_a_window_is_known() -> None:
    inside = {"target": lambda scores, labels: scores[:, 1] / 4}
    images, saliency, share = torch.ones(2, 3, 16, 16), window_saliency(2), 30 / 256
    assert_close(deletion(Window(), images, saliency, steps=256, **inside), torch.full((2,), share / 2))
    assert_close(deletion(Window(), images, -saliency, steps=256, **inside), torch.full((2,), 1 - share / 2))
    assert_close(
        deletion(Window(), images, saliency, steps=256, baseline=0.5, **inside),
        torch.full((2,), 0.5 + share / 4),
    )
    per_image = torch.tensor([0.5, 1.0])[:, None, None, None]
    found = deletion(Window(), images, saliency, steps=256, baseline=per_image, **inside)
    assert_close(found, torch.tensor([0.5 + share / 4, 1.0]))


def window_images(count: int) -> Tensor:
    images = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(5)) * 0.2
    images[:, *Window.where] += 0.8
    return images


@pytest.mark.parametrize("measure", ["deletion", "insertion", "average_drop", "road"])
def test_perfect_beats_random_beats_inverted(measure: str) -> None:
    images, right = window_images(6), window_saliency(6)
    noisy = torch.rand(6, 16, 16, generator=torch.Generator().manual_seed(6))
    orders = [MEASURES[measure](Window(), images, saliency) for saliency in (right, noisy, 1 - right)]
    sign = 1 if measure in ("insertion", "road") else -1
    for better, worse in pairwise(orders):
        assert (sign * (better - worse) > 0.02).all()


def test_road_is_odd_in_the_order() -> None:
    images = window_images(3)
    saliency = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(7))
    assert_close(road(Window(), images, -saliency), -road(Window(), images, saliency))
    most, least = road_curves(Window(), images, window_saliency(3))
    assert most.shape == least.shape == (3, 9)
    assert (least[:, 0] > 0.95).all()
    assert (most[:, 1] < 0.9).all()


def test_the_whole_map_and_the_empty_map() -> None:
    images, ones = window_images(3), torch.ones(3, 16, 16)
    assert_close(average_drop(Window(), images, ones), torch.zeros(3))
    assert_close(increase_in_confidence(Window(), images, ones), torch.zeros(3))  # no more, no less
    whole = Window()(images)[:, 1].sigmoid()  # two scores, each the other's negative, are one logit
    assert_close(average_drop(Window(), images, 0 * ones), (whole - 0.5) / whole)
    images[:, *Window.where] = 0
    images[:, 0, 5, 7] = -1  # speaks against the class that is asked for
    others = 1 - window_saliency(3)
    labels = torch.ones(3, dtype=torch.int64)
    assert_close(increase_in_confidence(Window(), images, others, labels=labels), torch.ones(3))
    assert_close(average_drop(Window(), images, others, labels=labels), torch.zeros(3))


def test_scores_that_are_zero_or_negative() -> None:
    images = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4), -torch.ones(1, 4, 4)])
    found = average_drop(nn.Flatten(), images, torch.full((3, 4, 4), 0.5), **WITHOUT_CLASS)
    assert_close(found, torch.tensor([0.0, 0.5, torch.nan]), equal_nan=True)


def test_the_class_is_that_of_the_whole_image() -> None:
    images, saliency = window_images(2), window_saliency(2)
    assert_close(
        deletion(Window(), images, saliency),
        deletion(Window(), images, saliency, labels=torch.tensor([1, 1])),
    )
    assert_close(
        deletion(Window(), images, saliency)
        + deletion(Window(), images, saliency, labels=torch.tensor([0, 0])),
        torch.ones(2),
    )


def test_more_steps_than_pixels() -> None:
    images, saliency = pictures(2, (4, 4)), torch.rand(2, 4, 4)
    assert_close(
        deletion(small_net(), images, saliency, steps=1000), deletion(small_net(), images, saliency, steps=16)
    )


# --- As a whole


@pytest.mark.parametrize("measure", MEASURES)
def test_images_do_not_know_each_other_nor_the_batch(measure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(5)
    saliency = torch.rand(5, 16, 16)
    together = MEASURES[measure](net(), images, saliency)
    alone = [MEASURES[measure](net(), images[i : i + 1], saliency[i : i + 1]) for i in range(5)]
    assert_close(torch.cat(alone), together, rtol=0, atol=1e-5)
    for max_batch in (1, 7, 1000):
        assert_close(
            MEASURES[measure](net(), images, saliency, max_batch=max_batch), together, rtol=0, atol=1e-5
        )
    for values in (1, 3000, 50_000):  # copies one by one, some steps of an image, some images
        monkeypatch.setattr(covering, "MOST_VALUES", values)
        assert_close(MEASURES[measure](net(), images, saliency), together, rtol=0, atol=1e-5)


@pytest.mark.parametrize("measure", MEASURES)
def test_at_most_max_batch_rows_and_the_image_of_each(measure: str) -> None:
    sizes = []

    def forward(model: nn.Module, images: Tensor, index: Tensor) -> Tensor:
        sizes.append(len(images))
        assert (index.diff() >= 0).all()
        return model(images) + index[:, None] * torch.tensor([1.0, 0, 0, 0, 0])

    images, saliency = pictures(5), torch.rand(5, 16, 16)
    found = MEASURES[measure](net(), images, saliency, network=forward, max_batch=6)
    assert max(sizes) == 6
    moved = MEASURES[measure](
        net(), images[3:], saliency[3:], network=lambda model, rows, index: forward(model, rows, index + 3)
    )
    assert_close(found[3:], moved, rtol=0, atol=1e-5)
    sizes.clear()
    MEASURES[measure](net(), pictures(100, (4, 4)), torch.rand(100, 4, 4), network=forward)
    assert max(sizes) == 64


@pytest.mark.parametrize("measure", MEASURES)
def test_memory_does_not_grow_with_the_images(measure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covering, "MOST_VALUES", 2**14)  # ten copies of an image
    images, saliency = pictures(16, (24, 24)), torch.rand(16, 24, 24)
    model = nn.Sequential(nn.AvgPool2d(8), nn.Flatten())
    few, many = (
        peak_bytes(
            lambda count=count: MEASURES[measure](model, images[:count], saliency[:count], max_batch=4),
            images.device,
        )
        for count in (8, 16)
    )
    assert few >= 8 * images[0].nbytes  # the copies were seen
    assert (
        many - few <= 2 * images[8:].nbytes
    )  # what checking and cloning them takes, not a copy of each for every step


@pytest.mark.usefixtures("unchecked")  # the checks draw from Python's random
@pytest.mark.parametrize("measure", [*MEASURES, "parameter_randomization"])
@pytest.mark.parametrize("fails", [False, True])
def test_no_trace(measure: str, fails: bool) -> None:
    model = variant_untidy()
    model(pictures()).sum().backward()
    model.stem[1].eval()  # a user's frozen batch norm
    model.fails = fails
    images, saliency = pictures().requires_grad_(), torch.rand(4, 16, 16, requires_grad=True)

    def run() -> object:
        if measure == "parameter_randomization":
            return parameter_randomization(model, images, noisy_saliency)
        return MEASURES[measure](model, images, saliency)

    before, pixels, values = state(model), images.detach().clone(), saliency.detach().clone()
    if fails:
        with pytest.raises(RuntimeError, match="half-way"):
            run()
    else:
        found = run()
        for tensor in found.values() if isinstance(found, dict) else [found]:
            assert not tensor.requires_grad
            assert not tensor.is_inference()
    assert_same(before, state(model))
    assert_same(
        [pixels, values, None, None], [images.detach(), saliency.detach(), images.grad, saliency.grad]
    )


def noisy_saliency(model: nn.Module, images: Tensor) -> Tensor:
    random.random(), np.random.rand(), torch.rand(1)
    model.eval()
    return explain(model, images).saliency + torch.rand(4, 16, 16)


@pytest.mark.parametrize("measure", MEASURES)
def test_inference_mode_and_models_in_train_mode(measure: str) -> None:
    images, saliency = pictures(), torch.rand(4, 16, 16)
    expected = MEASURES[measure](net(), images, saliency)
    with torch.inference_mode():
        assert_close(MEASURES[measure](net(), images.clone(), saliency.clone()), expected)
    assert_close(MEASURES[measure](net().eval(), images, saliency), expected)


def test_maps_of_explain() -> None:
    model = net()
    explanation = explain(model, pictures())
    for measure in MEASURES.values():
        assert measure(model, explanation.images, explanation.saliency).shape == (4,)


NAN = torch.rand(4, 16, 16)
NAN[2, 3, 3] = torch.nan


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": len}, TypeError, r"model: got .*; give a torch\.nn\.Module"),
        ({"images": pictures()[0, 0]}, ValueError, r"images: got a float32 tensor \(16, 16\)"),
        ({"images": pictures() / 0}, ValueError, "images: image 0 holds values that are not finite"),
        (
            {"saliency": torch.rand(4, 8, 8)},
            ValueError,
            r"saliency: got a float32 tensor \(4, 8, 8\) for images \(4, 3, 16, 16\); give maps \(4, 16, 16\)",
        ),
        ({"saliency": torch.rand(3, 16, 16)}, ValueError, r"saliency: got a float32 tensor \(3, 16, 16\)"),
        (
            {"saliency": torch.rand(4, 1, 16, 16)},
            ValueError,
            r"saliency: got a float32 tensor \(4, 1, 16, 16\)",
        ),
        ({"saliency": None}, ValueError, "saliency: got a NoneType"),
        ({"saliency": NAN}, ValueError, "saliency: map 2 holds values that are not finite"),
        ({"target": "label"}, ValueError, "labels: target 'label' needs labels and got None"),
        (
            {"target": "probabilty"},
            ValueError,
            r"target: no target 'probabilty'; did you mean 'probability'\?",
        ),
        ({"labels": torch.zeros(3).long()}, ValueError, r"labels: got an int64 tensor \(3,\) for 4 images"),
        ({"labels": torch.full((4,), 9)}, ValueError, "labels: label 9 is outside the model's 5 classes"),
        ({"scores": 1.5}, TypeError, "scores: got 1.5"),
        ({"max_batch": 0}, ValueError, "max_batch: got 0; give at least 1"),
        ({"max_batch": 2.0}, TypeError, r"max_batch: got 2\.0; give a whole number"),
    ],
)
def test_bad_input(measure: str, arguments: dict, error: type[Exception], message: str) -> None:
    given = {"model": net(), "images": pictures(), "saliency": torch.rand(4, 16, 16)} | arguments
    if measure == "road" and given["images"].ndim == 2:
        message = r"images: got a float32 tensor \(16, 16\); a removed pixel has eight neighbours"
    with pytest.raises(error, match=message):
        MEASURES[measure](given.pop("model"), given.pop("images"), given.pop("saliency"), **given)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("measure", "arguments", "error", "message"),
    [
        (deletion, {"steps": 0}, ValueError, "steps: got 0; give at least 1"),
        (insertion, {"steps": -3}, ValueError, "steps: got -3; give at least 1"),
        (insertion, {"steps": 10.0}, TypeError, r"steps: got 10\.0; give a whole number"),
        (
            deletion,
            {"baseline": torch.zeros(5)},
            ValueError,
            r"baseline: a float32 tensor \(5,\) does not broadcast to \(4, 3, 16, 16\)",
        ),
        (deletion, {"baseline": "black"}, ValueError, "baseline: a str does not broadcast"),
        (
            road,
            {"percentages": [10, 100]},
            ValueError,
            r"percentages: got \[10, 100\]; give at least one, each above 0 and below 100",
        ),
        (road_curves, {"percentages": [0]}, ValueError, r"percentages: got \[0\]"),
        (road_curves, {"percentages": []}, ValueError, r"percentages: got \[\]"),
        (road, {"percentages": [float("nan")]}, ValueError, r"percentages: got \[nan\]"),
        (
            average_drop,
            {"saliency": 2 * torch.ones(4, 16, 16)},
            ValueError,
            "saliency: runs from 2 to 2; scale it to",
        ),
        (increase_in_confidence, {"saliency": -torch.rand(4, 16, 16)}, ValueError, "saliency: runs from -"),
    ],
)
def test_bad_options(measure: Callable, arguments: dict, error: type[Exception], message: str) -> None:
    given = {"saliency": torch.rand(4, 16, 16)} | arguments
    with pytest.raises(error, match=message):
        measure(net(), pictures(), given.pop("saliency"), **given)
