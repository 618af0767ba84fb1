"""Public libraries: equal where they are right, and where they are not, what they compute instead and how far it is from the twin.

Raw maps are compared, never pictures. Networks whose tail edits the layer's output in place are left out for pytorch-grad-cam and
torchcam, which keep that very tensor as their activations.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference import equations as book
from support.cases import (
    BUILD,
    NETWORKS,
    Case,
    assert_close_to_peak,
    by_hand,
    facts,
    furthest_from,
    gelu,
    halves,
    look_with,
    relu,
)
from torch import Tensor, nn
from torch.testing import assert_close

for package in ("captum", "pytorch_grad_cam", "sklearn", "torchcam"):
    pytest.importorskip(package, reason=f"needs {package}: pip install -e '.[test]'")

import pytorch_grad_cam
import torchcam.methods
from captum.attr import LayerGradCam, LayerGradientXActivation
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from sklearn.decomposition import KernelPCA

KEPT = ["relu", "gelu"]
THEIR_FLOAT32 = 1e-5  # of each map's peak, where a library rounds to float32
THEIR_EPSILON = 1e-5  # where a library adds 1e-7 or 1e-8 to a denominator


def by_grad_cam(kind: type, case: Case, **options: Any) -> Tensor:
    """What a method of pytorch-grad-cam computes before it rectifies and scales it: the library hands out pictures alone."""
    kept = []
    with kind(model=case.model, target_layers=[case.target_layer], **options) as method:
        picture_of = method.get_cam_image

        def keep(*arguments: Any) -> np.ndarray:
            kept.append(picture_of(*arguments))
            return kept[0]

        method.get_cam_image = keep
        method(case.images.clone(), [ClassifierOutputTarget(label) for label in case.labels.tolist()])
    return torch.from_numpy(kept[0])


def by_torchcam(kind: type, case: Case, **options: Any) -> Tensor:
    """A raw map of torchcam."""
    with kind(case.model, case.layer, **options) as method:
        scores = case.model(case.images)
        return method(case.labels.tolist(), scores, normalized=False)[0].detach()


def by_the_twin(name: str, case: Case, **options: Any) -> Tensor:
    return torch.from_numpy(book.cams(name, facts(case), **options))


def label_scores(case: Case) -> Tensor:
    return case.model(case.images).gather(1, case.labels[:, None])[:, 0].detach()


def full_resolution(activation: nn.Module) -> Case:
    """A target layer of the image's resolution, without flat channels: upsampling changes nothing."""
    torch.manual_seed(6)
    features = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 8, 3, padding=1), activation
    )
    tail = nn.Sequential(
        nn.Conv2d(8, 6, 3, stride=2), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    )
    return halves(features, tail, scale=10.0)


# --- captum


@pytest.mark.parametrize("network", NETWORKS)
def test_grad_cam_equals_captum(network):
    case = BUILD[network]()
    expected = LayerGradCam(case.model, case.target_layer).attribute(
        case.images, target=case.labels, relu_attributions=True
    )
    assert_close_to_peak(look_with("gradcam", case), expected[:, 0].detach(), 1e-9)


@pytest.mark.parametrize("network", NETWORKS)
def test_signed_hires_cam_equals_captum(network):
    case = BUILD[network]()
    expected = LayerGradientXActivation(case.model, case.target_layer).attribute(
        case.images, target=case.labels
    )
    expected = expected.sum(dim=1).detach()
    assert expected.amin() < 0 < expected.amax()
    assert_close_to_peak(look_with("hirescam", case), expected, 1e-9)


# --- pytorch-grad-cam, where it is right


@pytest.mark.parametrize("network", KEPT)
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("gradcam", pytorch_grad_cam.GradCAM),
        ("gradcam-elementwise", pytorch_grad_cam.GradCAMElementWise),
        ("layercam", pytorch_grad_cam.LayerCAM),
        ("hirescam", pytorch_grad_cam.HiResCAM),
    ],
)
def test_methods_without_a_denominator_equal_pytorch_grad_cam(name, kind, network):
    case = BUILD[network]()
    expected = by_grad_cam(kind, case)
    # It rectifies afterwards, and LayerCAM's and Grad-CAM's equations say so.
    expected = expected.relu() if name in ("gradcam", "layercam") else expected
    assert_close_to_peak(look_with(name, case), expected, 1e-9)


def test_xgrad_cam_equals_pytorch_grad_cam_on_relu_networks_but_for_its_epsilon():
    case = relu()
    assert_close_to_peak(
        look_with("xgradcam", case), by_grad_cam(pytorch_grad_cam.XGradCAM, case).relu(), THEIR_EPSILON
    )


def test_shapley_cam_equals_pytorch_grad_cam_on_a_curved_tail():
    torch.manual_seed(8)
    features = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.Tanh())
    tail = nn.Sequential(
        nn.Conv2d(6, 6, 3), nn.Softplus(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    )
    for case in (gelu(), halves(features, tail)):
        expected = by_grad_cam(pytorch_grad_cam.ShapleyCAM, case).relu()
        assert_close_to_peak(look_with("shapleycam", case), expected, 1e-9)
        assert (furthest_from(look_with("gradcam", case), expected) > 1e-3).all()


def test_ablation_cam_equals_pytorch_grad_cam_where_activations_start_at_zero_and_scores_are_positive():
    case = relu()
    with torch.no_grad():
        case.head.bias.add_(0.05 - label_scores(case).amin())
    assert (label_scores(case) > 0).all()
    assert (case.trunk(case.images).amin(dim=(1, 2, 3)) == 0).all()
    expected = by_grad_cam(pytorch_grad_cam.AblationCAM, case).relu()
    assert_close_to_peak(look_with("ablationcam", case), expected, THEIR_FLOAT32)


@pytest.mark.parametrize("activation", [nn.GELU(), nn.Softplus()], ids=str)
def test_score_cam_equals_pytorch_grad_cam_where_there_is_nothing_to_upsample(activation):
    case = full_resolution(activation)
    expected = by_grad_cam(pytorch_grad_cam.ScoreCAM, case).relu()
    assert_close_to_peak(look_with("scorecam", case), expected, THEIR_FLOAT32)


@pytest.mark.parametrize("network", NETWORKS)
def test_kpca_cam_is_the_kernel_pca_of_scikit_learn_up_to_its_sign(network):
    case = BUILD[network]()
    cams = look_with("kpcacam", case)
    for activations, cam in zip(by_hand(case)[0], cams, strict=True):
        positions = activations.flatten(1).T.numpy()
        peer = KernelPCA(1, kernel="sigmoid", gamma=1 / positions.shape[1], coef0=1).fit_transform(positions)[
            :, 0
        ]
        peer = torch.from_numpy(peer).reshape(cam.shape)
        peer = peer if (peer * cam).sum() > 0 else -peer
        assert_close(cam / cam.abs().amax(), peer / cam.abs().amax(), rtol=0.0, atol=1e-9)


# --- torchcam, where it is right


@pytest.mark.parametrize("network", KEPT)
@pytest.mark.parametrize(
    ("name", "kind"), [("gradcam", torchcam.methods.GradCAM), ("layercam", torchcam.methods.LayerCAM)]
)
def test_methods_without_a_denominator_equal_torchcam(name, kind, network):
    case = BUILD[network]()
    assert_close_to_peak(look_with(name, case), by_torchcam(kind, case), 1e-9)


@pytest.mark.parametrize("network", KEPT)
def test_xgrad_cam_equals_torchcam_but_for_its_epsilon(network):
    case = BUILD[network]()
    assert_close_to_peak(
        look_with("xgradcam", case), by_torchcam(torchcam.methods.XGradCAM, case), THEIR_EPSILON
    )


@pytest.mark.parametrize("activation", [nn.GELU(), nn.Softplus()], ids=str)
def test_score_cam_equals_torchcam_where_there_is_nothing_to_upsample(activation):
    case = full_resolution(activation)
    assert_close_to_peak(
        look_with("scorecam", case), by_torchcam(torchcam.methods.ScoreCAM, case), THEIR_FLOAT32
    )


@pytest.mark.parametrize("activation", ["pooled_relu", "pooled_gelu"])
def test_cam_equals_torchcam_which_keeps_the_sign_too(activation):
    case = BUILD[activation]()
    expected = by_torchcam(torchcam.methods.CAM, case, fc_layer="tail.2")
    assert expected.amin() < 0 < expected.amax()
    assert_close_to_peak(look_with("cam", case), expected, 1e-9)


# --- Where they are not: each time our map is the twin's, and theirs is another equation


def differs(name: str, case: Case, theirs: Tensor, least: float, **options: Any) -> None:
    """Ours is the twin's map; of some image theirs is further from it than ``least``, as a share of the peak."""
    twin = by_the_twin(name, case, **options)
    assert_close_to_peak(look_with(name, case, **options), twin, 1e-9)
    assert furthest_from(theirs, twin).amax() > least


def test_pytorch_grad_cam_adds_to_the_squared_gradients_of_grad_cam_plus_plus_what_outweighs_them():
    # Denominators of eq. 19 are positive where activations are not negative. The 1e-6 beside g^2 vanishes only for steep heads.
    errors = {}
    for scale in (1e-2, 1.0, 1e3):
        case = relu(scale=scale)
        theirs = by_grad_cam(pytorch_grad_cam.GradCAMPlusPlus, case).relu()
        errors[scale] = float(furthest_from(theirs, by_the_twin("gradcam++", case)).amax())
        assert_close_to_peak(look_with("gradcam++", case), by_the_twin("gradcam++", case), 1e-9)
    assert errors[1e3] < 1e-3
    assert errors[1.0] > 0.04
    assert errors[1e-2] > 0.9


def first_component(rows: np.ndarray) -> np.ndarray:
    return rows @ np.linalg.svd(rows, full_matrices=False)[2][0]


def test_pytorch_grad_cam_centres_eigen_cam_and_leaves_its_sign_to_chance():
    upside_down = 0
    for network in NETWORKS:
        case = BUILD[network]()
        activations = by_hand(case)[0]
        # Its tail edits the activations in place, before the library copies them.
        activations = activations.relu() if network == "sequential" else activations
        theirs = by_grad_cam(pytorch_grad_cam.EigenCAM, case)
        for values, map_ in zip(activations, theirs, strict=True):
            rows = values.flatten(1).T.numpy()
            centred = torch.from_numpy(first_component(rows - rows.mean(axis=0))).reshape(map_.shape)
            assert_close_to_peak(map_.abs()[None], centred.abs()[None], THEIR_FLOAT32)
            upside_down += int((map_ * values.sum(dim=0)).sum() < 0)
        differs("eigencam", case, theirs, least=0.3)
    assert 0 < upside_down < 3 * 4


def test_pytorch_grad_cam_centres_eigen_grad_cam():
    case = gelu()
    products = torch.mul(*by_hand(case))
    theirs = by_grad_cam(pytorch_grad_cam.EigenGradCAM, case)
    for values, map_ in zip(products, theirs, strict=True):
        rows = values.flatten(1).T.numpy()
        centred = torch.from_numpy(first_component(rows - rows.mean(axis=0))).reshape(map_.shape)
        assert_close_to_peak(map_.abs()[None], centred.abs()[None], THEIR_FLOAT32)
    differs("eigengradcam", case, theirs, least=0.3)


def test_pytorch_grad_cam_centres_activations_before_the_kernel_of_kpca_cam():
    case = relu()
    theirs = by_grad_cam(pytorch_grad_cam.KPCA_CAM, case)
    differs("kpcacam", case, theirs, least=0.1)
    differs("kpcacam", case, -theirs, least=0.1)


def test_pytorch_grad_cam_does_not_ablate_activations_of_both_signs_but_takes_ten_millions_from_them():
    case = gelu()
    theirs = by_grad_cam(pytorch_grad_cam.AblationCAM, case).relu()
    differs("ablationcam", case, theirs, least=1.0)


def test_pytorch_grad_cam_turns_ablation_cam_where_the_score_is_negative():
    case = relu()
    with torch.no_grad():
        case.head.bias.sub_(0.05 + label_scores(case).amax())
    assert (label_scores(case) < 0).all()
    theirs = by_grad_cam(pytorch_grad_cam.AblationCAM, case)
    assert_close_to_peak(look_with("ablationcam", case), (-theirs).relu(), THEIR_FLOAT32)
    differs("ablationcam", case, theirs.relu(), least=0.5)


@pytest.mark.parametrize("network", KEPT)
def test_pytorch_grad_cam_weighs_whole_channels_of_fem_by_how_often_they_are_unusual(network):
    case = BUILD[network]()
    activations = by_hand(case)[0]
    mean, spread = (
        activations.mean(dim=(2, 3), keepdim=True),
        activations.std(dim=(2, 3), correction=0, keepdim=True),
    )
    share = (activations > mean + 2 * spread).double().mean(dim=(2, 3), keepdim=True)
    theirs = by_grad_cam(pytorch_grad_cam.FEM, case)
    assert_close_to_peak(theirs, (share * activations).sum(dim=1), 1e-9)
    differs("fem", case, theirs / theirs.amax() * by_the_twin("fem", case).amax(), least=0.3)


def test_pytorch_grad_cam_upsamples_the_masks_of_score_cam_by_their_corners():
    case = gelu(scale=10.0)
    theirs = by_grad_cam(pytorch_grad_cam.ScoreCAM, case).relu()
    assert_close_to_peak(score_cam_with(case, by_corners), theirs, THEIR_FLOAT32)
    differs("scorecam", case, theirs, least=1e-3)


def test_torchcam_scales_the_masks_of_score_cam_before_it_upsamples_them():
    case = gelu(scale=10.0)
    theirs = by_torchcam(torchcam.methods.ScoreCAM, case)
    assert_close_to_peak(score_cam_with(case, scaled_before), theirs, THEIR_FLOAT32)
    differs("scorecam", case, theirs, least=1e-3)


def score_cam_with(case: Case, masks_of: Callable[[Tensor], Tensor]) -> Tensor:
    """Score-CAM with masks (n, k, H, W) made in another way."""
    activations = case.trunk(case.images).detach()
    masks = masks_of(activations)
    with torch.no_grad():
        answers = [case.model(case.images * masks[:, k, None]) for k in range(activations.shape[1])]
    scores = torch.stack([answer.gather(1, case.labels[:, None])[:, 0] for answer in answers], dim=1)
    return (scores.softmax(dim=1)[:, :, None, None] * activations).sum(dim=1).relu()


def scaled(maps: Tensor) -> Tensor:
    low, high = maps.amin(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
    return (maps - low) / (high - low)


def by_corners(activations: Tensor) -> Tensor:
    return scaled(F.interpolate(activations, (12, 10), mode="bilinear", align_corners=True))


def scaled_before(activations: Tensor) -> Tensor:
    return F.interpolate(scaled(activations), (12, 10), mode="bilinear", align_corners=False)


@pytest.mark.parametrize("network", KEPT)
def test_torchcam_divides_a_copy_so_that_grad_cam_plus_plus_weighs_by_cubes(network):
    case = BUILD[network]()
    activations, gradients = by_hand(case)
    theirs = by_torchcam(torchcam.methods.GradCAMpp, case)
    cubes = gradients.relu().pow(3).sum(dim=(2, 3), keepdim=True)
    assert_close_to_peak(theirs, (cubes * activations).sum(dim=1).relu(), 1e-9)
    twin = by_the_twin("gradcam++", case)
    differs("gradcam++", case, theirs / theirs.amax() * twin.amax(), least=0.1)


def test_torchcam_takes_gradients_and_activations_of_smooth_grad_cam_plus_plus_from_the_last_noisy_image_alone():
    case, samples, epsilon = gelu(scale=100.0), 3, 1e-8
    torch.manual_seed(5)
    with torchcam.methods.SmoothGradCAMpp(case.model, case.layer, num_samples=samples, std=1.0) as method:
        case.model(case.images)
        theirs = method(case.labels.tolist(), normalized=False)[0].detach()
    torch.manual_seed(5)
    noise = torch.distributions.Normal(0.0, 1.0)
    looks = [
        by_hand(replace(case, images=case.images + noise.sample(case.images.shape))) for _ in range(samples)
    ]
    gradients = torch.stack([gradient for _, gradient in looks])
    activations, _ = by_hand(case)
    second, third = gradients.square().mean(dim=0), gradients.pow(3).mean(dim=0)
    alpha = second / (2 * second + (third * activations).sum(dim=(2, 3), keepdim=True) + epsilon)

    def weighted_by(gradient: Tensor, values: Tensor) -> Tensor:
        return ((alpha * gradient.relu()).sum(dim=(2, 3), keepdim=True) * values).sum(dim=1).relu()

    assert_close_to_peak(theirs, weighted_by(gradients[-1], looks[-1][0]), 1e-9)
    assert furthest_from(theirs, weighted_by(gradients.mean(dim=0), looks[-1][0])).amax() > 0.05
    assert furthest_from(theirs, weighted_by(gradients[-1], activations)).amax() > 0.05


def test_torchcam_sums_up_the_steps_of_is_cam():
    case = full_resolution(nn.GELU())
    theirs = by_torchcam(torchcam.methods.ISCAM, case, num_samples=3)
    activations = case.trunk(case.images).detach()
    # Masks by 1/3, then 1/3 + 2/3, then 1/3 + 2/3 + 3/3, which is brighter than the image.
    with torch.no_grad():
        scores = torch.zeros(4, 8, dtype=torch.float64)
        for coefficient in (1 / 3, 1.0, 2.0):
            masked = [
                case.model(coefficient * case.images * scaled(activations)[:, k, None]) for k in range(8)
            ]
            scores = (
                scores
                + torch.stack([answer.gather(1, case.labels[:, None])[:, 0] for answer in masked], dim=1) / 3
            )
    expected = (scores.softmax(dim=1)[:, :, None, None] * activations).sum(dim=1).relu()
    assert_close_to_peak(theirs, expected, THEIR_EPSILON)
    differs("iscam", case, theirs, least=1e-3, steps=3)
