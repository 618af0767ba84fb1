"""What must hold between methods, and between a method and its network; the twins are in test_table.py."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from support.cases import (
    BUILD,
    CLASSES,
    NETWORKS,
    Case,
    assert_close_to_peak,
    by_hand,
    furthest_from,
    gelu,
    halves,
    look_with,
    networks_of,
    pooled,
    pooled_relu,
    relu,
    sequential,
)
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_cam import explain
from lightning_cam.attribution.capture import capture, find_layer
from lightning_cam.attribution.methods.activation import factors
from lightning_cam.attribution.methods.table import METHODS

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}
# Signed maps that are linear in the gradients: alone or, where the method rectifies, as map(score) - map(-score).
LINEAR = ("gradcam", "xgradcam", "hirescam", "cam")
SIGNED = ("hirescam", "cam")
OVER_Z = ("gradcam", "xgradcam", "hirescam")


def label_score(scores: Tensor, labels: Tensor) -> Tensor:
    return scores.gather(1, labels[:, None])[:, 0]


def minus_label_score(scores: Tensor, labels: Tensor) -> Tensor:
    return -label_score(scores, labels)


def signed(name, case, score, minus):
    """The map before its relu: ``relu(m) - relu(-m) = m`` for a method that is linear in the gradients."""
    return (
        look_with(name, case, score)
        if name in SIGNED
        else look_with(name, case, score) - look_with(name, case, minus)
    )


# --- Global average pooling and a linear head


def pooled_terms(case: Case) -> tuple[Tensor, Tensor, int]:
    """Activations (n, k, h, w), head weights of each image's label (n, k, 1, 1), positions Z."""
    activations = case.trunk(case.images).detach()
    weights = case.head.weight.detach()[case.labels][:, :, None, None]
    return activations, weights, activations[0, 0].numel()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_pooled_gradients_are_the_head_weights_over_z(activation):
    case = pooled(ACTIVATIONS[activation]())
    activations, weights, z = pooled_terms(case)
    layer = find_layer(case.model, case.images, case.layer)
    with capture(case.model, case.images, target_layer=layer, labels=case.labels) as evidence:
        assert_close(evidence.gradients, (weights / z).expand_as(activations))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", OVER_Z)
def test_pooled_grad_cam_xgrad_cam_and_hires_cam_are_cam_over_z(name, activation):
    case = pooled(ACTIVATIONS[activation]())
    _, _, z = pooled_terms(case)
    expected = look_with("cam", case) / z
    assert expected.amin() < 0 < expected.amax()
    assert_close_to_peak(signed(name, case, label_score, minus_label_score), expected, 1e-9)
    assert_close_to_peak(look_with(name, case).relu(), expected.relu(), 1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_cam_is_the_head_weights_applied_by_hand(activation):
    case = pooled(ACTIVATIONS[activation]())
    activations, weights, _ = pooled_terms(case)
    assert_close_to_peak(look_with("cam", case), (weights * activations).sum(dim=1), 1e-12)


def test_cam_of_a_one_by_one_convolution_before_the_pooling():
    case = pooled_relu()
    activations, weights, _ = pooled_terms(case)
    convolution = nn.Conv2d(8, CLASSES, 1)
    with torch.no_grad():
        convolution.weight.copy_(case.head.weight[:, :, None, None])
        convolution.bias.copy_(case.head.bias)
    model = nn.Sequential(case.model.features, convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    found = explain(model, case.images, method="cam", target="label", labels=case.labels, target_layer="0")
    assert_close_to_peak(found.cams, (weights * activations).sum(dim=1), 1e-6)


@pytest.mark.parametrize("network", NETWORKS)
def test_cam_refuses_another_head_and_names_the_remedy(network):
    with pytest.raises(
        ValueError, match=r"^method: 'cam' needs global average pooling and one linear layer .* use 'gradcam'"
    ):
        look_with("cam", BUILD[network]())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_pooled_layer_cam_takes_the_positive_weights(activation):
    case = pooled(ACTIVATIONS[activation]())
    activations, weights, z = pooled_terms(case)
    assert_close_to_peak(
        look_with("layercam", case), (weights.relu() * activations).sum(dim=1).relu() / z, 1e-9
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_pooled_elementwise_grad_cam_takes_the_positive_products(activation):
    case = pooled(ACTIVATIONS[activation]())
    activations, weights, z = pooled_terms(case)
    assert_close_to_peak(
        look_with("gradcam-elementwise", case), (weights * activations).relu().sum(dim=1) / z, 1e-9
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_pooled_grad_cam_plus_plus_weighs_by_the_channel_means(activation):
    case = pooled(ACTIVATIONS[activation]())
    activations, weights, _ = pooled_terms(case)
    denominator = 2 + weights * activations.mean(dim=(2, 3), keepdim=True)
    assert (denominator > 0).all()
    expected = (weights.relu() / denominator * activations).sum(dim=1).relu()
    assert_close_to_peak(look_with("gradcam++", case), expected, 1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_pooled_ablation_cam_weighs_by_what_the_mean_adds_to_the_score(activation):
    case = pooled(ACTIVATIONS[activation]())
    activations, weights, _ = pooled_terms(case)
    with torch.no_grad():
        case.head.bias.sub_(0.15)
    scores = label_score(case.model(case.images), case.labels).detach()
    assert scores.amin() < 0 < scores.amax()
    shares = weights * activations.mean(dim=(2, 3), keepdim=True) / scores.abs()[:, None, None, None]
    assert_close_to_peak(look_with("ablationcam", case), (shares * activations).sum(dim=1).relu(), 1e-9)


def test_ablation_cam_of_a_score_of_zero_weighs_by_the_drop_itself():
    case = pooled_relu()
    activations, weights, _ = pooled_terms(case)
    with torch.no_grad():
        # Two channels that cancel, exactly: the score is 0, their drops are not.
        case.trunk[2].weight[1] = case.trunk[2].weight[0]
        case.trunk[2].bias[:2] = 1.0
        case.head.weight.zero_()
        case.head.weight[:, 0], case.head.weight[:, 1] = 1.0, -1.0
        case.head.bias.zero_()
    activations, weights, _ = pooled_terms(case)
    assert (case.model(case.images) == 0).all()
    expected = (weights * activations.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1).relu()
    assert_close(look_with("ablationcam", case), expected, rtol=0.0, atol=1e-12)


# --- Any network


def test_hires_cam_sums_to_score_minus_bias():
    torch.manual_seed(4)
    features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GELU())
    tail = nn.Sequential(
        nn.Conv2d(8, 6, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 6, 3, bias=False),
        nn.LeakyReLU(0.1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, CLASSES),
    )
    case = halves(features, tail)
    scores = label_score(case.model(case.images), case.labels).detach()
    assert_close(look_with("hirescam", case).sum(dim=(1, 2)), scores - case.head.bias.detach()[case.labels])


@pytest.mark.parametrize(
    ("name", "network"), [(name, network) for name in LINEAR for network in networks_of(name)]
)
def test_signed_maps_sum_to_zero_over_classes_where_the_heads_columns_do(name, network):
    case = BUILD[network]()
    with torch.no_grad():
        case.head.weight.sub_(case.head.weight.mean(dim=0))
    maps = torch.stack(
        [
            signed(
                name,
                case,
                lambda scores, labels, c=c: scores[:, c],
                lambda scores, labels, c=c: -scores[:, c],
            )
            for c in range(CLASSES)
        ]
    )
    peak = maps.abs().amax(dim=(0, 2, 3))[:, None, None]
    assert (peak > 0).all()
    assert_close(maps.sum(dim=0) / peak, torch.zeros_like(maps[0]), rtol=0.0, atol=1e-12)


# --- Shapley values


@pytest.mark.parametrize("network", ["relu", "pooled_relu", "pooled_gelu"])
def test_shapley_cam_of_a_piecewise_linear_tail_is_grad_cam(network):
    case = BUILD[network]()
    assert_close_to_peak(look_with("shapleycam", case), look_with("gradcam", case), 1e-12)


@pytest.mark.parametrize("network", ["gelu", "sequential"])
def test_shapley_cam_of_a_curved_tail_is_not_grad_cam(network):
    case = BUILD[network]()
    assert (furthest_from(look_with("shapleycam", case), look_with("gradcam", case)) > 1e-3).all()


def test_shapley_cam_of_a_probability_is_not_grad_cam_even_where_the_network_is_piecewise_linear():
    case = relu(scale=30.0)
    assert (
        furthest_from(look_with("shapleycam", case, "probability"), look_with("gradcam", case, "probability"))
        > 1e-3
    ).all()


def test_shapley_cam_of_a_quadratic_score_attributes_half_of_the_gradient():
    # y = sum (mean A_k)^2: g = 2 mean(A_k) / Z, and H A = g, so that half of the gradient remains.
    case = pooled_relu()
    activations, _, z = pooled_terms(case)

    def squares(scores: Tensor, labels: Tensor | None) -> Tensor:
        return scores.square().sum(dim=1)

    with torch.no_grad():
        case.head.bias.zero_()
    weight = case.head.weight.detach()
    means = activations.mean(dim=(2, 3))
    gradients = 2 * (means @ weight.T) @ weight / z
    expected = (gradients[:, :, None, None] / 2 * activations).sum(dim=1).relu()
    assert_close_to_peak(look_with("shapleycam", case, squares), expected, 1e-12)


# --- Scores behind masks


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", ["scorecam", "sscam", "iscam"])
def test_a_constant_added_to_all_scores_changes_nothing(name, network):
    case = BUILD[network]()
    expected = look_with(name, case)
    with torch.no_grad():
        case.head.bias.add_(3.0)
    assert_close_to_peak(look_with(name, case), expected, 1e-12)


@pytest.mark.parametrize("network", NETWORKS)
def test_is_cam_of_one_step_is_score_cam(network):
    case = BUILD[network]()
    assert_close_to_peak(look_with("iscam", case, steps=1), look_with("scorecam", case), 1e-12)
    assert (furthest_from(look_with("iscam", case, steps=2), look_with("scorecam", case)) > 1e-4).any()


@pytest.mark.parametrize("network", NETWORKS)
def test_ss_cam_without_noise_is_score_cam(network):
    case = BUILD[network]()
    assert_close_to_peak(look_with("sscam", case, sigma=0.0), look_with("scorecam", case), 1e-12)
    assert (furthest_from(look_with("sscam", case, sigma=1.0), look_with("scorecam", case)) > 1e-4).any()


@pytest.mark.parametrize("name", ["scorecam", "sscam", "iscam"])
@pytest.mark.parametrize("network", NETWORKS)
def test_all_channels_are_the_same_as_no_choice_of_channels(network, name):
    case = BUILD[network]()
    channels = case.trunk(case.images).shape[1]
    assert_close_to_peak(look_with(name, case, top_k=channels), look_with(name, case), 1e-12)


@pytest.mark.parametrize("name", ["scorecam", "sscam", "iscam"])
@pytest.mark.parametrize("network", NETWORKS)
def test_one_channel_is_the_strongest_one_with_all_the_weight(network, name):
    case = BUILD[network]()
    activations = case.trunk(case.images).detach()
    strongest = activations.square().sum(dim=(2, 3)).argmax(dim=1)
    expected = activations[torch.arange(4), strongest].relu()
    assert (expected > 0).flatten(1).any(dim=1).any()
    assert_close(look_with(name, case, top_k=1), expected)


@pytest.mark.parametrize("network", NETWORKS)
def test_smooth_grad_cam_plus_plus_without_noise_is_grad_cam_plus_plus(network):
    # Where g is not 0 the denominators differ by the factor g^2, so they are positive for the same positions.
    case = BUILD[network]()
    assert_close_to_peak(look_with("smoothgradcam++", case, noise=0.0), look_with("gradcam++", case), 1e-9)
    assert (furthest_from(look_with("smoothgradcam++", case), look_with("gradcam++", case)) > 1e-3).any()


@pytest.mark.parametrize("network", NETWORKS)
def test_rise_behind_masks_that_show_all_is_the_score_everywhere(network):
    case = BUILD[network]()
    scores = label_score(case.model(case.images), case.labels).detach()
    cams = look_with("rise", case, keep=1.0)
    assert_close(cams, scores[:, None, None].expand(-1, 12, 10))


def test_rise_finds_the_only_pixel_that_counts():
    # It hears nothing of the layer, which is only there to be named.
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Flatten(), nn.Linear(3 * 12 * 10, CLASSES, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(3)[:, :, None, None])
        model[0].bias.zero_()
        model[2].weight.zero_()
        model[2].weight.view(CLASSES, 3, 12, 10)[:, :, 8, 3] = 1.0
    method = partial(METHODS["rise"], masks=400)
    found = explain(model, torch.ones(1, 3, 12, 10), method=method, target=0, target_layer="0")
    assert found.cams.shape == (1, 12, 10)
    row, column = divmod(int(found.cams[0].argmax()), 10)
    assert abs(row - 8) <= 1
    assert abs(column - 3) <= 1


# --- Activations alone


@pytest.mark.parametrize("network", ["gelu", "sequential"])
def test_fem_of_a_low_threshold_is_the_sum_of_the_means(network):
    case = BUILD[network]()
    activations = case.trunk(case.images).detach()
    means = activations.mean(dim=(2, 3)).sum(dim=1)[:, None, None].expand_as(activations[:, 0])
    assert_close(look_with("fem", case, deviations=-1e6), means)


@pytest.mark.parametrize("shift", [-100.0, -1.0, 0.0, 1.0, 100.0])
def test_eigen_cam_is_never_nowhere_positive(shift):
    case = sequential()
    with torch.no_grad():
        case.trunk[3].bias.add_(shift)
    assert (look_with("eigencam", case).amax(dim=(1, 2)) > 0).all()
    assert (shift > -100) or (case.trunk(case.images) < 0).all()


def test_eigen_grad_cam_is_negative_where_all_speaks_against_the_class():
    case = pooled_relu()
    with torch.no_grad():
        case.head.weight.copy_(-case.head.weight.abs())
    cams = look_with("eigengradcam", case)
    assert (cams <= 1e-12).all()
    assert (cams < 0).flatten(1).any(dim=1).all()


@pytest.mark.parametrize("network", NETWORKS)
def test_eigen_cam_is_the_best_map_of_rank_one(network):
    # Eckart and Young: no other map times a vector comes closer to the activations; and the map has the length of that part.
    case = BUILD[network]()
    values = case.trunk(case.images).detach().flatten(2).transpose(1, 2)
    largest = torch.linalg.matrix_norm(values, ord=2)
    cams = look_with("eigencam", case).flatten(1)
    assert_close(cams.norm(dim=1), largest)
    directions = torch.einsum("np,npk->nk", cams, values) / largest[:, None] ** 2
    left = values - torch.einsum("np,nk->npk", cams, directions)
    assert_close(left.square().sum(dim=(1, 2)), values.square().sum(dim=(1, 2)) - largest**2)


@pytest.mark.parametrize("kernel", ["sigmoid", "rbf"])
@pytest.mark.parametrize("network", NETWORKS)
def test_kpca_cam_is_centred_in_feature_space(network, kernel):
    cams = look_with("kpcacam", BUILD[network](), kernel=kernel)
    assert_close(
        cams.mean(dim=(1, 2)) / cams.abs().amax(dim=(1, 2)),
        torch.zeros(4, dtype=cams.dtype),
        rtol=0.0,
        atol=1e-9,
    )


# --- Parts that images share


def parts_of(case: Case, **options: int) -> Tensor:
    layer = find_layer(case.model, case.images, case.layer)
    with capture(case.model, case.images, target_layer=layer, labels=case.labels) as evidence:
        return factors(evidence, **options)


def by_sklearn(case: Case, parts: int, iterations: int) -> tuple[Tensor, Tensor, float]:
    """V (positions of all images, channels); W with rows of H of length 1, largest column first; the error of ``V = W H``."""
    values = by_hand(case)[0].movedim(1, -1).flatten(0, -2).relu().numpy()
    start = (
        torch.randn(parts, sum(values.shape), generator=torch.Generator().manual_seed(0))
        .abs()
        .double()
        .numpy()
    )
    start = start * np.sqrt(values.mean() / parts)
    from sklearn.decomposition import NMF

    model = NMF(parts, init="custom", solver="mu", tol=0, max_iter=iterations)
    strengths = model.fit_transform(
        values, W=start[:, : len(values)].T.copy(), H=start[:, len(values) :].copy()
    )
    error = float(np.linalg.norm(values - strengths @ model.components_))
    strengths = strengths * np.linalg.norm(model.components_, axis=1)
    order = np.argsort(-np.linalg.norm(strengths, axis=0), kind="stable")
    return torch.from_numpy(values), torch.from_numpy(strengths[:, order]), error


@pytest.mark.parametrize("network", NETWORKS)
def test_parts_are_not_negative_and_in_the_order_of_their_size(network):
    parts = parts_of(BUILD[network](), parts=4)
    assert parts.shape[:2] == (4, 4)
    assert (parts >= 0).all()
    sizes = parts.square().sum(dim=(0, 2, 3))
    assert (sizes[:-1] >= sizes[1:]).all()
    assert sizes[-1] > 0


@pytest.mark.needs("scipy", "sklearn")
@pytest.mark.parametrize("iterations", [1, 20, 200])
@pytest.mark.parametrize("network", NETWORKS)
def test_parts_are_those_of_scikit_learn_from_the_same_start(network, iterations):
    from scipy.optimize import nnls

    case = BUILD[network]()
    values, expected, error = by_sklearn(case, 3, iterations)
    found = parts_of(case, parts=3, iterations=iterations).movedim(1, -1).flatten(0, -2)
    assert_close(found / expected.amax(), expected / expected.amax(), rtol=0.0, atol=1e-6)
    # The best H for these strengths, column by column.
    left = [nnls(found.numpy(), column)[1] for column in values.T.numpy()]
    assert np.linalg.norm(left) <= error * (1 + 1e-4)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_single_part_is_eigen_cam_of_all_positions_together(network):
    # The best approximation of rank one of a matrix without negative entries has none itself.
    case = BUILD[network]()
    values = by_hand(case)[0].movedim(1, -1).flatten(0, -2).relu()
    expected = torch.linalg.svd(values, full_matrices=False)[0][:, 0].abs() * torch.linalg.matrix_norm(
        values, ord=2
    )
    found = parts_of(case, parts=1).flatten()
    assert_close(found / expected.amax(), expected / expected.amax(), rtol=0.0, atol=1e-6)


# --- Options that cannot be used


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("scorecam", {"top_k": 0}, r"^top_k: got 0; give at least 1, or None for all channels\.$"),
        ("sscam", {"top_k": -1}, r"^top_k: got -1; give at least 1"),
        ("iscam", {"top_k": 0}, r"^top_k: got 0; give at least 1"),
        ("dff", {"parts": 0}, r"^parts: got 0; give at least 1\.$"),
        ("dff", {"iterations": 0}, r"^iterations: got 0; give at least 1\.$"),
        ("sscam", {"samples": 0}, r"^samples: got 0; give at least 1\.$"),
        ("iscam", {"steps": 0}, r"^steps: got 0; give at least 1\.$"),
        ("smoothgradcam++", {"samples": 0}, r"^samples: got 0; give at least 1\.$"),
        ("rise", {"masks": 0}, r"^masks: got 0; give at least 1\.$"),
        ("rise", {"cells": 0}, r"^cells: got 0; give at least 1\.$"),
        ("rise", {"keep": 0.0}, r"^keep: got 0\.0; give a share in \(0, 1\]\.$"),
        ("rise", {"keep": 2.0}, r"^keep: got 2\.0; give a share in \(0, 1\]\.$"),
        ("kpcacam", {"kernel": "x"}, r"^kernel: got 'x'; give 'sigmoid' or 'rbf'\.$"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        look_with(name, gelu(), **options)
    case = gelu()
    with pytest.raises(ValueError, match=message):
        explain(case.model, case.images, method=partial(METHODS[name], **options), target_layer=case.layer)


# --- Channels that are flat


@pytest.mark.parametrize("name", ["scorecam", "sscam", "iscam"])
def test_a_channel_that_is_flat_takes_no_part(name):
    for bias in torch.linspace(0.01, 0.02, 11).tolist():
        case = gelu()
        with torch.no_grad():
            case.trunk[2].weight[3] = 0.0
            case.trunk[2].bias[3] = bias
        activations = case.trunk(case.images).detach()
        assert_close(activations[:, 3], activations[:1, 3, :1, :1].expand(4, 6, 5), rtol=0.0, atol=0.0)
        assert_close(activations.square().sum(dim=(2, 3)).argmin(dim=1), torch.full((4,), 3))
        assert_close_to_peak(look_with(name, case), look_with(name, case, top_k=7), 1e-9)


@pytest.mark.parametrize("name", ["eigencam", "kpcacam"])
def test_the_sign_is_not_left_to_rounding_where_the_channels_cancel(name):
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.GroupNorm(1, 8))

    class Cancels(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return values - values.mean(dim=1, keepdim=True)

    case = halves(
        nn.Sequential(*features, Cancels()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)),
    )
    exact = look_with(name, case)
    assert (case.trunk(case.images).sum(dim=1).abs() < 1e-12).all()
    peak = exact.flatten(1).gather(1, exact.abs().flatten(1).argmax(dim=1, keepdim=True))
    assert (peak > 0).all()
    case.model.float()
    rough = look_with(name, replace(case, images=case.images.float()))
    assert_close_to_peak(rough, exact, 1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_a_row_says_whether_the_map_is_that_of_a_target(name):
    case = BUILD[networks_of(name)[0]]()
    one, other = (look_with(name, case, target) for target in (0, 1))
    assert torch.equal(one, other) != METHODS[name].of_target
