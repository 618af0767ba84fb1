"""Images of several sizes, in double precision."""

import torch
from torch import Tensor

SIZES = [(8, 8), (9, 11), (16, 8), (18, 31)]


def random(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
