"""What a measure of faithfulness works on."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_cam.attribution.config import ModelConfig
from lightning_cam.metrics.measured import ROWS, scored


class Counting(nn.Module):
    """Class i's score is the mean of channel i; keeps what it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.sizes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.sizes = [*self.sizes, len(images)]
        return images.mean(dim=(2, 3)) * self.scale


def images(count: int = 3) -> Tensor:
    return torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def test_scores_of_copies_in_the_models_dtype() -> None:
    model, seen = Counting(), []

    def run(model: nn.Module, some: Tensor) -> Tensor:
        seen.append(len(some))
        return model(some)

    with scored(model, images(), images()[:, 0], [2, 0, 1], None, ModelConfig(run)) as (score, own, saliency):
        assert own.dtype == torch.float64
        assert_close(saliency, images()[:, 0])
        index = torch.arange(3).repeat(50)
        found = score(own[index], index)
    expected = own.mean(dim=(2, 3))[torch.arange(3), torch.tensor([2, 0, 1])]
    assert_close(found, expected[index])
    assert max(seen) == ROWS, "so many at once where nothing is said"


def test_max_batch_is_kept() -> None:
    seen = []

    def run(model: nn.Module, some: Tensor) -> Tensor:
        seen.append(len(some))
        return model(some)

    config = ModelConfig(run, max_batch=2)
    with scored(Counting(), images(), images()[:, 0], "predicted", None, config) as (score, own, _):
        score(own, torch.arange(3))
    assert max(seen) == 2


@pytest.mark.parametrize(
    ("saliency", "target", "message"),
    [
        (torch.zeros(2, 4, 4), 0, r"saliency: got a float32 tensor \(2, 4, 4\) for images \(3, 3, 4, 4\)"),
        (torch.full((3, 4, 4), torch.nan), 0, r"saliency: map 0 holds values that are not finite"),
        (torch.zeros(3, 4, 4), [0, 1], r"target: got 2 classes for 3 images; give one class per image"),
        (torch.zeros(3, 4, 4), 7, r"target: class index 7 is outside the model's 3 classes"),
        (torch.zeros(3, 4, 4), "label", r"labels: target 'label' needs labels and got None"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit(saliency: Tensor, target: Any, message: str) -> None:
    with (
        pytest.raises(ValueError, match=message),
        scored(Counting(), images(), saliency, target, None, ModelConfig()),
    ):
        pass
