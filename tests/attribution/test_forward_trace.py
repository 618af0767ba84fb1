"""What one forward shows of a model."""

import pytest
import torch
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
