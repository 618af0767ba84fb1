"""How a layer's output holds a map: channels first or last, or tokens on a grid."""

import pytest
import torch
from support.layers import Block
from torch import nn

from lightning_cam.attribution.layout import Layout, Size, layout

LAYOUTS = {
    "map": (nn.ReLU(), (2, 8, 7, 7), (224, 224), Layout((7, 7))),
    "map, channels last": (nn.Sequential(), (2, 7, 7, 768), (224, 224), Layout((7, 7), True)),
    "map, channels last, by its norm": (nn.LayerNorm(7), (2, 7, 7, 7), (224, 224), Layout((7, 7), True)),
    "map, as many channels as places": (nn.ReLU(), (2, 7, 7, 7), (224, 224), Layout((7, 7))),
    "map that a convolution made": (nn.Conv2d(16, 16, 3), (2, 16, 16, 3), (16, 16), Layout((16, 3))),
    "map of no proportions": (nn.ReLU(), (2, 8, 1, 16), (16, 16), Layout((1, 16))),
    "map, wide": (nn.ReLU(), (2, 64, 4, 16), (64, 256), Layout((4, 16))),
    "map, wide, channels last": (nn.ReLU(), (2, 4, 16, 8), (64, 256), Layout((4, 16), True)),
    "tokens": (nn.ReLU(), (2, 196, 8), (224, 224), Layout((14, 14), True, 0)),
    "tokens, 1 before": (nn.ReLU(), (2, 197, 8), (224, 224), Layout((14, 14), True, 1)),
    "tokens, 2 before": (nn.ReLU(), (2, 198, 8), (224, 224), Layout((14, 14), True, 2)),
    "tokens, 5 before": (nn.ReLU(), (2, 201, 8), (224, 224), Layout((14, 14), True, 5)),
    "tokens of a tall image": (nn.ReLU(), (2, 181, 8), (240, 192), Layout((15, 12), True, 1)),
    "tokens of a wide image": (nn.ReLU(), (2, 181, 8), (192, 240), Layout((12, 15), True, 1)),
    "one token": (nn.ReLU(), (2, 1, 8), (224, 224), None),
    "scores": (nn.ReLU(), (2, 10), (224, 224), None),
    "signal": (nn.ReLU(), (2, 8, 50), (200,), Layout((50,))),
    "signal, channels last": (nn.LayerNorm(8), (2, 50, 8), (200,), Layout((50,), True)),
    "signal, a block's": (Block(), (2, 50, 8), (200,), Layout((50,), True)),
    "volume": (nn.ReLU(), (2, 8, 4, 6, 6), (8, 12, 12), Layout((4, 6, 6))),
    "volume, channels last": (nn.ReLU(), (2, 4, 6, 6, 8), (8, 12, 12), Layout((4, 6, 6), True)),
    "volume's tokens": (nn.ReLU(), (2, 144, 8), (8, 12, 12), None),
}


@pytest.mark.parametrize(("module", "shape", "size", "expected"), LAYOUTS.values(), ids=LAYOUTS)
def test_layout(module: nn.Module, shape: Size, size: Size, expected: Layout | None) -> None:
    assert layout(module, shape, size) == expected


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
def test_the_grid_of_an_image_that_divides_into_patches(prefix: int) -> None:
    # From 4 x 4 on; below, nine tokens may as well be 3 x 3 as 2 x 2 with 5 before.
    sides = [(h, w) for h in range(4, 25) for w in range(4, 25) if h <= 2 * w and w <= 2 * h]
    for h, w in sides:
        assert layout(nn.ReLU(), (1, h * w + prefix, 8), (16 * h, 16 * w)) == Layout((h, w), True, prefix), (
            h,
            w,
        )


MAPS = {name: (shape, expected) for name, (_, shape, _, expected) in LAYOUTS.items() if expected}


@pytest.mark.parametrize(("shape", "own"), MAPS.values(), ids=MAPS)
def test_a_layout_there_and_back(shape: Size, own: Layout) -> None:
    output = torch.randn(shape)
    maps = own.to_map(output)
    assert maps.shape == (2, shape[-1] if own.channels_last else shape[1], *own.grid)
    torch.testing.assert_close(own.from_map(maps, output), output, rtol=0, atol=0)
    changed = own.from_map(maps + 1, output)
    prefix = own.prefix or 0
    torch.testing.assert_close(changed[:, prefix:], output[:, prefix:] + 1, rtol=0, atol=0)
    torch.testing.assert_close(changed[:, :prefix], output[:, :prefix], rtol=0, atol=0)


def test_where_a_token_goes() -> None:
    own = Layout((3, 4), channels_last=True, prefix=2)
    tokens = torch.arange(14.0).reshape(1, 14, 1)
    torch.testing.assert_close(own.to_map(tokens), torch.arange(2.0, 14.0).reshape(1, 1, 3, 4))


def test_several_maps_for_one_image_share_the_tokens_before() -> None:
    own, output = Layout((2, 2), channels_last=True, prefix=1), torch.randn(1, 5, 3)
    several = own.from_map(torch.randn(6, 3, 2, 2), output)
    assert several.shape == (6, 5, 3)
    torch.testing.assert_close(several[:, 0], output[:, 0].expand(6, -1))
