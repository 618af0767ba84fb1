"""A look at a small network, and the same by splitting it by hand."""

import torch
from torch import Tensor, nn

from lightning_cam.attribution.capture import capture
from lightning_cam.attribution.target_layer import named_layer
from support.networks import Net, net, pictures

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


def variant(kind: type[Net]) -> Net:
    model = kind()
    model.load_state_dict(net().state_dict())
    return model


def look_at(model: nn.Module):
    return capture(model, pictures(), target_layer=named_layer(model, "body"), labels=LABELS)


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
