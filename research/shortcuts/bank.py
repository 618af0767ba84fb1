"""Small networks trained with and without a planted shortcut, kept epoch by epoch.

python -m research.shortcuts.bank --folder DIR --plan tuning --workers 2    # trains what is not there yet
python -m research.shortcuts.bank --folder DIR --plan all --status
"""

import argparse
import os
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from research.shortcuts.artefacts import FAMILIES, KNOWN
from research.shortcuts.domains import DOMAINS, HONEST

EPOCHS = 10
RELIES = 0.2  # ``reliance`` above it is verified


@dataclass(frozen=True)
class Setup:
    """What a run is trained on.

    Attributes:
        kind: clean: no artefact. coded: it tells the class, in training and validation. one: a single class carries it.
            broken: coded in validation, random in training. decoy: random in both.
        correlation: Probability that an artefact of kind coded is that of the class; else it is another's.
        strength: How much of the artefact is seen; 1: all.
    """

    domain: str
    family: str | None
    kind: str
    seed: int
    correlation: float = 1.0
    strength: float = 1.0

    @property
    def key(self) -> str:
        """A name for its file."""
        return f"{self.domain}-{self.family}-{self.kind}-{self.seed}-correlation{self.correlation:g}-strength{self.strength:g}"


@dataclass(frozen=True, eq=False)
class Prepared:
    """Normalized images and labels. The validation images are there as the run has them (``val_images``), with the artefact of
    the label (``aligned``), without any (``removed``) and with another class' (``shuffled``).

    For kind ``one``, aligned: the carrier alone has it; shuffled: all but the carrier have it.
    """

    train_images: Tensor
    train_labels: Tensor
    val_images: Tensor
    val_labels: Tensor
    aligned: Tensor
    removed: Tensor
    shuffled: Tensor
    class_names: tuple[str, ...]
    train_codes: Tensor
    val_codes: Tensor
    masks: Tensor | None
    carrier: int | None


def seeded(setup: Setup, purpose: str) -> Generator:
    return torch.Generator().manual_seed(zlib.crc32(f"{purpose} {setup.key}".encode()))


def others(labels: Tensor, classes: int, generator: Generator) -> Tensor:
    """Another class for every label."""
    return (labels + torch.randint(1, classes, labels.shape, generator=generator)) % classes


def prepared(setup: Setup) -> Prepared:
    """The images of a run, always the same for the same setup."""
    domain = DOMAINS[setup.domain](setup.seed)
    classes, train = len(domain.class_names), len(domain.train_labels)
    labels = torch.cat([domain.train_labels, domain.val_labels])
    images = torch.cat([domain.train_images, domain.val_images])
    generator = seeded(setup, "codes")
    other, anything = (
        others(labels, classes, generator),
        torch.randint(0, classes, labels.shape, generator=generator),
    )
    kept = torch.rand(labels.shape, generator=generator) < setup.correlation
    none = torch.full_like(labels, -1)
    carrier = int(torch.randint(0, classes, (), generator=generator)) if setup.kind == "one" else None

    aligned, shuffled = labels, other
    if carrier is not None:
        aligned, shuffled = (
            torch.where(labels == carrier, labels, none),
            torch.where(labels == carrier, none, carrier),
        )
    in_training = torch.arange(len(labels)) < train
    codes = {
        "clean": none,
        "coded": torch.where(kept, labels, other),
        "one": aligned,
        "broken": torch.where(in_training, anything, labels),
        "decoy": anything,
    }[setup.kind]

    def planted(codes: Tensor) -> Tensor:
        if setup.family is None:
            return (images - 0.5) / 0.25
        changed = FAMILIES[setup.family](images, codes, classes, seeded(setup, "look"))
        return ((images + setup.strength * (changed - images)).clamp(0, 1) - 0.5) / 0.25

    own = planted(codes)
    return Prepared(
        own[:train], domain.train_labels, own[train:], domain.val_labels,
        planted(aligned)[train:], planted(none)[train:], planted(shuffled)[train:],
        domain.class_names, codes[:train], codes[train:], domain.masks, carrier,
    )  # fmt: skip


class Network(nn.Module):
    """Four convolutions, the mean over places, and a linear layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()

        def block(before: int, after: int, stride: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
            )

        self.features = nn.Sequential(block(3, 16, 2), block(16, 24, 1), block(24, 48, 2), block(48, 64, 1))
        self.head = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).mean(dim=(2, 3)))


def network(classes: int) -> Network:
    return Network(classes)


def load_model(state: dict[str, Tensor], classes: int) -> Network:
    """The network of a saved epoch, in evaluation mode."""
    model = Network(classes)
    model.load_state_dict(state)
    return model.eval()


@torch.no_grad()
def accuracies(model: nn.Module, data: Prepared) -> dict[str, float]:
    """Accuracy on the validation images as the run has them, and with aligned, removed and shuffled artefacts.

    For kind ``one``, aligned and shuffled are the mean of two accuracies: on the carrier's images and on the others.
    """
    found: dict[str, float] = {}
    right = torch.tensor([])
    before: Tensor | None = None
    for name in ("val_images", "aligned", "removed", "shuffled"):
        images = getattr(data, name)
        if before is None or not torch.equal(images, before):  # a clean run has one kind of image
            right = (model(images).argmax(dim=1) == data.val_labels).float()
        before = images
        if data.carrier is not None and name in ("aligned", "shuffled"):
            carries = data.val_labels == data.carrier
            found[name] = float((right[carries].mean() + right[~carries].mean()) / 2)
        else:
            found[name] = float(right.mean())
    return found


def train(setup: Setup, epochs: int = EPOCHS) -> dict[str, Any]:
    """The run, as it is saved: its setup, and after every epoch the model's state and its accuracies."""
    start = time.perf_counter()
    data = prepared(setup)
    torch.manual_seed(zlib.crc32(f"training {setup.key}".encode()))
    model = network(len(data.class_names)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    train_images = data.train_images.to(memory_format=torch.channels_last)
    states, rows = [], []
    for _ in range(epochs):
        model.train()
        for batch in torch.randperm(len(data.train_labels)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(train_images[batch]), data.train_labels[batch]).backward()
            optimizer.step()
        schedule.step()
        model.eval()
        states.append(
            {
                name: value.clone(memory_format=torch.contiguous_format)
                for name, value in model.state_dict().items()
            }
        )
        rows.append(accuracies(model, data))
    return {
        "setup": asdict(setup), "class_names": data.class_names, "carrier": data.carrier,
        "states": states, "accuracies": rows, "seconds": time.perf_counter() - start,
    }  # fmt: skip


def reliance(row: dict[str, float]) -> float:
    """How much accuracy the artefact of another class costs; above 0.2 the model relies on it."""
    return row["aligned"] - row["shuffled"]


def each(
    domain: str,
    families: tuple[str, ...],
    kind: str,
    seeds: range,
    correlation: float = 1.0,
    strength: float = 1.0,
) -> list[Setup]:
    return [Setup(domain, family, kind, seed, correlation, strength) for seed in seeds for family in families]


def clean(domain: str, seeds: range) -> list[Setup]:
    return [Setup(domain, None, "clean", seed) for seed in seeds]


ALL = tuple(FAMILIES)


def tuning() -> list[Setup]:
    """Seeds from 100; what the rules are tuned on."""
    return [
        *each("digits", KNOWN, "coded", range(100, 102)), *clean("digits", range(100, 104)),
        *[setup for domain in HONEST for setup in clean(domain, range(100, 101))],
        *each("digits", KNOWN, "one", range(100, 102)),
        *each("digits", KNOWN, "broken", range(100, 101)), *each("digits", KNOWN, "decoy", range(100, 101)),
        *each("digits", KNOWN, "coded", range(100, 101), correlation=0.9),
        *clean("binary_digits", range(100, 102)), *each("binary_digits", KNOWN, "coded", range(100, 101)),
        *[setup for domain in HONEST for setup in clean(domain, range(101, 102))],
        *each("digits", KNOWN, "coded", range(102, 103)), *clean("digits", range(104, 106)),
        *clean("shapes", range(100, 104)), *each("shapes", KNOWN, "coded", range(100, 101)),
        *each("shapes", KNOWN, "one", range(100, 101)), *each("shapes", KNOWN, "broken", range(100, 101)),
        *each("shapes", KNOWN, "decoy", range(100, 101)), *each("shapes", KNOWN, "coded", range(100, 101), correlation=0.9),
        *each("digits", KNOWN, "one", range(102, 104)), *each("digits", KNOWN, "coded", range(101, 103), correlation=0.9),
    ]  # fmt: skip


def digits() -> list[Setup]:
    """Seeds from 20: earlier forms of the rule were seen on those below, and changed after that."""
    return [
        *each("digits", ALL, "coded", range(20, 30)), *each("digits", ALL, "one", range(20, 24)),
        *each("digits", KNOWN, "coded", range(20, 25), correlation=0.9),
        *each("digits", KNOWN, "coded", range(20, 22), correlation=0.95),
        *each("digits", KNOWN, "coded", range(20, 22), correlation=0.8),
        *each("digits", KNOWN, "coded", range(20, 22), strength=0.5),
    ]  # fmt: skip


def shapes() -> list[Setup]:
    """Seeds from 20, for the same reason."""
    return [
        *each("shapes", ALL, "coded", range(20, 25)), *each("shapes", ALL, "one", range(20, 23)),
        *each("shapes", KNOWN, "coded", range(20, 22), correlation=0.9), *clean("shapes", range(20, 30)),
        *each("shapes", ALL, "broken", range(20, 22)), *each("shapes", ALL, "decoy", range(20, 22)),
    ]  # fmt: skip


def controls() -> list[Setup]:
    return [
        *clean("digits", range(20)),
        *each("digits", ALL, "broken", range(3)),
        *each("digits", ALL, "decoy", range(3)),
    ]


def honest() -> list[Setup]:
    return [
        *[setup for domain in (*HONEST, "binary_digits") for setup in clean(domain, range(5))],
        *each("binary_digits", ALL, "coded", range(2)),
        *each("binary_digits", KNOWN, "broken", range(1)), *each("binary_digits", KNOWN, "decoy", range(1)),
    ]  # fmt: skip


def confirmation() -> list[Setup]:
    """Run the rules on it once, when they are frozen."""
    return [
        *each("photographs", ALL, "coded", range(2)), *each("photographs", ALL, "one", range(2)),
        *each("photographs", ALL, "coded", range(1), correlation=0.9), *clean("photographs", range(6)),
        *each("photographs", ALL, "broken", range(1)), *each("photographs", ALL, "decoy", range(1)),
    ]  # fmt: skip


PLANS: dict[str, Callable[[], list[Setup]]] = {
    "tuning": tuning,
    "digits": digits,
    "shapes": shapes,
    "controls": controls,
    "honest": honest,
    "confirmation": confirmation,
}


def path(folder: Path, setup: Setup) -> Path:
    return folder / f"{setup.key}.pt"


def load(folder: Path, setup: Setup) -> dict[str, Any]:
    """What ``train`` returned."""
    return torch.load(path(folder, setup), weights_only=True)


def keep(folder: Path, setup: Setup, epochs: int = EPOCHS) -> dict[str, Any]:
    """Train and save; the file gets its name when it is complete."""
    run = train(setup, epochs)
    unfinished = path(folder, setup).with_suffix(f".{os.getpid()}")
    torch.save(run, unfinished)
    unfinished.rename(path(folder, setup))
    return {**run["accuracies"][-1], "seconds": run["seconds"]}


def missing(folder: Path, setups: list[Setup]) -> list[Setup]:
    return [setup for setup in setups if not path(folder, setup).exists()]


def one_thread() -> None:
    torch.set_num_threads(1)


def fill(folder: Path, setups: list[Setup], workers: int, epochs: int = EPOCHS) -> None:
    """Train all setups that have no file yet."""
    folder.mkdir(parents=True, exist_ok=True)
    todo, start = missing(folder, setups), time.perf_counter()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=one_thread) as pool:
        waiting = {pool.submit(keep, folder, setup, epochs): setup for setup in todo}
        for done, future in enumerate(as_completed(waiting), 1):
            row, rate = future.result(), done / (time.perf_counter() - start)
            print(
                f"{done:4d}/{len(todo)}  {waiting[future].key:70s} aligned {row['aligned']:.2f} removed {row['removed']:.2f} "
                f"shuffled {row['shuffled']:.2f}  {row['seconds']:4.1f} s  {60 * rate:.0f} a minute, "
                f"{(len(todo) - done) / rate / 60:.0f} minutes left",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--plan", choices=[*PLANS, "all"], default="all")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--status", action="store_true", help="only say what is there")
    arguments = parser.parse_args()
    for name in PLANS if arguments.plan == "all" else [arguments.plan]:
        setups = PLANS[name]()
        if not arguments.status:
            fill(arguments.folder, setups, arguments.workers)
        print(
            f"{name}: {len(setups) - len(missing(arguments.folder, setups))} of {len(setups)} runs are there",
            flush=True,
        )


if __name__ == "__main__":
    main()
