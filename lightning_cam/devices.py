"""What differs between CPU, CUDA and MPS."""

from itertools import chain
from time import perf_counter

import torch
import torch.utils.checkpoint
from torch import nn


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on whichever device."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator: " in str(error)


def device_of(model: nn.Module) -> torch.device:
    """Where the model is."""
    return next((tensor.device for tensor in chain(model.parameters(), model.buffers())), torch.device("cpu"))


def seconds_now(device: torch.device) -> float:
    """Seconds, when the device has done all that it was asked so far."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter()
