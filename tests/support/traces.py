"""All that a look may not change, and a network that changes it."""

import random

import numpy as np
import torch
from torch import Tensor, nn

from support.networks import Net, net


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


def variant_untidy() -> Untidy:
    model = Untidy()
    model.load_state_dict(net().state_dict(), strict=False)
    return model
