"""What it costs to observe one validation batch: seconds, and bytes that the record holds.

python benchmarks/observed_step.py
"""

import time
from collections.abc import Callable
from typing import Any

import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from lightning_cam.data.observed_step import StepObserver

RUNS = 7


class Task(nn.Module):
    """A classifier's validation step."""

    def __init__(self, net: nn.Module, prepare: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.prepare = net, prepare

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Loss and accuracy."""
        out = self.net(self.prepare(batch[0]))
        return F.cross_entropy(out, batch[1]) + (out.argmax(1) == batch[1]).float().mean()


def seconds(run: Callable[[], Any]) -> float:
    """The median of some runs, after one that warms up."""
    run()
    times = []
    for _ in range(RUNS):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return sorted(times)[RUNS // 2]


def held(observer: StepObserver, batch: tuple[Tensor, ...]) -> int:
    """Bytes that the record holds beside the batch."""
    record = observer.record
    assert record is not None  # noqa: S101 - it was called
    parts = record.parts
    tensors = [*parts.images.values(), *parts.small.values(), *parts._witnesses.values()]
    tensors += [image.images for call in record.calls for image in call.images if image.images is not None]
    tensors += [leaf.sample for call in record.calls for leaf in call.outputs if leaf.sample is not None]
    given = {part.untyped_storage().data_ptr() for part in batch}
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(size for pointer, size in storages.items() if pointer not in given)


def main() -> None:
    """One row per network and way of preparing images."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    networks: list[tuple[str, nn.Module, int, int]] = [
        (
            "small CNN, 32 px",
            nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10)),
            32,
            32,
        ),
        ("resnet18, 64 px", torchvision.models.resnet18(num_classes=10), 2, 64),
        ("resnet50, 224 px", torchvision.models.resnet50(num_classes=10), 8, 224),
        ("vit_small, 224 px", timm.create_model("vit_small_patch16_224", num_classes=10), 8, 224),
    ]
    ways: list[tuple[str, Callable[[Tensor], Tensor]]] = [
        ("as they are", lambda images: images),
        ("normalized in the step", lambda images: (images - 0.45) / 0.25),
    ]
    for name, net, count, size in networks:
        for way, prepare in ways:
            task = Task(net, prepare).eval().to(device)
            images = torch.rand(count, 3, size, size, device=device)
            batch = (images, torch.zeros(count, dtype=torch.long, device=device))
            observers: list[StepObserver] = []

            def observed(task: Task = task, batch: Any = batch, observers: list = observers) -> None:
                with StepObserver(task) as observer:
                    task.validation_step(batch, 0)
                observers[:] = [observer]

            with torch.no_grad():
                plain = seconds(lambda task=task, batch=batch: task.validation_step(batch, 0))  # type: ignore[misc]
                watched = seconds(observed)
            print(
                f"{name:20s} batch of {count:2d}, {way:24s} {1000 * plain:7.1f} ms, observed {1000 * watched:7.1f} ms; "
                f"held {held(observers[0], batch) / images.nbytes:.3f} of the images' bytes"
            )


if __name__ == "__main__":
    main()
