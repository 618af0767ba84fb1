"""Two processes that train together on the CPU: run by ``test_two_processes`` and ``test_distributed``, each scenario of it in both processes.

python -m support.two_ranks FOLDER SCENARIO...  with the rank in the environment. Each process leaves what it found in a file.
"""

import functools
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning import LightningModule, seed_everything
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lightning_cam import CUES, LOGGERS, METHODS, CAMMonitor, Evidence, Inputs, Probe
from lightning_cam import distributed as ranks
from lightning_cam.loggers.backends import Backend
from lightning_cam.shortcuts.cues import Cue
from support.modules import Classifier, data, loader, trainer
from support.planted import ReadsTheTag, tagged

Found = dict[str, Any]


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def fit(
    directory: Path, monitor: CAMMonitor | None, module: LightningModule | None = None, **options: Any
) -> Found:
    """Trains, and tells what is the same on all ranks, or is not."""
    train, val = options.pop("train", None), options.pop("val", None)
    callbacks = options.pop("callbacks", [])
    seed_everything(0, verbose=False)
    module = module or Classifier()
    fitted = trainer(
        directory,
        callbacks=[*callbacks, *([monitor] if monitor else [])],
        **{"strategy": "ddp", "devices": 2, **options},
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # A loader that is given takes the place of the module's own.
        own = None if hasattr(module, "val") else loader(seed=1)
        fitted.fit(module, loader(shuffle=True) if train is None else train, own if val is None else val)
    found: Found = {
        "weights": {name: full(value) for name, value in module.state_dict().items()},
        "metrics": {
            name: value for name, value in fitted.callback_metrics.items() if not name.startswith("cam/")
        },
        "scalars": {
            name: value.item() for name, value in fitted.callback_metrics.items() if name.startswith("cam/")
        },
        "warnings": [str(warning.message) for warning in caught if "CAMMonitor" in str(warning.message)],
        "epoch": fitted.current_epoch,
    }
    if monitor is not None:
        found["probe"] = None if monitor.probe is None else (monitor.probe.images, monitor.probe.labels)
        found["looks"] = [(look.epoch, look.step, look.cams) for look in monitor.history.looks]
        record = monitor._run.record
        found["findings"] = [
            (finding.cue, finding.label, finding.level, finding.looks) for finding in monitor.findings
        ]
        found["predictivities"], found["reliances"] = record.predictivities, record.reliances
    return found


def full(value: Tensor) -> Tensor:
    return (value.full_tensor() if hasattr(value, "full_tensor") else value).clone()


def the_probe() -> Probe:
    images, labels = data(8, seed=5).tensors
    return Probe(images, labels)


def own_loaders(lengths: tuple[int, int]) -> DataLoader:
    """Other images on each rank, and another number of batches."""
    return loader(8 * lengths[rank()], seed=10 + rank())


def classes_of_its_own() -> DataLoader:
    """Class 0 on rank zero, the others on rank one."""
    images, labels = data(24, seed=1).tensors
    own = (labels > 0) == bool(rank())
    return DataLoader(TensorDataset(images[own], labels[own]), batch_size=8)


class Stream(IterableDataset):
    """So many images as the rank has, and nobody knows before."""

    def __iter__(self) -> Iterator:
        images, labels = data(16 + 16 * rank(), seed=rank()).tensors
        return zip(images, labels, strict=True)


class OnEachRank(Classifier):
    """Validation data of each rank's own, which no sampler divides."""

    def __init__(self, val: Callable[[], DataLoader]) -> None:
        super().__init__()
        self.val = val

    def val_dataloader(self) -> DataLoader:
        return self.val()

    def train_dataloader(self) -> DataLoader:
        return loader()


class Sharded(Classifier):
    """FSDP2: every parameter is split over both ranks."""

    def configure_model(self) -> None:
        from torch.distributed.fsdp import fully_shard

        for part in (self.net.stem[0], self.net.body[0], self.net.head, self.net):
            fully_shard(part, mesh=self.device_mesh["data_parallel"])


class ShardedAsAWhole(Classifier):
    """FSDP2: the LightningModule itself is the root of what is split."""

    def configure_model(self) -> None:
        from torch.distributed.fsdp import fully_shard

        fully_shard(self.net.body, mesh=self.device_mesh["data_parallel"])
        fully_shard(self, mesh=self.device_mesh["data_parallel"])


class Frozen(ReadsTheTag):
    """Answers the same in every run."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


class FrozenOnEachRank(Frozen):
    """Validation data of each rank's own."""

    def __init__(self, val: Callable[[], DataLoader]) -> None:
        super().__init__()
        self.val = val

    def val_dataloader(self) -> DataLoader:
        return self.val()

    def validation_step(self, batch: Any) -> None:
        super().validation_step(batch[:2])


class RunsOut(Classifier):
    """Has no memory for more than three images of the monitor's, on rank one alone."""

    def forward(self, images: Tensor) -> Tensor:
        if rank() == 1 and len(images) > 3 and (images[0] == the_probe().images[0].to(images)).all():
            raise torch.OutOfMemoryError("planted")
        return super().forward(images)


def on_rank(which: int, call: int, error: Exception) -> Callable:
    """A method that fails on one rank, at its so-manieth call."""
    calls = []

    def method(evidence: Evidence) -> Tensor:
        calls.append(1)
        if rank() == which and len(calls) == call:
            raise error
        return METHODS["gradcam"](evidence)

    return method


def labels_on_rank(which: int) -> Callable:
    def labels(batch: Any) -> Tensor:
        if rank() == which:
            raise KeyError("planted")
        return batch[1]

    return labels


class Full(TensorBoardLogger):
    """Its disk has room for scalars, but not for pictures."""


def raises(logger: Full, tag: str, picture: Any, step: int) -> None:
    raise OSError(28, "No space left on device")


LOGGERS["full"] = Backend("full", Full, raises)


def sharded(directory: Path, monitor: CAMMonitor | None, kind: type[Classifier] = Sharded) -> Found:
    strategy = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)
    return fit(directory, monitor, kind(), strategy=strategy)


def refuses_made_images_on_rank_one(module: LightningModule, images: Tensor) -> Tensor:
    """Takes the probe's images alone."""
    known = tagged(24).tensors[0]
    if rank() == 1 and not (images[:, None] == known).flatten(2).all(dim=2).any(dim=1).all():
        raise LookupError("planted")
    return module(images)


def shortcuts(directory: Path, network: Callable | None = None, **options: Any) -> Found:
    val = DataLoader(tagged(36), batch_size=6)
    images, labels = tagged(24).tensors
    module = Frozen()
    return fit(
        directory,
        CAMMonitor(probe=Probe(images, labels), network=network, scalars="all"),
        module,
        train=val,
        val=val,
        max_epochs=3,
        **options,
    )


def with_masks_on_rank_zero() -> DataLoader:
    images, labels = tagged(24).tensors
    masks = [torch.ones(24, 16, 16, dtype=torch.bool)] if rank() == 0 else []
    return DataLoader(TensorDataset(images, labels, *masks), batch_size=6)


def smaller_on_rank_one() -> DataLoader:
    return DataLoader(tagged(24, size=16 if rank() == 0 else 12), batch_size=6)


def features_on_rank_zero(views: Any) -> Tensor:
    if rank() == 1:
        raise ArithmeticError("planted")
    return views.images.mean(dim=(2, 3))


def failing_features(directory: Path) -> Found:
    CUES["planted"] = Cue(lambda pair: pair.hosts, features_on_rank_zero, "nothing")
    try:
        return shortcuts(directory)
    finally:
        del CUES["planted"]


def frozen_on_each_rank(directory: Path, val: Callable[[], DataLoader]) -> Found:
    module = FrozenOnEachRank(val)
    monitor = CAMMonitor(probe=24, scalars="all")
    return fit(
        directory, monitor, module, train=DataLoader(tagged(24), batch_size=6), use_distributed_sampler=False
    )


def by_indices(directory: Path) -> Found:
    """Images that the user names, some of them on each rank."""
    monitor = CAMMonitor(probe=[20, 3, 11, 2], shortcuts=None)
    found = fit(directory, monitor, max_epochs=1)
    return {**found, "probe": monitor.probe.images, "labels": monitor.probe.labels}


def rehearsal(directory: Path) -> Found:
    """Fails on rank one alone, before training."""
    try:
        fit(directory, CAMMonitor(method=on_rank(1, 1, ValueError("planted"))))
    except Exception as error:  # noqa: BLE001 - whatever it is, is what this is about
        return {"error": f"{type(error).__name__}: {error}", "notes": error.__notes__}
    return {"error": "none"}


def in_shares(directory: Path) -> Found:
    """What ``Ranks`` does."""
    if not dist.is_initialized():
        dist.init_process_group("gloo", rank=int(os.environ["LOCAL_RANK"]), world_size=2)
    strategy = trainer(directory, strategy="ddp", devices=2).strategy
    pair = ranks.Ranks(strategy, 2, rank())
    rows = torch.arange(7) * 10
    mine = rows[pair.share(7, rows.device)]
    found: Found = {
        "mine": mine,
        "whole": pair.whole(mine, 7),
        "largest": pair.largest(rank(), -rank()),
        "summed": pair.summed(torch.tensor([1.0, rank()])),
        "from zero": pair.from_zero(lambda: f"rank {rank()}"),
    }
    memory, other = torch.OutOfMemoryError("full"), KeyError("else")
    for name, errors in {"one": (None, other), "memory": (memory, None), "both": (memory, other)}.items():
        try:
            pair.together(lambda errors=errors: raising(errors[rank()]))
        except Exception as error:  # noqa: BLE001 - whatever it is, is what this is about
            found[name] = (type(error).__name__, str(error))
    return found


def raising(error: Exception | None) -> None:
    if error is not None:
        raise error


SCENARIOS: dict[str, Callable[[Path], Found]] = {
    "without": lambda folder: fit(folder, None),
    "with": lambda folder: fit(folder, CAMMonitor(probe=9, scalars="all")),
    "own probe": lambda folder: fit(folder, CAMMonitor(probe=the_probe())),
    "accumulated": lambda folder: fit(
        folder, CAMMonitor(probe=9, shortcuts=None), accumulate_grad_batches=2, val_check_interval=1
    ),
    "accumulated without": lambda folder: fit(folder, None, accumulate_grad_batches=2, val_check_interval=1),
    "shortcuts": shortcuts,
    "tests fail on rank 1": lambda folder: shortcuts(folder, refuses_made_images_on_rank_one),
    "features fail on rank 1": failing_features,
    "masks on rank 0": lambda folder: frozen_on_each_rank(folder, with_masks_on_rank_zero),
    "another size on rank 1": lambda folder: frozen_on_each_rank(folder, smaller_on_rank_one),
    "indices": by_indices,
    "sharded": lambda folder: sharded(folder, CAMMonitor(probe=9)),
    "sharded without": lambda folder: sharded(folder, None),
    "sharded as a whole": lambda folder: sharded(folder, CAMMonitor(probe=9), ShardedAsAWhole),
    "sharded as a whole without": lambda folder: sharded(folder, None, ShardedAsAWhole),
    "method fails on rank 1": lambda folder: fit(
        folder, CAMMonitor(probe=9, method=on_rank(1, 3, RuntimeError("planted")))
    ),
    "method fails on rank 0": lambda folder: fit(
        folder, CAMMonitor(probe=9, method=on_rank(0, 3, RuntimeError("planted")))
    ),
    "labels fail on rank 1": lambda folder: fit(
        folder, CAMMonitor(inputs=Inputs(labels=labels_on_rank(1))), num_sanity_val_steps=0
    ),
    "memory runs out on rank 1": lambda folder: fit(
        folder, CAMMonitor(probe=the_probe(), max_batch=8), RunsOut()
    ),
    "logger fails": lambda folder: fit(folder, CAMMonitor(probe=9), logger=Full(folder)),
    "watched": lambda folder: fit(
        folder, CAMMonitor(probe=9), callbacks=[EarlyStopping("cam/border_mass", patience=1)]
    ),
    "lengths differ": lambda folder: fit(
        folder,
        CAMMonitor(probe=9),
        OnEachRank(functools.partial(own_loaders, (2, 4))),
        use_distributed_sampler=False,
    ),
    "classes apart": lambda folder: fit(
        folder, CAMMonitor(probe=9), OnEachRank(classes_of_its_own), use_distributed_sampler=False
    ),
    "streams": lambda folder: fit(
        folder, CAMMonitor(probe=9), val=DataLoader(Stream(), batch_size=8), max_epochs=3
    ),
    "rehearsal fails on rank 1": rehearsal,
    "in shares": in_shares,
}


def two_ranks(folder: Path, *names: str, seconds: float = 240) -> dict[str, tuple[Found, Found]]:
    """Runs scenarios in two processes, and gives what each of them found.

    Raises:
        TimeoutExpired: One of them waits for the other, as in a deadlock.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(  # noqa: S603 - our own file
            [sys.executable, "-m", "support.two_ranks", str(folder), *names],
            env={
                **os.environ,
                **{
                    "PYTHONPATH": os.pathsep.join([*sys.path[1:], str(Path(__file__).parents[1])]),
                    "MASTER_ADDR": "localhost",
                    "MASTER_PORT": str(port),
                    "WORLD_SIZE": "2",
                    "NODE_RANK": "0",
                    "LOCAL_RANK": str(i),
                },
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
    try:
        said = [process.communicate(timeout=seconds)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, words in zip(processes, said, strict=True):
        assert process.returncode == 0, words[-6000:]
    return {
        name: tuple(torch.load(folder / f"{name}-{i}.pt", weights_only=False) for i in range(2))
        for name in names
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    where = Path(sys.argv[1])
    for scenario in sys.argv[2:]:
        result = SCENARIOS[scenario](where / scenario.replace(" ", "_"))
        torch.save(result, where / f"{scenario}-{os.environ['LOCAL_RANK']}.pt")
    sys.stdout.flush()
    os._exit(0)  # torch 2.6 waits for ever in destroy_process_group after a training that failed
