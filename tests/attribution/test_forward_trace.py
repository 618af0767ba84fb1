"""What one forward shows of a model."""

import pytest
import torch
from support.odd_networks import Convolutions, closed
from torch import Tensor, nn

from lightning_cam.attribution.forward_trace import recording


class Twice(nn.Module):
    """Runs one convolution twice, and yields a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.inner = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(self.convolution(self.convolution(images)))


def test_modules_in_the_order_in_which_they_finish() -> None:
    model = Twice()
    with recording(model, (8, 8)) as trace:
        model(torch.rand(1, 3, 8, 8))
    assert [run.name for run in trace] == ["convolution", "convolution", "inner.0", "inner.1", "inner"]
    first, pooled = trace[0], trace[2]
    assert (first.grid, first.extent, first.positions, first.weighted) == ((8, 8), (8, 8), 64, True)
    assert (pooled.grid, pooled.extent, pooled.positions, pooled.weighted) == (None, None, 1, False)


def test_an_output_of_several_rows_is_no_map_of_one_image() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 1))
    with recording(model, (8, 8)) as trace:
        model(torch.rand(2, 3, 8, 8))
    assert trace[0].layout is None
    assert trace[0].shape == (2, 2, 8, 8)


def test_no_hook_stays() -> None:
    model = Twice()
    with pytest.raises(RuntimeError, match="expected input"), recording(model, (8, 8)):
        model(torch.rand(1, 2, 8, 8))
    assert not any(module._forward_hooks for module in model.modules())


def test_of_several_images_the_map_of_each() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 1))
    with recording(model, (8, 8), count=2) as trace:
        model(torch.rand(2, 3, 8, 8))
        model(torch.rand(1, 3, 8, 8))
    assert [run.grid for run in trace] == [(8, 8), None]


def test_tokens_have_the_grid_of_the_convolution_before_them() -> None:
    class Resizes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.norm = nn.Conv2d(3, 8, 8, stride=8), nn.LayerNorm(8)

        def forward(self, images: Tensor) -> Tensor:
            return self.norm(self.embed(nn.functional.interpolate(images, (64, 64))).flatten(2).mT)

    model = Resizes()
    with recording(model, (32, 48)) as trace:
        model(torch.rand(1, 3, 32, 48))
    assert [run.grid for run in trace] == [(8, 8), (8, 8)]


def test_closed_modules_are_passed_over() -> None:
    images = torch.rand(1, 3, 16, 16)
    model = nn.Sequential(closed(Convolutions(), images, "scripted"), nn.Linear(8, 2))
    with recording(model, (16, 16)) as trace:
        model(images)
    assert [run.name for run in trace] == ["1"]
