"""What covers pixels: imputed and blurred."""

import numpy as np
import pytest
import torch
from support.networks import pictures
from support.small_nets import noise
from torch import Tensor
from torch.testing import assert_close

from lightning_cam.metrics.removal import blurred, imputed


def removed_pixels(size: tuple[int, int], share: float, seed: int) -> Tensor:
    """The highest of smooth hills, so that holes are large: two images' worth."""
    hills = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    hills = torch.nn.functional.interpolate(hills, size, mode="bilinear")
    return hills >= hills.flatten(1).quantile(1 - share, dim=1).reshape(2, 1, 1, 1)


@pytest.mark.needs("pytorch_grad_cam")
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_imputation_by_a_direct_solver(share: float) -> None:
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer

    images, removed = pictures(2, (40, 30)), removed_pixels((40, 30), share, seed=2)
    solved = [
        NoisyLinearImputer(noise=0)(image, (~holes[0]).float())
        for image, holes in zip(images, removed, strict=True)
    ]
    expected = torch.stack(solved) + removed * torch.tensor(noise((3, 40, 30)))
    assert_close(imputed(images, removed).double(), expected, rtol=0, atol=2e-4)  # a fiftieth of the noise


def test_an_imputation_keeps_what_is_left_and_what_is_linear() -> None:
    ramp = torch.linspace(-1, 1, 20).expand(1, 1, 16, 20)
    removed = torch.zeros(1, 1, 16, 20, dtype=torch.bool)
    removed[..., 3:12, 4:17] = True
    filled = imputed(ramp, removed)
    assert torch.equal(filled[~removed], ramp[~removed])
    assert_close(filled, ramp + removed * torch.tensor(noise((1, 16, 20))).float(), rtol=0, atol=1e-4)
    assert torch.equal(imputed(ramp, torch.zeros_like(removed)), ramp)


def test_half_precision_and_whole_numbers() -> None:
    images, removed = pictures(2, (8, 8)), removed_pixels((8, 8), 0.5, seed=0)
    assert imputed(images.bfloat16(), removed).dtype == torch.bfloat16
    levels = (images.sigmoid() * 255).to(torch.uint8)
    assert_close(imputed(levels, removed).float(), imputed(levels.float(), removed), rtol=0, atol=1.0)
    assert_close(blurred(levels).float(), blurred(levels.float()), rtol=0, atol=1.0)


@pytest.mark.needs("scipy")
def test_the_blur_of_the_authors() -> None:
    from scipy.ndimage import gaussian_filter

    dot = np.zeros((11, 11))
    dot[5, 5] = 1
    point = torch.zeros(1, 1, 21, 31, dtype=torch.float64)
    point[..., 10, 15] = 1
    assert_close(blurred(point)[0, 0, 5:16, 10:21], torch.tensor(gaussian_filter(dot, 5)), rtol=1e-12, atol=0)
    assert_close(blurred(point).sum(), torch.tensor(1.0, dtype=torch.float64))
