"""Every row of METHODS: equal to its plain twin, to a public library where that one is right, and true to its identities."""

from collections.abc import Callable
from dataclasses import dataclass

import by_the_book as book
import pytest
import torch
from captum.attr import LayerGradCam, LayerGradientXActivation
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_cam import explain
from lightning_cam.functional.maps import BLANK_REASONS
from lightning_cam.functional.methods import METHODS
from lightning_cam.look import find_layer, look

CLASSES = 4
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}  # of each map's peak
IN_FLOAT32 = 1e-5  # what ``explain`` returns is float32 whatever the model's precision

WITHOUT_GRADIENTS = {
    "eigencam": "looks at the activations alone, so it has a map where the gradient is zero",
    "random": "looks at nothing",
}
NOT_FROM_THE_IMAGE = {"random": "noise does not follow the image: not its flip, not its place in the batch, not its activations"}
# Signed maps that are linear in the gradients: alone or, where the method rectifies, as map(score) - map(-score).
LINEAR = ("gradcam", "xgradcam", "hirescam")
SIGNED = ("hirescam",)

NETWORKS = ("relu", "gelu", "sequential")
SCALES = (1.0, 1e-4, 1e4)


def but(exempt: dict[str, str]) -> list[str]:
    return [name for name in METHODS if name not in exempt]


@dataclass(frozen=True)
class Case:
    """A network in two halves, which meet at the target layer, and what it is asked."""

    model: nn.Module
    layer: str
    trunk: nn.Module
    tail: nn.Sequential
    images: Tensor
    labels: Tensor

    @property
    def head(self) -> nn.Linear:
        return self.tail[-1]


class Halves(nn.Module):
    def __init__(self, features: nn.Sequential, tail: nn.Sequential) -> None:
        super().__init__()
        self.features, self.tail = features, tail

    def forward(self, images: Tensor) -> Tensor:
        return self.tail(self.features(images))


def case(model: nn.Module, layer: str, trunk: nn.Module, tail: nn.Sequential, dtype: torch.dtype, scale: float) -> Case:
    with torch.no_grad():
        tail[-1].weight.mul_(scale)
        tail[-1].bias.mul_(scale)
    images = torch.randn(4, 3, 12, 10).to(dtype)
    return Case(model.to(dtype).eval(), layer, trunk, tail, images, torch.tensor([0, 3, 1, 1]))


def halves(features: nn.Sequential, tail: nn.Sequential, dtype: torch.dtype, scale: float) -> Case:
    model = Halves(features, tail)
    return case(model, "features", model.features, model.tail, dtype, scale)


def relu(dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Case:
    """Fewer channels (8) than positions (6 x 5), of which one is dead."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(8)
    norm.running_mean.uniform_(-0.2, 0.2)
    norm.running_var.uniform_(0.1, 0.3)
    with torch.no_grad():
        norm.bias.uniform_(-0.5, 0.5)[0] = -100.0
    features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2, padding=1), norm, nn.ReLU())
    tail = nn.Sequential(
        nn.Conv2d(8, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
        nn.ReLU(),
        nn.Linear(5, CLASSES),
    )
    return halves(features, tail, dtype, scale)


def gelu(dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Case:
    """Activations of both signs; channel sums too."""
    torch.manual_seed(47)
    features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.GELU(), nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.GELU())
    tail = nn.Sequential(nn.Conv2d(8, 6, 3, padding=1), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES))
    return halves(features, tail, dtype, scale)


def sequential(dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Case:
    """More channels (24) than positions (5 x 4); what follows the layer edits its output in place."""
    torch.manual_seed(10)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 24, 2),
        nn.ReLU(inplace=True),
        nn.Conv2d(24, 6, 2),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(72, 8),
        nn.SiLU(),
        nn.Linear(8, CLASSES),
    )
    return case(model, "3", model[:4], model[4:], dtype, scale)


def pooled(activation: nn.Module, dtype: torch.dtype = torch.float64) -> Case:
    """Global average pooling and one linear layer after the target layer."""
    torch.manual_seed(3)
    features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2, padding=1), activation)
    return halves(features, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)), dtype, 1.0)


BUILD: dict[str, Callable[..., Case]] = {"relu": relu, "gelu": gelu, "sequential": sequential}


def by_hand(case: Case) -> tuple[Tensor, Tensor]:
    """Activations and gradients at the target layer by plain autograd, the whole graph in one piece."""
    activations = case.trunk(case.images)
    # A clone, for the tail may edit its input.
    scores = case.tail(activations.clone())
    (gradients,) = torch.autograd.grad(scores.gather(1, case.labels[:, None]).sum(), activations)
    return activations.detach(), gradients


def from_the_book(name: str, case: Case) -> Tensor:
    if name not in book.METHODS:
        pytest.fail(f"method {name!r} has no twin; write its equation a second time in tests/by_the_book.py, METHODS")
    activations, gradients = by_hand(case)
    return torch.from_numpy(book.cams(name, activations.numpy(), gradients.numpy()))


def look_with(name: str, case: Case, target: str | int | Callable = "label", images: Tensor | None = None) -> Tensor:
    """The raw map in the model's own precision."""
    images = case.images if images is None else images
    layer = find_layer(case.model, images, case.layer)
    with look(case.model, images, target_layer=layer, target=target, labels=case.labels) as evidence:
        return METHODS[name](evidence)


def assert_close_to_peak(cams: Tensor, expected: Tensor, tolerance: float) -> None:
    """The largest error of each map, as a share of the map's peak; a zero map must be zero exactly."""
    peak = expected.abs().amax(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    assert_close(cams.double() / peak, expected.double() / peak, rtol=0.0, atol=tolerance)


def label_score(scores: Tensor, labels: Tensor) -> Tensor:
    return scores.gather(1, labels[:, None])[:, 0]


def minus_label_score(scores: Tensor, labels: Tensor) -> Tensor:
    return -label_score(scores, labels)


def signed(name: str, case: Case, score: Callable, minus: Callable) -> Tensor:
    """The map before its relu: ``relu(m) - relu(-m) = m`` for a method that is linear in the gradients."""
    return look_with(name, case, score) if name in SIGNED else look_with(name, case, score) - look_with(name, case, minus)


# --- Twins ------------------------------------------------------------------------------------------------------------------------


def test_every_method_has_a_twin():
    missing = set(METHODS) - set(book.METHODS) - set(book.NO_METHOD_TWIN)
    assert not missing, f"no twin for {sorted(missing)}: write the equation a second time in tests/by_the_book.py, METHODS"
    left_over = (set(book.METHODS) | set(book.NO_METHOD_TWIN)) - set(METHODS)
    assert not left_over, f"tests/by_the_book.py has twins of methods that are gone: {sorted(left_over)}"


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", but(book.NO_METHOD_TWIN))
def test_equals_the_book(name, network, dtype, scale):
    case = BUILD[network](dtype, scale)
    cams = look_with(name, case)
    assert cams.dtype == dtype
    assert_close_to_peak(cams, from_the_book(name, case), TOLERANCE[dtype])


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", but(book.NO_METHOD_TWIN))
def test_explain_equals_the_book(name, network, dtype, scale):
    case = BUILD[network](dtype, scale)
    explanation = explain(case.model, case.images, method=name, target="label", labels=case.labels, target_layer=case.layer)
    assert explanation.cams.dtype == torch.float32
    assert_close_to_peak(explanation.cams, from_the_book(name, case), IN_FLOAT32)


def test_networks_reach_every_branch_of_the_equations():
    # Else the comparisons above would prove less than they say.
    activations, gradients = {}, {}
    for network in NETWORKS:
        for scale in SCALES:
            activations[network, scale], gradients[network, scale] = by_hand(BUILD[network](scale=scale))
        g = gradients[network, 1.0]
        assert g.std(dim=(2, 3)).amax(dim=1).gt(0).all(), "gradients vary over positions"
        assert g.amin() < 0 < g.amax(), "gradients have both signs"
        for name in but(book.NO_METHOD_TWIN):
            assert (from_the_book(name, BUILD[network]()) != 0).any(dim=(1, 2)).all(), f"{name} has a map on {network}"
    a = activations["relu", 1.0]
    assert (a.sum(dim=(2, 3)) == 0).any(), "a channel with S = 0"
    assert (gradients["relu", 1.0][a.sum(dim=(2, 3)) == 0] != 0).any(), "which the score depends on all the same"
    sums = activations["gelu", 1.0].sum(dim=(2, 3), keepdim=True)
    assert sums.amin() < 0 < sums.amax(), "channel sums of both signs"
    steep = gradients["gelu", 1e4]
    assert ((steep > 0) & (2 + steep * sums <= 0)).any(), "2 + g S <= 0 where g is positive"
    for (network, scale), g in gradients.items():
        denominator = 2 + g * activations[network, scale].sum(dim=(2, 3), keepdim=True)
        # Grad-CAM++ has a pole at 2 + g S = 0; near it float32 could not agree with float64 however right the code is.
        assert denominator[g > 0].abs().amin() > 0.1, f"{network}, head times {scale}: too near the pole for float32"
    positions = {network: activations[network, 1.0][0, 0].numel() for network in NETWORKS}
    channels = {network: activations[network, 1.0].shape[1] for network in NETWORKS}
    assert positions["relu"] > channels["relu"]
    assert positions["sequential"] < channels["sequential"]


# --- A public library, where it is right ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
def test_grad_cam_equals_captum(network):
    case = BUILD[network]()
    layer = case.model.get_submodule(case.layer)
    expected = LayerGradCam(case.model, layer).attribute(case.images, target=case.labels, relu_attributions=True)
    assert_close_to_peak(look_with("gradcam", case), expected[:, 0].detach(), 1e-9)


@pytest.mark.parametrize("network", NETWORKS)
def test_signed_hires_cam_equals_captum(network):
    case = BUILD[network]()
    layer = case.model.get_submodule(case.layer)
    expected = LayerGradientXActivation(case.model, layer).attribute(case.images, target=case.labels).sum(dim=1).detach()
    assert expected.amin() < 0 < expected.amax()
    assert_close_to_peak(look_with("hirescam", case), expected, 1e-9)


# --- Identities: global average pooling and a linear head -------------------------------------------------------------------------

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


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
    with look(case.model, case.images, target_layer=layer, labels=case.labels) as evidence:
        assert_close(evidence.gradients, (weights / z).expand_as(activations))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", LINEAR)
def test_pooled_grad_cam_xgrad_cam_and_hires_cam_are_cam_over_z(name, activation):
    case = pooled(ACTIVATIONS[activation]())
    activations, weights, z = pooled_terms(case)
    expected = (weights * activations).sum(dim=1) / z
    assert expected.amin() < 0 < expected.amax()
    assert_close_to_peak(signed(name, case, label_score, minus_label_score), expected, 1e-9)
    assert_close_to_peak(look_with(name, case).relu(), expected.relu(), 1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_pooled_layer_cam_takes_the_positive_weights(activation):
    case = pooled(ACTIVATIONS[activation]())
    activations, weights, z = pooled_terms(case)
    assert_close_to_peak(look_with("layercam", case), (weights.relu() * activations).sum(dim=1).relu() / z, 1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_pooled_elementwise_grad_cam_takes_the_positive_products(activation):
    case = pooled(ACTIVATIONS[activation]())
    activations, weights, z = pooled_terms(case)
    assert_close_to_peak(look_with("gradcam-elementwise", case), (weights * activations).relu().sum(dim=1) / z, 1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_pooled_grad_cam_plus_plus_weighs_by_the_channel_means(activation):
    case = pooled(ACTIVATIONS[activation]())
    activations, weights, _ = pooled_terms(case)
    denominator = 2 + weights * activations.mean(dim=(2, 3), keepdim=True)
    assert (denominator > 0).all()
    expected = (weights.relu() / denominator * activations).sum(dim=1).relu()
    assert_close_to_peak(look_with("gradcam++", case), expected, 1e-9)


# --- Identities: any network ------------------------------------------------------------------------------------------------------


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
    case = halves(features, tail, torch.float64, 1.0)
    scores = label_score(case.model(case.images), case.labels).detach()
    assert_close(look_with("hirescam", case).sum(dim=(1, 2)), scores - case.head.bias.detach()[case.labels])


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", LINEAR)
def test_signed_maps_sum_to_zero_over_classes_where_the_heads_columns_do(name, network):
    case = BUILD[network]()
    with torch.no_grad():
        case.head.weight.sub_(case.head.weight.mean(dim=0))
    maps = torch.stack(
        [
            signed(name, case, lambda scores, labels, c=c: scores[:, c], lambda scores, labels, c=c: -scores[:, c])
            for c in range(CLASSES)
        ]
    )
    peak = maps.abs().amax(dim=(0, 2, 3))[:, None, None]
    assert (peak > 0).all()
    assert_close(maps.sum(dim=0) / peak, torch.zeros_like(maps[0]), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("dim", [-1, -2], ids=["left_right", "up_down"])
@pytest.mark.parametrize("network", ["relu", "gelu"])
@pytest.mark.parametrize("name", but(NOT_FROM_THE_IMAGE))
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


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", but(NOT_FROM_THE_IMAGE))
def test_images_are_explained_independently(name, network):
    case = BUILD[network]()
    together = explain(case.model, case.images, method=name, target="label", labels=case.labels, target_layer=case.layer)
    alone = [
        explain(case.model, image[None], method=name, target="label", labels=label[None], target_layer=case.layer).cams
        for image, label in zip(case.images, case.labels, strict=True)
    ]
    assert_close_to_peak(together.cams, torch.cat(alone), IN_FLOAT32)
    in_parts = explain(
        case.model, case.images, method=name, target="label", labels=case.labels, target_layer=case.layer, max_batch=3
    )
    assert_close_to_peak(together.cams, in_parts.cams, IN_FLOAT32)


@pytest.mark.parametrize("name", METHODS)
def test_channel_order_is_irrelevant(name):
    case = gelu()
    cams = look_with(name, case)
    order = torch.tensor([5, 2, 7, 0, 3, 6, 1, 4])
    last, first = case.trunk[2], case.tail[0]
    with torch.no_grad():
        last.weight.copy_(last.weight[order])
        last.bias.copy_(last.bias[order])
        first.weight.copy_(first.weight[:, order])
    assert_close_to_peak(look_with(name, case), cams, 1e-9)


# --- Nothing to show --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", but(WITHOUT_GRADIENTS))
def test_zero_gradients_give_a_zero_map_that_says_so(name, network):
    case = BUILD[network](scale=0.0)
    explanation = explain(case.model, case.images, method=name, target="label", labels=case.labels, target_layer=case.layer)
    assert_close(explanation.cams, torch.zeros_like(explanation.cams), rtol=0.0, atol=0.0)
    assert_close(explanation.saliency, torch.zeros_like(explanation.saliency), rtol=0.0, atol=0.0)
    assert explanation.blank == ("the gradient is zero",) * len(case.images)


@pytest.mark.parametrize("name", but(NOT_FROM_THE_IMAGE))
def test_zero_activations_give_a_zero_map_that_says_so(name):
    case = relu()
    with torch.no_grad():
        case.trunk[3].bias.fill_(-100.0)
    explanation = explain(case.model, case.images, method=name, target="label", labels=case.labels, target_layer=case.layer)
    assert_close(explanation.cams, torch.zeros_like(explanation.cams), rtol=0.0, atol=0.0)
    assert explanation.blank == ("no activation at the layer",) * len(case.images)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", but(NOT_FROM_THE_IMAGE))
def test_a_model_that_diverged_gives_maps_that_say_so(name, network):
    case = BUILD[network]()
    with torch.no_grad():
        case.trunk[0].weight[0, 0, 0, 0] = torch.nan
    with pytest.warns(UserWarning, match=r"maps: 4 of 4 are not finite \(NaN or inf\)"):
        explanation = explain(case.model, case.images, method=name, target="label", labels=case.labels, target_layer=case.layer)
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
    together = explain(case.model, case.images, method=names, **question)
    for name in names:
        alone = explain(case.model, case.images, method=name, **question)
        assert_close(together[name].cams, alone.cams, rtol=0.0, atol=0.0)
        assert together[name].blank == alone.blank, name


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", but(NOT_FROM_THE_IMAGE))
def test_an_image_whose_activations_are_not_finite_spoils_no_other(name, network):
    case = BUILD[network]()
    good = [0, 1, 3]
    expected = look_with(name, case)

    def forward(model: nn.Module, images: Tensor) -> Tensor:
        # A network that divides by what one of the images lacks.
        return model(images / images.any(dim=(1, 2, 3))[:, None, None, None])

    images = case.images.clone()
    images[2] = 0
    layer = find_layer(case.model, images, case.layer, forward)
    with look(case.model, images, target_layer=layer, labels=case.labels, forward=forward) as evidence:
        cams = METHODS[name](evidence)
    assert not cams[2].isfinite().any()
    assert_close_to_peak(cams[good], expected[good], 1e-9)


@pytest.mark.parametrize("name", WITHOUT_GRADIENTS)
def test_without_gradients_a_tail_that_has_none_will_do(name):
    case = relu()
    expected = look_with(name, case)

    def forward(model: nn.Module, images: Tensor) -> Tensor:
        return model.tail(model.features(images).detach())

    layer = find_layer(case.model, case.images, case.layer, forward)
    with look(case.model, case.images, target_layer=layer, labels=case.labels, forward=forward) as evidence:
        assert_close(METHODS[name](evidence), expected)


# --- The baseline -----------------------------------------------------------------------------------------------------------------


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


def test_random_draws_from_a_generator_of_its_own():
    case = relu()
    with look(
        case.model, case.images, target_layer=find_layer(case.model, case.images, case.layer), labels=case.labels
    ) as evidence:
        before = torch.random.get_rng_state()
        METHODS["random"](evidence)
        assert_close(torch.random.get_rng_state(), before, rtol=0.0, atol=0.0)
