"""Random numbers in double precision."""

import torch
from torch import Tensor

SIZES = ((16, 16), (18, 11))  # of 16 x 12, rounding decides which ring some frequencies belong to


def random(*size: int, seed: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
