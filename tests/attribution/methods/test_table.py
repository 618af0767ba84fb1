"""Every row of METHODS: equal to its plain twin, independent of what does not matter, and honest where there is nothing to show.

Identities are in test_identities.py, public libraries in test_peers.py.
"""

from functools import cache, partial

import pytest
import torch
from reference import equations as book
from support.cases import (
    BUILD,
    NETWORKS,
    OPTIONS,
    Case,
    assert_close_to_peak,
    by_hand,
    facts,
    gelu,
    look_with,
    networks_of,
    relu,
    sequential,
    with_few_passes,
)
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_cam import explain
from lightning_cam.attribution.capture import capture, find_layer
from lightning_cam.attribution.config import ModelConfig
from lightning_cam.attribution.maps import BLANK_REASONS
from lightning_cam.attribution.methods.table import METHODS

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}  # of each map's peak
IN_FLOAT32 = 1e-5  # what ``explain`` returns is float32 whatever the model's precision
SCALES = (1.0, 2.0**-13, 2.0**13)  # powers of two: the scaling itself rounds nothing, on no machine

WITHOUT_GRADIENTS = {
    "eigencam": "looks at the activations alone, so it has a map where the gradient is zero",
    "kpcacam": "looks at the activations alone",
    "fem": "looks at the activations alone",
    "dff": "looks at the activations alone",
    "scorecam": "equal scores share their softmax equally, which is a map",
    "sscam": "as scorecam",
    "iscam": "as scorecam",
    "random": "looks at nothing",
}
NOT_FROM_ITS_OWN_GRADIENTS = {
    "ablationcam": "asks what the score loses, not for its gradient",
    "rise": "asks for scores alone",
    "smoothgradcam++": "asks for the gradients of noisy copies",
    "shapleycam": "differentiates the tail a second time, and so does it all itself",
}
NOT_FROM_THE_IMAGE = {
    "random": "noise does not follow the image: not its flip, not its place in the batch, not its activations"
}
NOT_FROM_THE_LAYER = NOT_FROM_THE_IMAGE | {
    "rise": "the network is a black box: it has a map where the layer is silent"
}
DRAWN_BY_POSITION = NOT_FROM_THE_IMAGE | {
    "sscam": "its noise is the same at the same place, whatever the image",
    "smoothgradcam++": "its noise is the same at the same place, whatever the image",
    "rise": "its masks are the same at the same place, whatever the image",
    "dff": "its start is drawn by position",
}
DRAWN_BY_CHANNEL = {"dff": "its start is drawn by channel"}
OF_ALL_IMAGES = {"dff": "finds what all images share, so that each of them matters to every map"}
IN_FLOAT32_TOO_STEEP = {
    "scorecam": "the softmax turns the rounding of scores in the thousands into a share of the map",
    "sscam": "as scorecam",
    "iscam": "as scorecam",
}


def every_network(*exempt: dict[str, str]) -> list[tuple[str, str]]:
    """Pairs of a method and a network that it is defined for."""
    return [(name, network) for name in every_method(*exempt) for network in networks_of(name)]


def every_method(*exempt: dict[str, str]) -> list[str]:
    return [name for name in METHODS if not any(name in reasons for reasons in exempt)]


@cache
def from_the_book(name: str, network: str, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Tensor:
    if name not in book.METHODS and name not in book.METHODS_OF_ALL_IMAGES:
        pytest.fail(
            f"method {name!r} has no twin; write its equation a second time in tests/reference/equations.py, METHODS"
        )
    return torch.from_numpy(book.cams(name, facts(BUILD[network](dtype, scale)), **OPTIONS.get(name, {})))


def every_question() -> list:
    """Method, network, precision and steepness of the head."""
    return [
        (name, network, dtype, scale)
        for name, network in every_network(book.NO_METHOD_TWIN)
        for dtype in TOLERANCE
        for scale in SCALES
        if not (name in IN_FLOAT32_TOO_STEEP and dtype == torch.float32 and scale == max(SCALES))
    ]


# --- Twins


def test_every_method_has_a_twin():
    twins = set(book.METHODS) | set(book.METHODS_OF_ALL_IMAGES) | set(book.NO_METHOD_TWIN)
    missing = set(METHODS) - twins
    assert not missing, (
        f"no twin for {sorted(missing)}: write the equation a second time in tests/reference/equations.py, METHODS"
    )
    left_over = twins - set(METHODS)
    assert not left_over, (
        f"tests/reference/equations.py has twins of methods that are gone: {sorted(left_over)}"
    )


@pytest.mark.parametrize(("name", "network", "dtype", "scale"), every_question())
def test_equals_the_book(name, network, dtype, scale):
    cams = look_with(name, BUILD[network](dtype, scale))
    assert cams.dtype == dtype
    assert_close_to_peak(cams, from_the_book(name, network, dtype, scale), TOLERANCE[dtype])


@pytest.mark.parametrize(("name", "network", "dtype", "scale"), every_question())
def test_explain_equals_the_book(name, network, dtype, scale):
    case = BUILD[network](dtype, scale)
    method = with_few_passes(name)
    explanation = explain(
        case.model, case.images, method=method, target="label", labels=case.labels, target_layer=case.layer
    )
    assert explanation.cams.dtype == torch.float32
    assert_close_to_peak(explanation.cams, from_the_book(name, network, dtype, scale), IN_FLOAT32)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("kpcacam", {"kernel": "rbf"}),
        ("fem", {"deviations": 0.5}),
        ("dff", {"parts": 1, "iterations": 5}),
        ("scorecam", {"top_k": 3}),
        ("scorecam", {"top_k": 100}),
        ("sscam", {"samples": 2, "sigma": 0.3, "top_k": 4}),
        ("iscam", {"steps": 2, "top_k": 2}),
        ("smoothgradcam++", {"samples": 2, "noise": 0.02}),
        ("rise", {"masks": 5, "cells": 3, "keep": 0.75}),
        ("rise", {"masks": 5, "cells": 4}),
    ],
    ids=str,
)
def test_options_equal_the_book(name, options, network):
    case = BUILD[network]()
    expected = torch.from_numpy(book.cams(name, facts(case), **options))
    assert_close_to_peak(look_with(name, case, **options), expected, TOLERANCE[torch.float64])


def test_networks_reach_every_branch_of_the_equations():
    # Else the comparisons above would prove less than they say.
    activations, gradients = {}, {}
    for network in NETWORKS:
        for scale in SCALES:
            activations[network, scale], gradients[network, scale] = by_hand(BUILD[network](scale=scale))
        g = gradients[network, 1.0]
        assert g.std(dim=(2, 3)).amax(dim=1).gt(0).all(), "gradients vary over positions"
        assert g.amin() < 0 < g.amax(), "gradients have both signs"
    for name in METHODS:
        for network in networks_of(name) if name not in book.NO_METHOD_TWIN else []:
            assert (from_the_book(name, network) != 0).flatten(1).any(dim=1).all(), (
                f"{name} has a map on {network}"
            )
    a = activations["relu", 1.0]
    assert (a.sum(dim=(2, 3)) == 0).any(), "a channel with S = 0"
    assert (gradients["relu", 1.0][a.sum(dim=(2, 3)) == 0] != 0).any(), (
        "which the score depends on all the same"
    )
    sums = activations["gelu", 1.0].sum(dim=(2, 3), keepdim=True)
    assert sums.amin() < 0 < sums.amax(), "channel sums of both signs"
    steep = gradients["gelu", max(SCALES)]
    assert ((steep > 0) & (2 + steep * sums <= 0)).any(), "2 + g S <= 0 where g is positive"
    for (network, scale), g in gradients.items():
        denominator = 2 + g * activations[network, scale].sum(dim=(2, 3), keepdim=True)
        # Grad-CAM++ has a pole at 2 + g S = 0; near it float32 could not agree with float64 however right the code is.
        assert denominator[g > 0].abs().amin() > 0.1, (
            f"{network}, head times {scale}: too near the pole for float32"
        )
    positions = {network: activations[network, 1.0][0, 0].numel() for network in NETWORKS}
    channels = {network: activations[network, 1.0].shape[1] for network in NETWORKS}
    assert positions["relu"] > channels["relu"]
    assert positions["sequential"] < channels["sequential"]
    scores = {network: [one.tail(one.activations) for one in facts(BUILD[network]())] for network in NETWORKS}
    assert min(map(min, scores.values())) < 0 < max(map(max, scores.values())), "target scores of both signs"
    assert not facts(relu())[0].curvature().any(), "a tail without curvature"
    assert facts(gelu())[0].curvature().any(), "a tail with curvature"


# --- What does not matter


@pytest.mark.parametrize("dim", [-1, -2], ids=["left_right", "up_down"])
@pytest.mark.parametrize(
    ("name", "network"), [pair for pair in every_network(DRAWN_BY_POSITION) if pair[1] != "sequential"]
)
def test_flipping_the_input_of_a_flip_invariant_network_flips_the_map(name, network, dim):
    case = BUILD[network]()
    # A stride of 2 sees other pixels of an even side after a flip.
    images = case.images[:, :, :11, :9]
    with torch.no_grad():
        for module in case.model.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.copy_((module.weight + module.weight.flip(dim)) / 2)
    assert_close(case.model(images), case.model(images.flip(dim)))
    cams = look_with(name, case, images=images)
    assert (cams - cams.flip(dim)).abs().amax(dim=(1, 2)).gt(0.1 * cams.abs().amax(dim=(1, 2))).all()
    assert_close_to_peak(look_with(name, case, images=images.flip(dim)), cams.flip(dim), 1e-9)


@pytest.mark.parametrize(("name", "network"), every_network(NOT_FROM_THE_IMAGE, OF_ALL_IMAGES))
def test_images_are_explained_independently(name, network):
    case = BUILD[network]()
    question = {"method": with_few_passes(name), "target": "label", "target_layer": case.layer}
    together = explain(case.model, case.images, labels=case.labels, **question)
    alone = [
        explain(case.model, image[None], labels=label[None], **question).cams
        for image, label in zip(case.images, case.labels, strict=True)
    ]
    assert_close_to_peak(together.cams, torch.cat(alone), IN_FLOAT32)
    in_parts = explain(case.model, case.images, labels=case.labels, max_batch=3, **question)
    assert_close_to_peak(together.cams, in_parts.cams, IN_FLOAT32)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", OF_ALL_IMAGES)
def test_what_sees_all_images_sees_all_of_them_in_parts_too(name, network):
    case = BUILD[network]()
    question = {
        "method": with_few_passes(name),
        "target": "label",
        "labels": case.labels,
        "target_layer": case.layer,
    }
    together = explain(case.model, case.images, **question)
    in_parts = explain(case.model, case.images, max_batch=3, **question)
    assert together.parts.shape == (4, OPTIONS[name]["parts"], *together.cams.shape[1:])
    assert_close(together.cams, together.parts[:, 0], rtol=0.0, atol=0.0)
    assert_close_to_peak(together.cams, in_parts.cams, IN_FLOAT32)
    assert_close(together.parts, in_parts.parts)
    fewer = explain(case.model, case.images[:2], **(question | {"labels": case.labels[:2]}))
    assert (fewer.cams - together.cams[:2]).abs().amax() > 1e-3 * together.cams.amax()


@pytest.mark.parametrize("name", every_method(DRAWN_BY_CHANNEL))
def test_channel_order_is_irrelevant(name):
    case = BUILD[networks_of(name)[-1]]() if name == "cam" else gelu()
    cams = look_with(name, case)
    order = torch.tensor([5, 2, 7, 0, 3, 6, 1, 4])
    last = case.trunk[2]
    first = next(module for module in case.tail if hasattr(module, "weight"))
    with torch.no_grad():
        last.weight.copy_(last.weight[order])
        last.bias.copy_(last.bias[order])
        first.weight.copy_(first.weight[:, order])
    assert_close_to_peak(look_with(name, case), cams, 1e-9)


# --- Nothing to show


@pytest.mark.parametrize(("name", "network"), every_network(WITHOUT_GRADIENTS))
def test_zero_gradients_give_a_zero_map_that_says_so(name, network):
    case = BUILD[network](scale=0.0)
    method = with_few_passes(name)
    explanation = explain(
        case.model, case.images, method=method, target="label", labels=case.labels, target_layer=case.layer
    )
    assert_close(explanation.cams, torch.zeros_like(explanation.cams), rtol=0.0, atol=0.0)
    assert_close(explanation.saliency, torch.zeros_like(explanation.saliency), rtol=0.0, atol=0.0)
    reason = "the map is nowhere positive" if name in NOT_FROM_ITS_OWN_GRADIENTS else "the gradient is zero"
    assert explanation.blank == (reason,) * len(case.images)


@pytest.mark.parametrize("name", every_method(NOT_FROM_THE_LAYER))
def test_zero_activations_give_a_zero_map_that_says_so(name):
    case = BUILD[networks_of(name)[0]]()
    with torch.no_grad():
        case.trunk[-2].bias.fill_(-100.0)
    method = with_few_passes(name)
    explanation = explain(
        case.model, case.images, method=method, target="label", labels=case.labels, target_layer=case.layer
    )
    assert_close(explanation.cams, torch.zeros_like(explanation.cams), rtol=0.0, atol=0.0)
    assert explanation.blank == ("no activation at the layer",) * len(case.images)


@pytest.mark.parametrize(("name", "network"), every_network(NOT_FROM_THE_IMAGE))
def test_a_model_that_diverged_gives_maps_that_say_so(name, network):
    case = BUILD[network]()
    with torch.no_grad():
        case.trunk[0].weight[0, 0, 0, 0] = torch.nan
    question = {
        "method": with_few_passes(name),
        "target": "label",
        "labels": case.labels,
        "target_layer": case.layer,
    }
    with pytest.warns(UserWarning, match=r"maps: 4 of 4 are not finite \(NaN or inf\)"):
        explanation = explain(case.model, case.images, **question)
    assert not explanation.cams.isfinite().all(dim=(1, 2)).any()
    assert explanation.blank == (BLANK_REASONS[1],) * len(case.images)
    assert_close(explanation.saliency, torch.zeros_like(explanation.saliency), rtol=0.0, atol=0.0)


@pytest.mark.parametrize("names", [list(METHODS), list(reversed(METHODS))], ids=["in_order", "reversed"])
def test_methods_of_one_look_say_what_each_says_alone(names):
    case = sequential(scale=0.0)
    with torch.no_grad():
        # Activations that are negative throughout: the map of the activations alone is blank too, for another reason.
        case.trunk[3].bias.fill_(-10.0)
    question = {"target": "label", "labels": case.labels, "target_layer": case.layer}
    methods = [partial(METHODS[name], **OPTIONS[name]) if name in OPTIONS else name for name in names]
    together = explain(case.model, case.images, method=methods, **question)
    for method, found in zip(methods, together.values(), strict=True):
        alone = explain(case.model, case.images, method=method, **question)
        assert found.method == alone.method
        assert_close(found.cams, alone.cams, rtol=0.0, atol=0.0)
        assert found.blank == alone.blank, found.method


def look_with_one_spoiled(name: str, case: Case) -> Tensor:
    """Maps of a network that divides by what the third image lacks."""

    def forward(model: nn.Module, images: Tensor) -> Tensor:
        return model(images / images.any(dim=(1, 2, 3))[:, None, None, None])

    images = case.images.clone()
    images[2] = 0
    layer = find_layer(case.model, images, case.layer, ModelConfig(forward))
    with capture(
        case.model, images, target_layer=layer, labels=case.labels, config=ModelConfig(network=forward)
    ) as evidence:
        return with_few_passes(name)(evidence)


@pytest.mark.parametrize(("name", "network"), every_network(NOT_FROM_THE_IMAGE, OF_ALL_IMAGES))
def test_an_image_whose_activations_are_not_finite_spoils_no_other(name, network):
    case = BUILD[network]()
    good = [0, 1, 3]
    expected = look_with(name, case)
    cams = look_with_one_spoiled(name, case)
    assert not cams[2].isfinite().any()
    assert_close_to_peak(cams[good], expected[good], 1e-9)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", OF_ALL_IMAGES)
def test_an_image_whose_activations_are_not_finite_leaves_the_others_what_they_share(name, network):
    cams = look_with_one_spoiled(name, BUILD[network]())
    assert not cams[2].isfinite().any()
    assert cams[[0, 1, 3]].isfinite().all()
    assert (cams[[0, 1, 3]] > 0).flatten(1).any(dim=1).all()


@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if not row.gradients])
def test_without_gradients_a_tail_that_has_none_will_do(name):
    case = relu()
    expected = look_with(name, case)

    def forward(model: nn.Module, images: Tensor) -> Tensor:
        return model.tail(model.features(images).detach())

    layer = find_layer(case.model, case.images, case.layer, ModelConfig(forward))
    with capture(
        case.model, case.images, target_layer=layer, labels=case.labels, config=ModelConfig(network=forward)
    ) as evidence:
        assert_close(with_few_passes(name)(evidence), expected)


@pytest.mark.parametrize("name", METHODS)
def test_numbers_are_drawn_from_a_generator_of_their_own(name):
    case = BUILD[networks_of(name)[0]]()
    layer = find_layer(case.model, case.images, case.layer)
    method = with_few_passes(name)
    with capture(case.model, case.images, target_layer=layer, labels=case.labels) as evidence:
        before = torch.random.get_rng_state()
        first = method(evidence)
        assert_close(torch.random.get_rng_state(), before, rtol=0.0, atol=0.0)
        torch.manual_seed(123)
        assert_close(method(evidence), first, rtol=0.0, atol=0.0)


# --- The baseline


def test_random_is_noise_between_zero_and_one():
    cams = look_with("random", relu())
    assert cams.shape == (4, 6, 5)
    assert 0 <= cams.amin() < 0.1
    assert 0.9 < cams.amax() < 1
    assert cams.flatten().unique().numel() == cams.numel()


def test_random_is_the_same_at_every_look_and_for_every_model():
    first = look_with("random", relu())
    torch.manual_seed(123)
    assert_close(look_with("random", gelu()), first, rtol=0.0, atol=0.0)
