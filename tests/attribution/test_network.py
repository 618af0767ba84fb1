"""The network as functions: score and tail, batches of any size."""

import pytest
import torch
from support.captured import LABELS, assert_right
from support.networks import Net, net, pictures
from support.traces import assert_same, state
from torch import Tensor, nn

from lightning_cam.attribution.capture import capture, find_layer, scoring
from lightning_cam.attribution.config import ModelConfig
from lightning_cam.attribution.target_layer import named_layer


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
    with pytest.raises(ValueError, match=r"network: Module has no forward; .* network=lambda module, images"):
        find_layer(nn.Module(), pictures())


def test_a_forward_in_place_of_the_modules_own() -> None:
    model = nn.Module()
    model.net = net()
    assert_right(
        model, net(), "net.body", config=ModelConfig(network=lambda module, images: module.net(images))
    )


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
        config=ModelConfig(network=forward, max_batch=5),
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
        model,
        pictures(),
        target_layer=named_layer(model, "body"),
        labels=LABELS,
        config=ModelConfig(network=forward),
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
            model,
            pictures(),
            target_layer=named_layer(model, "body"),
            labels=LABELS,
            config=ModelConfig(network=forward),
        ) as evidence,
        pytest.raises(torch.OutOfMemoryError, match="the device is full"),
    ):
        evidence.tail(evidence.activations[index], index)
    assert calls == [4, 1]


@pytest.mark.parametrize("target", ["label", "probability", 3])
def test_asking_is_the_score_without_a_layer(target: str | int) -> None:
    model = net().train()
    before = state(model)
    with scoring(model, pictures(), target=target, labels=LABELS, config=ModelConfig(max_batch=3)) as score:
        found = score(pictures()[[2, 0, 2, 1]] * 0.5, torch.tensor([2, 0, 2, 1]))
    assert_same(before["tensors"], state(model)["tensors"])
    assert before["modes"] == state(model)["modes"]
    scores = model.eval()(pictures()[[2, 0, 2, 1]] * 0.5).detach()
    answers = scores.softmax(dim=1) if target == "probability" else scores
    torch.testing.assert_close(found, answers[torch.arange(4), 3 if target == 3 else LABELS[[2, 0, 2, 1]]])
