"""How a look is made of a module in training: batches that memory has room for, submodules, functions."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.modules import Classifier, loader, trainer
from support.networks import net
from torch import Tensor, nn

from lightning_cam import CAMMonitor, Probe, explain

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
    assert calls == [8, 1]  # the observed batch, to compare; and the image with which the layer is sought


def test_a_submodule_by_its_name_is_run_alone(tmp_path: Path) -> None:
    module, monitor = Classifier(), CAMMonitor(probe=6, network="net", shortcuts=None, report=False)
    trainer(tmp_path, callbacks=[monitor], max_epochs=1).fit(module, loader(), loader(seed=1))
    expected = explain(module.net, monitor.probe.images, target="label", labels=monitor.probe.labels)
    torch.testing.assert_close(monitor.history.looks[-1].predicted, expected.scores.argmax(dim=1))
    other = CAMMonitor(probe=6, network="nett")
    with pytest.raises(ValueError, match=r"network: no submodule 'nett' in Classifier; did you mean 'net'\?"):
        trainer(tmp_path, callbacks=[other]).fit(Classifier(), loader(), loader(seed=1))


# --- tasks


class Heads(Classifier):
    """Outputs of another number and kind than the classes that the validation knows."""

    def __init__(self, outputs: int, end: nn.Module) -> None:
        super().__init__(nn.Sequential(net(classes=outputs), end))
        self.outputs = outputs

    def training_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
        images, labels = batch
        return (self(images).mean(dim=1) - labels).square().mean()

    def validation_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> None:
        self.log("val_loss", torch.tensor(0.0))


def looked(directory: Path, module: Heads, labels: Tensor | None, **options: Any) -> CAMMonitor:
    images = next(iter(loader(seed=1)))[0][:6]
    names = ("Effusion", "Pneumonia", "Mass", "Edema")[: module.outputs] if module.outputs > 1 else None
    monitor = CAMMonitor(
        probe=Probe(images, labels, None, names), shortcuts=None, normalization=None, **options
    )
    trainer(directory, callbacks=[monitor], max_epochs=1).fit(module, loader(), loader(seed=1))
    return monitor


@pytest.mark.parametrize("end", [nn.Identity(), nn.Sigmoid()], ids=["logits", "sigmoid"])
def test_several_labels(end: nn.Module, tmp_path: Path) -> None:
    labels = torch.tensor(
        [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1], [1, 0, 0, 0]]
    )
    module = Heads(4, end)
    monitor = looked(tmp_path, module, labels)
    module.eval()
    with torch.no_grad():
        logits = module.net[0](monitor.probe.images)
    look = monitor.history.looks[-1]
    torch.testing.assert_close(look.predicted, logits.argmax(dim=1))
    torch.testing.assert_close(look.confidence, logits.sigmoid().amax(dim=1), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(look.confidences, logits.sigmoid().half(), rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(look.right, ((logits > 0) == (labels > 0)).float().mean(dim=1))
    assert monitor._run.record.settings["task"] == "multilabel"
    assert monitor._run.record.settings["target"] == "present labels"


def test_a_regression(tmp_path: Path) -> None:
    labels = torch.tensor([51.0, 20.5, 33.0, 80.0, 1.0, 2.0])
    module = Heads(1, nn.Identity())
    monitor = looked(tmp_path, module, labels)
    look = monitor.history.looks[-1]
    module.eval()
    with torch.no_grad():
        torch.testing.assert_close(look.confidence, module(monitor.probe.images)[:, 0])
    assert look.predicted.tolist() == [0] * 6
    assert look.right.isnan().all()
    assert monitor._run.record.settings["target"] == "output"


def test_one_label_by_its_name(tmp_path: Path) -> None:
    labels = torch.tensor(
        [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1], [1, 0, 0, 0]]
    )
    module = Heads(4, nn.Identity())
    monitor = looked(
        tmp_path, module, labels, target="Mass", class_names=("Effusion", "Pneumonia", "Mass", "Edema")
    )
    found = explain(module, monitor.probe.images, labels=labels, target=2)
    torch.testing.assert_close(monitor.history.looks[-1].cams, found.cams, rtol=1e-2, atol=1e-4)


def test_a_name_that_no_class_has(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6, target="Masss", shortcuts=None, report=False)
    with pytest.raises(ValueError, match="target: no target 'Masss'; there are label, predicted"):
        trainer(tmp_path, callbacks=[monitor]).fit(Classifier(), loader(), loader(seed=1))
    with pytest.raises(ValueError, match=r"target: no target 'Masss'; did you mean 'Mass'\?"):
        CAMMonitor(target="Masss", class_names=["Mass", "Edema"])
