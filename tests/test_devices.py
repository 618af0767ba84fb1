"""What differs between devices: memory that ran out, waiting, caches."""

import pytest
import torch
from torch import nn

from lightning_cam.devices import device_of, free_memory, is_out_of_memory, seconds_now, synchronize


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1.00 GB)"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("MPS backend out of memory"), False),
    ],
    ids=lambda value: str(value)[:30],
)
def test_memory_that_ran_out_is_recognised_on_each_device(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_the_allocator_of_this_machine_says_it_as_expected() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_on_the_cpu_there_is_nothing_to_wait_for_and_nothing_to_free() -> None:
    device = torch.device("cpu")
    synchronize(device)
    free_memory(device)
    assert seconds_now(device) <= seconds_now(device)


def test_a_model_is_where_its_tensors_are() -> None:
    assert device_of(nn.Linear(2, 2, device="meta")) == torch.device("meta")
    assert device_of(nn.ReLU()) == torch.device("cpu")
