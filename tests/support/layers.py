"""Which layer is found, and networks to find it in."""

import torch
import torchvision
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lightning_cam.attribution.capture import find_layer
from lightning_cam.attribution.target_layer import TargetLayer


class CountingOnCpu(TorchFunctionMode):
    """RegNet computes its widths with tensors and reads them, which the meta device cannot."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in (torch.arange, torch.tensor):
            kwargs.setdefault("device", "cpu")
        return func(*args, **kwargs)


def without_weights(name: str) -> nn.Module:
    """The model on the meta device: shapes, but neither numbers nor memory."""
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    numbers_needed = name.startswith("regnet")
    with torch.device("meta"):
        if not numbers_needed:
            return torchvision.models.get_model(name, weights=None, **options).eval()
        with CountingOnCpu():
            return torchvision.models.get_model(name, weights=None).eval()


def hooks(model: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


def find(model: nn.Module, side: int = 16) -> TargetLayer:
    return find_layer(model.eval(), torch.rand(1, 3, side, side))


class Attention(nn.Module):
    """Of all tokens among each other, or of the first as many as it is told."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens: Tensor, queries: int | None = None) -> Tensor:
        query, key, value = self.qkv(tokens).chunk(3, dim=-1)
        return self.proj(nn.functional.scaled_dot_product_attention(query[:, :queries], key, value))


class Block(nn.Module):
    """Attention and MLP, normalized before (ViT), after (the first transformers), or after and within the branch (Swin V2)."""

    def __init__(self, order: str = "before", width: int = 8) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width)
        self.norm2, self.mlp = (
            nn.LayerNorm(width),
            nn.Sequential(nn.Linear(width, 16), nn.GELU(), nn.Linear(16, width)),
        )
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        if self.order == "before":
            x = x + self.attention(self.norm1(x))
            return x + self.mlp(self.norm2(x))
        if self.order == "after":
            x = self.norm1(x + self.attention(x))
            return self.norm2(x + self.mlp(x))
        x = x + self.norm1(self.attention(x))
        return x + self.norm2(self.mlp(x))
