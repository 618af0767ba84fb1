"""What differs between CPU, CUDA and MPS: memory that ran out, waiting for the device, its caches."""

from itertools import chain
from time import perf_counter
from typing import Any

import torch
from torch import nn

# Of what is no ``torch.OutOfMemoryError``: a plain RuntimeError whose text tells.
OUT_OF_MEMORY = (
    "DefaultCPUAllocator: ",
    "MPS backend out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on whichever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)


def device_of(model: nn.Module) -> torch.device:
    """Where the model is."""
    tensors = chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def synchronize(device: torch.device) -> None:
    """Waits until the device has done all that it was asked; the CPU always has."""
    backend = _backend(device)
    if backend is not None:
        backend.synchronize()


def free_memory(device: torch.device) -> None:
    """Hands back what the allocator keeps for later: a smaller batch finds one whole piece."""
    backend = _backend(device)
    if backend is not None:
        backend.empty_cache()


def seconds_now(device: torch.device) -> float:
    """Seconds, when the device has done all that it was asked so far."""
    synchronize(device)
    return perf_counter()


def _backend(device: torch.device) -> Any:
    """``torch.cuda`` or ``torch.mps``, where the device is one of these; None else."""
    if device.type == "cuda":
        return torch.cuda if torch.cuda.is_initialized() else None
    return torch.mps if device.type == "mps" else None
