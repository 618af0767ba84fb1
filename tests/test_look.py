"""One look: right, and without a trace."""

import copy
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from networks import Net, net, pictures
from torch import Tensor, nn

from lightning_cam.attribution.capture import capture, capture_layers, find_layer, scoring
from lightning_cam.attribution.methods.table import METHODS
from lightning_cam.attribution.target_layer import named_layer
from lightning_cam.attribution.targets import TARGETS

LABELS = torch.tensor([0, 1, 2, 3])


def by_hand(model: Net, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Activations and gradients by splitting the network, in eval mode."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    with torch.inference_mode(False), torch.enable_grad():
        leaf = Net.trunk(model, images.clone()).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(
            model.tail(leaf)[torch.arange(len(labels)), labels.clone()].sum(), leaf
        )
    for module, training in modes:
        module.training = training
    return leaf.detach(), gradient


def assert_right(model: nn.Module, reference: Net, layer: str = "body", **options: object) -> None:
    activations, gradients = by_hand(reference, pictures(), LABELS)
    with capture(
        model, pictures(), target_layer=named_layer(model, layer), labels=LABELS, **options
    ) as evidence:
        torch.testing.assert_close(evidence.activations, activations)
        torch.testing.assert_close(evidence.gradients, gradients)


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


def variant(kind: type[Net]) -> Net:
    model = kind()
    model.load_state_dict(net().state_dict())
    return model


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
            ValueError, match=r"target_layer: no gradient at 'body': .* use method='eigencam'"
        ):
            _ = evidence.gradients


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


def test_score_and_tail_are_the_network_as_functions() -> None:
    model = net().eval()
    layer = named_layer(model, "body")
    index = torch.tensor([2, 0, 2])
    with capture(model, pictures(), target_layer=layer, labels=LABELS) as evidence:
        own = model(pictures())[torch.arange(4), LABELS].detach()
        torch.testing.assert_close(evidence.score(pictures(), torch.arange(4)), own)
        torch.testing.assert_close(evidence.score(pictures()[index], index), own[index])
        assert not evidence.score(pictures(), torch.arange(4)).requires_grad
        torch.testing.assert_close(evidence.tail(evidence.activations[index], index).detach(), own[index])
        leaf = evidence.activations.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(evidence.tail(leaf, torch.arange(4)).sum(), leaf)
        torch.testing.assert_close(gradient, evidence.gradients)
        without = evidence.activations.clone()
        without[:, 3] = 0
        expected = model.tail(without)[torch.arange(4), LABELS]
        torch.testing.assert_close(evidence.tail(without, torch.arange(4)), expected)


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


class Untidy(Net):
    """Draws random numbers, writes buffers (one through ``.data``, one anew), adds one, and may raise half-way."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("hidden", torch.tensor([1.0, float("nan")]))
        self.register_buffer("replaced", torch.zeros(2))
        self.register_buffer("empty", None)
        self.fails = False

    def forward(self, images: Tensor) -> Tensor:
        torch.rand(3), np.random.rand(3), random.random()
        self.calls += 1
        self.hidden.data[0] += 1
        self.replaced = torch.ones(2)
        self.register_buffer("late", torch.ones(1))
        activations = self.trunk(images)
        if self.fails:
            raise RuntimeError("half-way")
        return self.tail(activations)


def state(model: nn.Module) -> dict[str, object]:
    """All that a look may not change."""
    return {
        "modes": [module.training for module in model.modules()],
        "tensors": {name: tensor.detach().clone() for name, tensor in model.state_dict().items()},
        "identities": [id(tensor) for tensor in (*model.parameters(), *model.buffers())],
        "grads": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "hooks": [
            (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for m in model.modules()
        ],
        "random": (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()),
        "grad mode": (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_cache_enabled(),
        ),
        "precision": (
            torch.get_default_dtype(),
            torch.is_autocast_enabled("cpu"),
            torch.get_autocast_dtype("cpu"),
        ),
    }


def assert_same(before: object, after: object) -> None:
    if isinstance(before, Tensor):
        torch.testing.assert_close(after, before, rtol=0, atol=0, equal_nan=True)
    elif isinstance(before, np.ndarray):
        np.testing.assert_array_equal(after, before)
    elif isinstance(before, dict):
        assert before.keys() == after.keys()
        for key in before:
            assert_same(before[key], after[key])
    elif isinstance(before, list | tuple):
        assert len(before) == len(after)
        for pair in zip(before, after, strict=True):
            assert_same(*pair)
    else:
        assert before == after


@pytest.mark.usefixtures("unchecked")  # the checks draw from Python's random
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad])
def test_no_trace(method: str, fails: bool, context: Callable) -> None:
    model = variant_untidy()
    model(pictures()).sum().backward()
    model.stem[1].eval()  # a user's frozen batch norm
    model.fails = fails
    with context():
        before = state(model)
        if fails:
            with pytest.raises(RuntimeError, match="half-way"), look_at(model):
                pass
        else:
            with look_at(model) as evidence:
                METHODS[method](evidence)
                evidence.score(pictures(), torch.arange(4))
                evidence.tail(evidence.activations, torch.arange(4))
                evidence.with_images(pictures())
        assert_same(before, state(model))


@pytest.mark.usefixtures("unchecked")
def test_no_trace_when_the_block_raises() -> None:
    model = variant_untidy()
    before = state(model)
    with pytest.raises(KeyboardInterrupt), look_at(model) as evidence:  # noqa: PT012
        METHODS["gradcam"](evidence)
        raise KeyboardInterrupt
    assert_same(before, state(model))


@pytest.mark.usefixtures("unchecked")
def test_no_trace_of_finding_the_layer() -> None:
    model = variant_untidy()
    before = state(model)
    assert find_layer(model, pictures()).name == "body"
    assert_same(before, state(model))
    model.fails = True
    with pytest.raises(RuntimeError, match="half-way"):
        find_layer(model, pictures())
    assert_same({**before}, state(model))


def variant_untidy() -> Untidy:
    model = Untidy()
    model.load_state_dict(net().state_dict(), strict=False)
    return model


def look_at(model: nn.Module):
    return capture(model, pictures(), target_layer=named_layer(model, "body"), labels=LABELS)


class Remembers(Net):
    """Writes a tensor that is no buffer in place."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = torch.zeros(8)

    def forward(self, images: Tensor) -> Tensor:
        activations = self.trunk(images)
        self.memory.mul_(0.9).add_(activations.detach().mean(dim=(0, 2, 3)))
        return self.tail(activations + self.memory[:, None, None])


def test_a_memory_that_is_no_buffer_stays_as_it_was() -> None:
    model = Remembers().eval()
    model(pictures())
    kept, before = model.memory, model.memory.clone()
    with look_at(model) as evidence:
        _ = evidence.gradients
    assert model.memory is kept
    torch.testing.assert_close(model.memory, before, rtol=0, atol=0)


def test_a_memory_keeps_nothing_of_the_question_which_layer_decides() -> None:
    class RemembersTokens(Tokens):
        def __init__(self) -> None:
            super().__init__()
            self.memory = torch.zeros(8)

        def rest(self, tokens: Tensor, normed: Tensor) -> Tensor:
            self.memory.mul_(0.9).add_(normed.detach().mean(dim=(0, 1)))
            return super().rest(tokens, normed + 0 * self.memory)

    model = RemembersTokens().eval()
    assert find_layer(model, pictures()).name == "norm1"
    torch.testing.assert_close(model.memory, torch.zeros(8), rtol=0, atol=0)


class Keeps(Net):
    """Keeps features as attributes, as many models do; weight norm keeps its weight so."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.utils.weight_norm(self.head)

    def forward(self, images: Tensor) -> Tensor:
        self.features = self.trunk(images)
        return self.tail(self.features)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_nothing_of_the_graph_stays_in_the_model() -> None:
    model = Keeps()
    with torch.no_grad():
        model(pictures())
    kept = model.features
    with look_at(model) as evidence:
        _ = evidence.gradients
    assert model.features is kept
    copy.deepcopy(model)  # raises where a tensor with a graph is left
    del model.features
    with look_at(model):
        pass
    assert not hasattr(model, "features")


def test_buffers_that_cannot_be_compared_are_left_alone() -> None:
    model = net()
    model.register_buffer("sparse", torch.eye(3).to_sparse())
    model.register_buffer("shape", torch.empty(2, device="meta"))
    with look_at(model) as evidence:
        _ = evidence.gradients
    assert model.sparse.is_sparse


def test_a_method_without_gradients_needs_one_forward_even_under_the_users_no_grad() -> None:
    runs = []

    def forward(model: nn.Module, images: Tensor) -> Tensor:
        runs.append(len(images))
        return model(images)

    model = variant(UnderNoGrad)
    with capture(
        model, pictures(), target_layer=named_layer(model, "body"), labels=LABELS, forward=forward
    ) as evidence:
        METHODS["eigencam"](evidence)
        assert runs == [4]
        _ = evidence.gradients
        assert runs == [4, 4]


class Overridden(Net):
    """Merges weights when it is switched to eval, as some adapters do."""

    def train(self, mode: bool = True) -> "Overridden":
        raise AssertionError("a look must not call train() or eval()")


def test_modes_are_switched_without_calling_the_users_train() -> None:
    model = variant(Overridden)
    with look_at(model) as evidence:
        torch.testing.assert_close(evidence.gradients, by_hand(net(), pictures(), LABELS)[1])


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


def test_lazy_layers_are_not_run_for_the_first_time() -> None:
    model = nn.Sequential(
        nn.LazyConv2d(4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3)
    )
    with pytest.raises(
        ValueError,
        match="model: Sequential has lazy layers without weights; run it once before looking at it",
    ):
        find_layer(model, pictures())
    model(pictures())
    assert find_layer(model, pictures()).name == "1"


def test_a_module_without_forward() -> None:
    with pytest.raises(ValueError, match=r"forward: Module has no forward; .* forward=lambda module, images"):
        find_layer(nn.Module(), pictures())


def test_a_forward_in_place_of_the_modules_own() -> None:
    model = nn.Module()
    model.net = net()
    assert_right(model, net(), "net.body", forward=lambda module, images: module.net(images))


def test_no_larger_batch_than_max_batch() -> None:
    sizes = []

    def forward(model: nn.Module, images: Tensor) -> Tensor:
        sizes.append(len(images))
        return model(images)

    model, index = net(), torch.arange(4).repeat(3)
    with capture(
        model,
        pictures(),
        target_layer=named_layer(model, "body"),
        labels=LABELS,
        forward=forward,
        max_batch=5,
    ) as evidence:
        whole = evidence.score(pictures(), torch.arange(4))
        torch.testing.assert_close(evidence.score(pictures()[index], index), whole[index])
        torch.testing.assert_close(evidence.tail(evidence.activations[index], index).detach(), whole[index])
    assert sizes == [4, 4, 5, 5, 2, 1, 1, 1, 1], "what comes before the layer runs once an image"


class FixedBatch(Net):
    """Reads the size of its batch before the layer, and holds to it after."""

    def forward(self, images: Tensor) -> Tensor:
        count = len(images)
        return self.head(self.trunk(images).reshape(count, 8, -1).mean(dim=2))


class Glued(Net):
    """Joins the layer's output with what came before it, which a batch of another size does not fit."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(14, 5)

    def forward(self, images: Tensor) -> Tensor:
        early = self.stem(images)
        return self.head(torch.cat([early, self.body(early)], dim=1).mean(dim=(2, 3)))


class Residual(Net):
    """Adds what came before the layer to its output, as most networks do: one row serves many."""

    def forward(self, images: Tensor) -> Tensor:
        early = self.stem(images).mean(dim=1, keepdim=True)
        return self.head((self.body(self.stem(images)) * 2 + early).mean(dim=(2, 3)))


@pytest.mark.parametrize(("kind", "falls_back"), [(FixedBatch, True), (Glued, True), (Residual, False)])
@pytest.mark.parametrize("differentiable", [False, True])
def test_the_tail_of_models_that_hold_to_their_batch(
    kind: type[Net], falls_back: bool, differentiable: bool
) -> None:
    torch.manual_seed(0)
    model, sizes = kind().eval(), []

    def forward(model: nn.Module, images: Tensor) -> Tensor:
        sizes.append(len(images))
        return model(images)

    index = torch.tensor([3, 0, 3, 3, 1])
    with capture(
        model, pictures(), target_layer=named_layer(model, "body"), labels=LABELS, forward=forward
    ) as evidence:
        some = evidence.activations[index] * torch.rand(5, 8, 1, 1)
        some.requires_grad_(differentiable)
        found = evidence.tail(some, index)
        assert found.requires_grad == differentiable
        every_one = [evidence.tail(some[row : row + 1], index[row : row + 1]) for row in range(5)]
        torch.testing.assert_close(found, torch.cat(every_one))
        if differentiable:
            gradients = [
                torch.autograd.grad(score.sum(), some, retain_graph=True)[0]
                for score in (found, torch.cat(every_one))
            ]
            torch.testing.assert_close(*gradients)
    assert sizes[1:3] == [1, 1]
    assert (5 in sizes) == falls_back


def test_out_of_memory_is_no_reason_to_repeat_the_image() -> None:
    model, calls = net(), []

    def forward(model: nn.Module, images: Tensor) -> Tensor:
        calls.append(len(images))
        if len(calls) > 1:
            raise torch.OutOfMemoryError("the device is full")
        return model(images)

    index = torch.tensor([0, 0])
    with (
        capture(
            model, pictures(), target_layer=named_layer(model, "body"), labels=LABELS, forward=forward
        ) as evidence,
        pytest.raises(torch.OutOfMemoryError, match="the device is full"),
    ):
        evidence.tail(evidence.activations[index], index)
    assert calls == [4, 1]


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

    with capture_layers(model, pictures(), target_layers=layers, labels=LABELS, forward=forward) as evidences:
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


class Tokens(nn.Module):
    """One block of attention on patches behind a class token and two registers; the class token answers."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.before = nn.Parameter(torch.randn(1, 3, 8))
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 5)

    def embed(self, images: Tensor) -> Tensor:
        return torch.cat([self.before.expand(len(images), -1, -1), self.patches(images).flatten(2).mT], dim=1)

    def rest(self, tokens: Tensor, normed: Tensor) -> Tensor:
        tokens = tokens + self.attention(normed, normed, normed, need_weights=False)[0]
        return self.head(self.norm2(tokens)[:, 0])

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embed(images)
        return self.rest(tokens, self.norm1(tokens))


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


class CachesMask(Net):
    """Keeps a mask of the batch's shape, made at its first use, as window attentions do."""

    mask: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        activations = self.trunk(images)
        if self.mask is None or self.mask.shape != activations.shape:
            self.mask = torch.ones_like(activations)
        return self.tail(activations * self.mask)


def test_a_model_that_caches_a_mask() -> None:
    model = CachesMask()
    model.load_state_dict(net().state_dict())
    model.eval()(pictures(2))
    kept = model.mask
    assert_right(model, net())
    with capture(model, pictures(), target_layer=named_layer(model, "body"), labels=LABELS) as evidence:
        index = torch.tensor([1, 1, 2])
        torch.testing.assert_close(
            evidence.tail(evidence.activations[index], index), evidence.target_scores[index]
        )
    assert model.mask is kept


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


@pytest.mark.parametrize("target", ["label", "probability", 3])
def test_asking_is_the_score_without_a_layer(target: str | int) -> None:
    model = net().train()
    before = state(model)
    with scoring(model, pictures(), target=target, labels=LABELS, max_batch=3) as score:
        found = score(pictures()[[2, 0, 2, 1]] * 0.5, torch.tensor([2, 0, 2, 1]))
    assert_same(before["tensors"], state(model)["tensors"])
    assert before["modes"] == state(model)["modes"]
    scores = model.eval()(pictures()[[2, 0, 2, 1]] * 0.5).detach()
    answers = scores.softmax(dim=1) if target == "probability" else scores
    torch.testing.assert_close(found, answers[torch.arange(4), 3 if target == 3 else LABELS[[2, 0, 2, 1]]])


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_forbidden_nondeterminism_is_tolerated_in_the_look_alone(mode: int) -> None:
    seen = []

    def forward(model: nn.Module, images: Tensor) -> Tensor:
        seen.append(torch.get_deterministic_debug_mode())
        return model(images)

    torch.set_deterministic_debug_mode(mode)
    try:
        model = net()
        with capture(
            model, pictures(), target_layer=named_layer(model, "body"), labels=LABELS, forward=forward
        ) as evidence:
            _ = evidence.gradients
        assert seen == [min(mode, 1)]
        assert torch.get_deterministic_debug_mode() == mode
    finally:
        torch.set_deterministic_debug_mode(0)
