"""One look leaves no trace."""

import copy
from collections.abc import Callable

import pytest
import torch
from support.captured import LABELS, Tokens, assert_right, by_hand, look_at, variant
from support.networks import Net, net, pictures
from support.odd_networks import closed
from support.traces import assert_same, state, variant_untidy
from torch import Tensor, nn

from lightning_cam.attribution.capture import capture, find_layer
from lightning_cam.attribution.config import ModelConfig
from lightning_cam.attribution.methods.table import METHODS
from lightning_cam.attribution.preserve import leaving_no_trace
from lightning_cam.attribution.target_layer import named_layer


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


class Overridden(Net):
    """Merges weights when it is switched to eval, as some adapters do."""

    def train(self, mode: bool = True) -> "Overridden":
        raise AssertionError("a look must not call train() or eval()")


def test_modes_are_switched_without_calling_the_users_train() -> None:
    model = variant(Overridden)
    with look_at(model) as evidence:
        torch.testing.assert_close(evidence.gradients, by_hand(net(), pictures(), LABELS)[1])


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
            model,
            pictures(),
            target_layer=named_layer(model, "body"),
            labels=LABELS,
            config=ModelConfig(network=forward),
        ) as evidence:
            _ = evidence.gradients
        assert seen == [min(mode, 1)]
        assert torch.get_deterministic_debug_mode() == mode
    finally:
        torch.set_deterministic_debug_mode(0)


class Counting(nn.Module):
    """Counts its forwards in a buffer in place, and in one that it sets anew."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.register_buffer("in_place", torch.zeros(1))
        self.register_buffer("anew", torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        self.in_place += 1
        self.anew = self.anew + 1
        return self.body(images).mean(dim=(2, 3))


@pytest.mark.parametrize("kind", ["traced", "scripted"])
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "a submodule"])
def test_a_traced_or_scripted_network_is_left_as_it_was(kind: str, inside: bool) -> None:
    """Its tables of buffers and hooks are no dicts of Python's, and its mode is no attribute."""
    images = torch.rand(2, 3, 8, 8)
    made = closed(Counting(), images, kind)
    model = nn.Sequential(made, nn.Linear(4, 2)) if inside else made
    made.train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    kept = dict(model.named_buffers())
    with leaving_no_trace(model):
        assert not any(module.training for module in model.modules())
        model(images)
        assert any(not torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    assert all(module.training for module in model.modules())
    for name, buffer in model.named_buffers():
        assert buffer is kept[name]
        assert torch.equal(buffer, before[name])
