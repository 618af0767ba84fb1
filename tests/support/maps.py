"""What the networks of libraries are held to: a map from the layer that the table names, with places in raster order."""

from typing import Any

import torch
from torch import Tensor, nn

from lightning_cam import explain
from lightning_cam.attribution.layout import first_tensor, layout

Grid = tuple[int, int]


def awake(model: nn.Module, images: Tensor) -> nn.Module:
    """The model as after a little training: no weight is zero (as in torchvision's ViT the head is, and its gradient with it), and
    batch norms know their inputs, without which a deep network's signal dies away."""
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
        norms = [
            module for module in model.eval().modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
        ]
        for norm in norms:
            norm.momentum = None  # an average over what it sees
            norm.train()
        if norms:
            model(images)
    return model.eval()


def explained(model: nn.Module, side: int, layer: str, grid: Grid, count: int = 3) -> None:
    images = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))
    explanation = explain(model, images)
    assert explanation.target_layer == layer
    assert explanation.cams.shape == (count, *grid)
    assert explanation.saliency.shape == (count, side, side)
    assert explanation.cams.isfinite().all()
    # Of random weights a map may be negative all over, and cut to zero; one of several images shows something.
    assert set(explanation.blank) <= {"", "no evidence for the class"}
    assert any(cam.amax() > cam.amin() for cam in explanation.cams)


def look_nearby(model: nn.Module) -> None:
    """LeViT's way down has no shortcut: with random weights its attention sees all places alike, so make it prefer what is near."""
    for module in model.modules():
        if hasattr(module, "attention_bias_idxs"):
            index = module.attention_bias_idxs  # (queries, keys), both in raster order
            queries, keys = (int(count**0.5) for count in index.shape)
            stride = -(-keys // queries)
            rows, columns = torch.meshgrid(torch.arange(keys), torch.arange(keys), indexing="ij")
            places = torch.stack([rows, columns], dim=-1)
            distance = (
                (places[::stride, ::stride].reshape(-1, 1, 2) - places.reshape(1, -1, 2)).abs().sum(dim=2)
            )
            with torch.no_grad():
                module.attention_biases[:, index] = -2.0 * distance
            module.attention_bias_cache.clear()


def in_raster_order(model: nn.Module, side: int, layer: str) -> None:
    """Changing the image in a corner cell changes the map most in that cell, or next to it: not flipped, transposed, scrambled.

    What changes everywhere, whichever cell it was, is taken off.
    """
    generator = torch.Generator().manual_seed(0)
    seen: list[Tensor] = []

    def see(module: nn.Module, args: Any, output: Any) -> None:
        output = first_tensor(output)
        seen.append(layout(module, tuple(output.shape), (side, side)).to_map(output))

    handle = model.get_submodule(layer).register_forward_hook(see)
    with torch.no_grad():
        images = torch.randn(3, 3, side, side, generator=generator)
        model(images)
        h, w = seen[0].shape[2:]
        cells = [(0, 0), (0, w - 1), (h - 1, 0), (h - 1, w - 1)]
        for row, column in cells:
            cell = torch.zeros(side, side)
            cell[row * side // h : (row + 1) * side // h, column * side // w : (column + 1) * side // w] = 1
            model(images + 2 * cell * torch.randn(images.shape, generator=generator))
    handle.remove()
    changes = torch.stack([(changed - seen[0]).norm(dim=1).mean(dim=0) for changed in seen[1:]])
    shares = changes / changes.sum(dim=(1, 2), keepdim=True)
    for (row, column), share in zip(cells, shares - shares.mean(dim=0), strict=True):
        found = divmod(int(share.argmax()), w)
        assert max(abs(found[0] - row), abs(found[1] - column)) <= 1, (
            f"the cell {(row, column)} changes most at {found}"
        )
