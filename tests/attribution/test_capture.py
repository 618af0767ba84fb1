"""One look: right, on every kind of model; and what cannot be looked at."""

from collections.abc import Callable

import pytest
import torch
from support.captured import LABELS, Tokens, assert_right, by_hand, variant
from support.networks import Net, net, pictures
from torch import Tensor, nn

from lightning_cam.attribution.capture import capture, capture_layers, find_layer
from lightning_cam.attribution.config import ModelConfig
from lightning_cam.attribution.methods.table import METHODS
from lightning_cam.attribution.target_layer import named_layer
from lightning_cam.attribution.targets import TARGETS


def test_activations_and_gradients_are_those_of_the_split_network() -> None:
    assert_right(net(), net())


@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_works_under_every_grad_mode(context: Callable) -> None:
    model, reference = net(), net()
    with context():
        assert_right(model, reference)


def test_images_made_in_inference_mode() -> None:
    with torch.inference_mode():
        images, labels = pictures().clone(), LABELS.clone()
    model = net()
    with capture(model, images, target_layer=named_layer(model, "body"), labels=labels) as evidence:
        torch.testing.assert_close(evidence.gradients, by_hand(net(), pictures(), LABELS)[1])


def test_frozen_parameters() -> None:
    model = net().requires_grad_(False)
    assert_right(model, net())


class UnderNoGrad(Net):
    """Lightning's transfer-learning idiom: the backbone under the user's own no_grad."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            activations = self.trunk(images)
        return self.tail(activations)


class UnderInferenceMode(Net):
    def forward(self, images: Tensor) -> Tensor:
        with torch.inference_mode():
            pooled = self.trunk(images).mean(dim=(2, 3))
        return self.head(pooled)


@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_a_backbone_under_the_users_own_no_grad(context: Callable) -> None:
    model, reference = variant(UnderNoGrad), net()
    with context():
        assert_right(model, reference)


def test_a_backbone_under_inference_mode_says_so_and_explains_without_gradients() -> None:
    model = variant(UnderInferenceMode)
    with capture(model, pictures(), target_layer=named_layer(model, "body"), labels=LABELS) as evidence:
        assert METHODS["eigencam"](evidence).isfinite().all()
        with pytest.raises(
            ValueError,
            match=r"target_layer: no gradient at 'body': .*, or method='ablationcam', which needs no",
        ):
            _ = evidence.gradients
        followed = METHODS["ablationcam"](evidence)
    with capture(net(), pictures(), target_layer=named_layer(net(), "body"), labels=LABELS) as evidence:
        torch.testing.assert_close(followed, METHODS["ablationcam"](evidence))


class KeepsTensor(Net):
    """Keeps a tensor from its first forward, as models that cache positions or masks do."""

    kept: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        activations = self.trunk(images)
        if self.kept is None:
            self.kept = torch.full_like(activations[:1], 2.0)
        return self.tail(activations * activations * self.kept)


def test_tensors_kept_from_inference_mode_name_the_remedy_and_explain_without_gradients() -> None:
    model = variant(KeepsTensor).eval()
    with torch.inference_mode():
        model(pictures())
    with capture(model, pictures(), target_layer=named_layer(model, "body"), labels=LABELS) as evidence:
        assert METHODS["eigencam"](evidence).isfinite().all()
        with pytest.raises(ValueError, match=r"Trainer\(inference_mode=False\)"):
            _ = evidence.gradients


def test_an_in_place_activation_after_the_layer_does_not_edit_the_evidence() -> None:
    model = net(activation=lambda: nn.ReLU(inplace=True))
    layer = named_layer(model, "body.1")
    model.eval()
    with torch.no_grad():
        expected = model.body[1](model.body[0](model.stem(pictures())))
    leaf = expected.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model.tail(leaf.relu())[torch.arange(4), LABELS].sum(), leaf)
    with capture(model, pictures(), target_layer=layer, labels=LABELS) as evidence:
        assert (expected < 0).any()
        torch.testing.assert_close(evidence.activations, expected)
        torch.testing.assert_close(evidence.gradients, gradient)


def test_under_autocast_evidence_is_float32_and_weights_keep_their_gradients() -> None:
    model = net()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with capture(model, pictures(), target_layer=named_layer(model, "body"), labels=LABELS) as evidence:
            assert evidence.activations.dtype == evidence.gradients.dtype == torch.float32
        # A weight cast without grad during the look and kept in autocast's cache would end up without gradient here.
        model(pictures()).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes(dtype: torch.dtype) -> None:
    model = net().to(dtype)
    with capture(
        model, pictures().to(dtype), target_layer=named_layer(model, "body"), labels=LABELS
    ) as evidence:
        assert evidence.gradients.dtype == torch.promote_types(dtype, torch.float32)


@pytest.mark.parametrize("form", ["submodule", "module", "in place"])
def test_compiled_models(form: str) -> None:
    torch.compiler.reset()
    model = net().eval()
    if form == "submodule":
        model.body = torch.compile(model.body, backend="eager")
    elif form == "module":
        model = torch.compile(model, backend="eager")
    else:
        model.compile(backend="eager")
    with torch.no_grad():
        model(pictures())  # compiled before the hook comes: without force_eager it would never fire
    assert_right(model, net())
    assert find_layer(model, pictures()).name == "body"


def undecided() -> Net:
    """A network of which no class wins everywhere."""
    model = net()
    model.head.weight.data = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    model.head.bias.data = -model.head(model.eval().trunk(pictures()).mean(dim=(0, 2, 3))).detach()
    return model


def test_again_keeps_the_targets_of_the_clean_images() -> None:
    model = undecided()
    layer = named_layer(model, "body")
    others = -pictures()
    with capture(model, pictures(), target_layer=layer, target="predicted") as evidence:
        classes = evidence.target_classes
        noisy = evidence.with_images(others)
        assert not torch.equal(noisy.scores.argmax(dim=1), classes)
        torch.testing.assert_close(noisy.target_classes, classes)
        torch.testing.assert_close(noisy.gradients, by_hand(model, others, classes)[1])


def test_a_function_as_target() -> None:
    model = net()
    contrast = lambda scores, labels: scores[:, 0] - scores[:, 1]  # noqa: E731
    with capture(model, pictures(), target_layer=named_layer(model, "body"), target=contrast) as evidence:
        activations = by_hand(net(), pictures(), LABELS)[0].requires_grad_()
        model.eval()
        (gradient,) = torch.autograd.grad(contrast(model.tail(activations), None).sum(), activations)
        assert evidence.target_classes is None
        torch.testing.assert_close(evidence.gradients, gradient)


def test_a_method_without_gradients_needs_one_forward_even_under_the_users_no_grad() -> None:
    runs = []

    def forward(model: nn.Module, images: Tensor) -> Tensor:
        runs.append(len(images))
        return model(images)

    model = variant(UnderNoGrad)
    with capture(
        model,
        pictures(),
        target_layer=named_layer(model, "body"),
        labels=LABELS,
        config=ModelConfig(network=forward),
    ) as evidence:
        METHODS["eigencam"](evidence)
        assert runs == [4]
        _ = evidence.gradients
        assert runs == [4, 4]


# --- what is refused


class Beside(Net):
    """Has a layer that the forward never reaches, one that it runs twice, and one that the score ignores."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Conv2d(3, 3, 1)
        self.twice = nn.Identity()
        self.ignored = nn.Conv2d(3, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        self.ignored(images)
        return super().forward(self.twice(self.twice(images)))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("unused", "target_layer: the forward never reaches 'unused'"),
        ("twice", "target_layer: 'twice' runs more than once in one forward"),
        (
            "head",
            r"target_layer: 'head' yields a float32 tensor \(4, 5\) for 4 images; name a layer that yields one map",
        ),
        ("ignored", "target_layer: no gradient at 'ignored': the score does not depend on this layer"),
    ],
)
def test_layers_that_cannot_be_looked_at(layer: str, message: str) -> None:
    model = Beside()
    with (
        pytest.raises(ValueError, match=message),
        capture(model, pictures(), target_layer=named_layer(model, layer), labels=LABELS) as evidence,
    ):
        _ = evidence.gradients


def test_a_target_function_that_returns_something_else() -> None:
    model = net()
    with (
        pytest.raises(
            ValueError,
            match=r"target: the function returned a float32 tensor \(4, 5\); return one score per image",
        ),
        capture(
            model, pictures(), target_layer=named_layer(model, "body"), target=lambda scores, labels: scores
        ) as evidence,
    ):
        _ = evidence.gradients


def test_several_layers_from_one_look() -> None:
    class Branches(Net):
        def __init__(self) -> None:
            super().__init__()
            self.other = nn.Conv2d(3, 8, 3, stride=2, padding=1)

        def forward(self, images: Tensor) -> Tensor:
            return self.tail(self.trunk(images) * self.other(images))

    torch.manual_seed(0)
    model, runs = Branches(), []
    names = [
        "body",
        "stem",
        "body.2",
        "other",
        "stem.0",
    ]  # not in the network's order, one in another, one beside
    layers = [named_layer(model, name) for name in names]

    def forward(model: nn.Module, images: Tensor) -> Tensor:
        runs.append(len(images))
        return model(images)

    with capture_layers(
        model, pictures(), target_layers=layers, labels=LABELS, config=ModelConfig(network=forward)
    ) as evidences:
        assert len(evidences) == 5
        together = [(evidence.activations, evidence.gradients) for evidence in evidences]
        index = torch.tensor([1, 1])
        tails = [evidence.tail(evidence.activations[index], index) for evidence in evidences]
    assert runs[0] == 4
    assert runs.count(4) == 1
    for layer, (activations, gradients), tail in zip(layers, together, tails, strict=True):
        with capture(model, pictures(), target_layer=layer, labels=LABELS) as alone:
            torch.testing.assert_close(activations, alone.activations)
            torch.testing.assert_close(gradients, alone.gradients)
            torch.testing.assert_close(tail, alone.target_scores[index])
            assert alone.gradients.abs().amax() > 0


def test_tokens_are_a_map_with_tokens_before_it() -> None:
    torch.manual_seed(0)
    model, images = Tokens().eval(), pictures(4, (16, 24))
    layer = find_layer(model, images)
    assert layer.name == "norm1"
    tokens = model.embed(images).detach()
    leaf = model.norm1(tokens).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model.rest(tokens, leaf)[torch.arange(4), LABELS].sum(), leaf)

    def as_map(values: Tensor) -> Tensor:
        return values[:, 3:].mT.reshape(4, 8, 4, 6)

    with capture(model, images, target_layer=layer, labels=LABELS) as evidence:
        torch.testing.assert_close(evidence.activations, as_map(leaf.detach()))
        torch.testing.assert_close(evidence.gradients, as_map(gradient))
        index = torch.tensor([2, 2, 0])
        changed = evidence.activations[index] * torch.tensor([1.0, 0.0, -2.0])[:, None, None, None]
        found = evidence.tail(changed, index)
        normed = leaf.detach()[index]
        normed = torch.cat([normed[:, :3], changed.flatten(2).mT], dim=1)
        torch.testing.assert_close(
            found, model.rest(tokens[index], normed)[torch.arange(3), LABELS[index]].detach()
        )


@pytest.mark.parametrize("target", ["predicted", "finer", "contrast", "counterfactual"])
def test_which_classes_a_target_weighs_is_decided_on_the_clean_images(target: str) -> None:
    model = undecided()
    with capture(model, pictures(), target_layer=named_layer(model, "body"), target=target) as evidence:
        clean, others = model.eval()(pictures()), model(-3 * pictures())
        assert not torch.equal(clean.topk(4).indices, others.topk(4).indices)
        leaf = clean.detach().requires_grad_()
        (weights,) = torch.autograd.grad(TARGETS[target](leaf, None).sum(), leaf)
        expected = (others * weights).sum(dim=1).detach()
        torch.testing.assert_close(evidence.with_images(-3 * pictures()).target_scores, expected)
        torch.testing.assert_close(evidence.score(-3 * pictures(), torch.arange(4)), expected)
