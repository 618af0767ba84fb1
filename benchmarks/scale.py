"""What a look costs many nodes: what their processes say to each other, counted here; and a table for 64 nodes of 8 GPUs.

    python benchmarks/scale.py                     # counts with two and four processes of gloo, then the table
    python benchmarks/scale.py --latency-between 8 # with another constant of the network

Counted are the collectives and their bytes of one validation with the monitor, less those of the same without it, in real Trainers
whose processes train together on this machine. They do not depend on how many processes there are; what does is in the constants of
the table, which are assumptions and stand beside it.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from math import ceil, log2
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from growth import BATCH, SIDE, Small, validation
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger
from timed_training import Network, without_tests
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lightning_cam import CAMMonitor

LEAVES = ("all_gather", "all_gather_into_tensor", "all_reduce", "barrier", "broadcast")  # call no other
IMAGES, CLASSES, VALIDATIONS = 32, 4, 4
VALIDATION = 128  # images, whatever the number of processes
KINDS: dict[str, Callable[[], list[CAMMonitor]]] = {
    "without": lambda: [],
    "looks": lambda: [without_tests(IMAGES)],
    "tests": lambda: [CAMMonitor(IMAGES, max_overhead=None)],
}


# --- counting ---------------------------------------------------------------------------------------------------------------------


class Counted:
    """Collectives of this process, by kind: how many, and the bytes that it gives."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        for name in LEAVES:
            original = getattr(dist.distributed_c10d, name)
            counting = self._counting(name, original)
            for module in (dist, dist.distributed_c10d):
                setattr(module, name, counting)

    def _counting(self, name: str, original: Callable) -> Callable:
        def counting(*arguments: Any, **options: Any) -> Any:
            self.calls[name] += 1
            # The first tensor of broadcast and all_reduce, the second argument of gathers.
            own = next((one for one in (*arguments, *options.values()) if isinstance(one, Tensor)), None)
            self.bytes[name] += 0 if own is None else own.numel() * own.element_size()
            return original(*arguments, **options)

        return counting

    def now(self) -> dict[str, Counter[str]]:
        return {"calls": self.calls.copy(), "bytes": self.bytes.copy()}


class Marks(Callback):
    """What was counted when each validation began, or ended: one stands before the monitor, one behind it."""

    def __init__(self, counted: Counted, ends: bool) -> None:
        self.counted, self.ends = counted, ends
        self.marks: list[dict[str, Counter[str]]] = []

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark(trainer, not self.ends)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark(trainer, self.ends)

    def _mark(self, trainer: Trainer, now: bool) -> None:
        if now and not trainer.sanity_checking:
            self.marks.append(self.counted.now())


def answered_rightly(count: int) -> tuple[Small, TensorDataset]:
    """A network that stays as it is, and images whose labels are its answers: all may be hosts, the dearest case."""
    net = Small(CLASSES).eval().requires_grad_(False)
    images = validation(count, CLASSES).tensors[0]
    scores = net(images)
    # Each class is answered as often as the others, or nearly.
    net.head.bias.sub_(scores.mean(dim=0))
    net.head.weight.div_(scores.std(dim=0)[:, None])
    net.head.bias.div_(scores.std(dim=0))
    return net, TensorDataset(images, net(images).argmax(dim=1))


def train(kind: str, ranks: int, folder: Path) -> list[dict[str, Any]]:
    """One training of this process; what each validation said."""
    torch.manual_seed(0)
    counted = Counted()
    before, behind = Marks(counted, ends=False), Marks(counted, ends=True)
    trainer = Trainer(
        max_epochs=VALIDATIONS,
        logger=CSVLogger(folder),
        callbacks=[before, *KINDS[kind](), behind],
        accelerator="cpu",
        devices=ranks,
        strategy="ddp",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    net, data = answered_rightly(VALIDATION)
    trainer.fit(Network(net), DataLoader(data, batch_size=BATCH), DataLoader(data, batch_size=BATCH))
    return [
        {what: end[what] - start[what] for what in end}
        for start, end in zip(before.marks, behind.marks, strict=True)
    ]


def simulate(kind: str, ranks: int) -> list[dict[str, Any]]:
    """Starts the processes; what rank zero counted, validation by validation."""
    with socket.socket() as free, TemporaryDirectory() as folder:
        free.bind(("localhost", 0))
        place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1]), "NODE_RANK": "0"}
        free.close()
        processes = [
            subprocess.Popen(  # noqa: S603 - our own file
                [sys.executable, __file__, "--simulate", kind, "--ranks", str(ranks), "--folder", folder],
                env={**os.environ, **place, "WORLD_SIZE": str(ranks), "LOCAL_RANK": str(rank)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(ranks)
        ]
        try:
            said = [process.communicate(timeout=300)[1] for process in processes]
        finally:
            for process in processes:
                process.kill()
        for process, words in zip(processes, said, strict=True):
            if process.returncode:
                raise RuntimeError(words[-3000:])
        return json.loads((Path(folder) / "counted.json").read_text())


@dataclass(frozen=True)
class Sequence:
    """Collectives of one validation that are the monitor's.

    Args:
        gathers: Calls of ``all_gather``.
        reduces: Calls of ``all_reduce``.
        barriers: Calls of ``barrier``.
        broadcasts: Calls of ``broadcast``; an object takes two.
        own_bytes: Bytes that one process gives to gathers and reductions.
        broadcast_bytes: Bytes of the broadcasts.
    """

    gathers: int
    reduces: int
    barriers: int
    broadcasts: int
    own_bytes: int
    broadcast_bytes: int

    def __sub__(self, other: "Sequence") -> "Sequence":
        mine, others = asdict(self), asdict(other)
        return Sequence(**{name: mine[name] - others[name] for name in mine})


def sequence(counted: dict[str, Any]) -> Sequence:
    calls, size = Counter(counted["calls"]), Counter(counted["bytes"])
    gathers = ("all_gather", "all_gather_into_tensor")
    return Sequence(
        sum(calls[name] for name in gathers),
        calls["all_reduce"],
        calls["barrier"],
        calls["broadcast"],
        sum(size[name] for name in (*gathers, "all_reduce")),
        size["broadcast"],
    )


def sequences(ranks: int) -> dict[str, Sequence]:
    """Of a look, of the first one, of all tests at one look, each beside the same training without."""
    found = {kind: simulate(kind, ranks) for kind in KINDS}
    without = [sequence(counted) for counted in found["without"]]
    looks = [sequence(one) - base for one, base in zip(found["looks"], without, strict=True)]
    tests = [sequence(one) - base for one, base in zip(found["tests"], without, strict=True)]
    return {
        "a look": looks[-1],
        "the first look, beyond that": looks[0] - looks[-1],
        "all tests, beyond a look": tests[-1] - looks[-1],
    }


# --- on paper ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cluster:
    """Assumptions: a ResNet-50 at 224 px on GPUs of the H100 kind, 400 Gb/s between nodes. Times in microseconds.

    Args:
        latency_within: One step of a collective inside a node.
        latency_between: One step from node to node.
        bandwidth: Bytes a second into a node.
        forward: Inference forward of one batch of 64 images.
        least_forward: That of a single image: what launching its kernels takes.
        look: What a look takes on one GPU, as a ratio to the inference forward of the probe.
        alone: What rank zero does while all others wait: statistics and tiles.
        images: In the probe.
        image_bytes: Of one of them.
        batch: A training batch, in microseconds.
    """

    latency_within: float = 3
    latency_between: float = 8
    bandwidth: float = 4e10
    forward: float = 2e4
    least_forward: float = 5e3
    look: float = 1.1
    alone: float = 2e4
    images: int = 64
    image_bytes: int = 4 * 3 * 224 * 224
    batch: float = 2e5


def steps(nodes: int, each: int, cluster: Cluster, ring: bool) -> float:
    """Microseconds that a small collective takes: a ring goes once round all ranks, a tree up and down again."""
    if nodes * each == 1:
        return 0.0
    if ring:
        return (
            nodes * (each - 1) * cluster.latency_within
            + (nodes if nodes > 1 else 0) * cluster.latency_between
        )
    return 2 * (ceil(log2(each)) * cluster.latency_within + ceil(log2(nodes)) * cluster.latency_between)


def talk(said: Sequence, nodes: int, each: int, cluster: Cluster) -> float:
    """Microseconds of a sequence: gathers in rings, reductions, barriers and broadcasts in trees."""
    if nodes * each == 1:
        return 0.0
    ring, tree = (steps(nodes, each, cluster, ring=ring) for ring in (True, False))
    carried = (said.own_bytes * nodes * each + said.broadcast_bytes) / cluster.bandwidth * 1e6
    return said.gathers * ring + (said.reduces + said.barriers + said.broadcasts) * tree + carried


def paper(said: dict[str, Sequence], cluster: Cluster, transplants: int, answers: int) -> str:
    """One row for each size of the cluster."""
    header = (
        "| | probe, once | look: network | look: talk | look: rank zero alone | tests: network | tests: talk "
        "| look | with all tests | of an epoch of 1000 batches |"
    )
    lines = [header, "|---" * 10 + "|"]
    for nodes, each in ((1, 1), (1, 8), (8, 8), (64, 8)):
        ranks = nodes * each
        probe = 0.0 if ranks == 1 else cluster.images * cluster.image_bytes / cluster.bandwidth * 1e6
        network = cluster.look * cluster.forward * cluster.images / 64
        share = ceil(transplants / answers / ranks)  # images that a rank answers at once
        answer = max(cluster.least_forward, cluster.forward * share / 64)
        look_talk = talk(said["a look"], nodes, each, cluster)
        tests_talk = talk(said["all tests, beyond a look"], nodes, each, cluster)
        look = network + look_talk + cluster.alone
        whole = look + answers * answer + tests_talk
        times = [probe, network, look_talk, cluster.alone, answers * answer, tests_talk, look, whole]
        percent = 100 * whole / (1000 * cluster.batch)
        cells = [f"{nodes} x {each}", *(f"{time / 1e3:.1f} ms" for time in times), f"{percent:.2f} %"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def counts_table(found: dict[int, dict[str, Sequence]]) -> str:
    names = [field.name for field in fields(Sequence)]
    lines = [
        f"| | processes | {' | '.join(name.replace('_', ' ') for name in names)} |",
        "|---" * (2 + len(names)) + "|",
    ]
    for what in next(iter(found.values())):
        for ranks, said in found.items():
            cells = [str(getattr(said[what], name)) for name in names]
            lines.append(f"| {what} | {ranks} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", nargs="+", type=int, default=[2, 4])
    parser.add_argument("--passes", type=float, default=48, help="of the probe, that all tests take at most")
    for field in fields(Cluster):
        kind = int if isinstance(field.default, int) and field.name.startswith("image") else float
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    parser.add_argument("--simulate", choices=list(KINDS), help=argparse.SUPPRESS)
    parser.add_argument("--ranks", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    if arguments.simulate:
        torch.set_num_threads(1)
        counted = train(arguments.simulate, arguments.ranks, arguments.folder)
        if os.environ["LOCAL_RANK"] == "0":
            (arguments.folder / "counted.json").write_text(json.dumps(counted))
        return
    found = {ranks: sequences(ranks) for ranks in arguments.processes}
    said = found[max(found)]
    # An answer is asked for together, and its classes and their probabilities are gathered: three gathers.
    answers = max(1, said["all tests, beyond a look"].gathers // 3)
    cluster = Cluster(**{field.name: getattr(arguments, field.name) for field in fields(Cluster)})
    print(f"Counted, {IMAGES} images of {SIDE} x {SIDE}, {CLASSES} classes:\n\n{counts_table(found)}\n")
    print(f"On paper, {cluster.images} images, {answers} cues asked for, times in ms; {cluster}:\n")
    print(paper(said, cluster, ceil(arguments.passes * cluster.images), answers))


if __name__ == "__main__":
    main()
