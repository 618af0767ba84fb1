"""How a look is made of a module in training: batches that memory has room for, submodules, functions."""

from pathlib import Path

import pytest
import torch
from support.modules import Classifier, loader, trainer
from torch import Tensor, nn

from lightning_cam import CAMMonitor, explain

TEXTS = [
    "MPS backend out of memory (MPS allocated: 1.00 GB, other allocations: 2.00 GB, max allowed: 3.00 GB)",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory",
]


@pytest.mark.parametrize("text", TEXTS)
def test_memory_that_ran_out_halves_the_batch_whichever_device_says_so(text: str, tmp_path: Path) -> None:
    sizes = []

    def run(module: nn.Module, images: Tensor) -> Tensor:
        if len(images) > 2:
            raise RuntimeError(text)
        sizes.append(len(images))
        return module(images)

    monitor = CAMMonitor(probe=6, network=run, shortcuts=None, report=False)
    with pytest.warns(
        UserWarning, match="memory ran out with 8 images at once; from now on 4 are sent at once"
    ):
        trainer(tmp_path, callbacks=[monitor]).fit(Classifier(), loader(), loader(seed=1))
    assert max(sizes) <= 2
    assert len(monitor.history) == 3


def test_another_error_is_no_reason_to_try_again(tmp_path: Path) -> None:
    calls = []

    def run(module: nn.Module, images: Tensor) -> Tensor:
        calls.append(len(images))
        raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        trainer(tmp_path, callbacks=[CAMMonitor(probe=6, network=run)]).fit(
            Classifier(), loader(), loader(seed=1)
        )
    # The observed batch, to compare; the image with which the layer is sought; and a batch, as some models take
    # no single one.
    assert calls == [8, 1, 8]


def test_a_submodule_by_its_name_is_run_alone(tmp_path: Path) -> None:
    module, monitor = Classifier(), CAMMonitor(probe=6, network="net", shortcuts=None, report=False)
    trainer(tmp_path, callbacks=[monitor], max_epochs=1).fit(module, loader(), loader(seed=1))
    expected = explain(module.net, monitor.probe.images, target="label", labels=monitor.probe.labels)
    torch.testing.assert_close(monitor.history.looks[-1].predicted, expected.scores.argmax(dim=1))
    other = CAMMonitor(probe=6, network="nett")
    with pytest.raises(ValueError, match=r"network: no submodule 'nett' in Classifier; did you mean 'net'\?"):
        trainer(tmp_path, callbacks=[other]).fit(Classifier(), loader(), loader(seed=1))
