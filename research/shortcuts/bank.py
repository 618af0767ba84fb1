"""Small networks trained with and without a planted shortcut, kept epoch by epoch.

python -m research.shortcuts.bank --folder DIR --plan tuning --workers 2    # trains what is not there yet
python -m research.shortcuts.bank --folder DIR --plan all --status
"""

import argparse
import os
import time
import zlib
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from research.shortcuts.networks import SMALL, FineTuned, Recipe, recipe, restored, trained_state
from research.shortcuts.plans import PLANS, chosen_plans
from research.shortcuts.prepare import Prepared as Prepared
from research.shortcuts.prepare import prepared as prepared
from research.shortcuts.setups import Setup as Setup

RELIES = 0.2  # ``reliance`` above it is verified
VIEWS = ("val_images", "aligned", "removed", "shuffled")


def load_model(state: dict[str, Tensor], classes: int, setup: Setup | None = None) -> nn.Module:
    """The network of a saved epoch, in evaluation mode.

    Args:
        setup: The run that the state is from. None: one of the domains drawn in 32 x 32 pixels, that share a network.
    """
    learned = SMALL if setup is None else recipe(setup.domain, setup.seed)
    return restored(learned.network(0 if setup is None else setup.seed, classes), state)


@torch.no_grad()
def frozen(model: nn.Module, images: Tensor) -> Tensor:
    """What the trained part of the model sees of the images: computed once, since nothing before it changes."""
    if isinstance(model, FineTuned):
        return torch.cat([model.before(part) for part in images.split(64)])
    return images


def views(model: nn.Module, data: Prepared) -> dict[str, Tensor]:
    """What the trained part sees of the validation images and their variants; variants that are equal are the same tensor."""
    found: dict[str, Tensor] = {}
    before, seen = None, torch.tensor([])
    for name in VIEWS:
        images = getattr(data, name)
        if before is None or not torch.equal(images, before):  # a clean run has one kind of image
            seen = frozen(model, images)
        before, found[name] = images, seen
    return found


@torch.no_grad()
def accuracies(model: nn.Module, seen: dict[str, Tensor], data: Prepared) -> dict[str, float]:
    """Accuracy on the validation images as the run has them, and with aligned, removed and shuffled artefacts.

    For kind ``one``, aligned and shuffled are the mean of two accuracies: on the carrier's images and on the others.
    """
    answer = model.after if isinstance(model, FineTuned) else model
    found: dict[str, float] = {}
    right, before = torch.tensor([]), None
    for name in VIEWS:
        if seen[name] is not before:
            right = (answer(seen[name]).argmax(dim=1) == data.val_labels).float()
        before = seen[name]
        if data.carrier is not None and name in ("aligned", "shuffled"):
            carries = data.val_labels == data.carrier
            found[name] = float((right[carries].mean() + right[~carries].mean()) / 2)
        else:
            found[name] = float(right.mean())
    return found


def augmented(images: Tensor, generator: Generator | None = None) -> Tensor:
    """The normalized images, moved by up to 3 pixels with black beyond their edges, and every other one mirrored."""
    count, channels, height, width = images.shape
    wide = F.pad(images, (3, 3, 3, 3), value=-2.0)  # (0 - 0.5) / 0.25
    corners = torch.randint(0, 7, (2, count, 1), generator=generator)
    rows, columns = corners[0] + torch.arange(height), corners[1] + torch.arange(width)
    mirrored = torch.rand(count, 1, generator=generator) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    return wide[
        torch.arange(count)[:, None, None, None],
        torch.arange(channels)[:, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


def optimization(model: nn.Module, learned: Recipe) -> tuple[torch.optim.Optimizer, Any]:
    parameters = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=learned.rate, weight_decay=learned.weight_decay)
    if learned.falling:
        return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, learned.epochs)
    return optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1, total_iters=1)


def train(setup: Setup, epochs: int | None = None) -> dict[str, Any]:
    """The run, as it is saved: its setup, and after every epoch the trained state and its accuracies.

    Args:
        epochs: None: as many as the domain's recipe says.
    """
    start = time.perf_counter()
    data, learned = prepared(setup), recipe(setup.domain, setup.seed)
    torch.manual_seed(zlib.crc32(f"training {setup.key}".encode()))
    model = learned.network(setup.seed, len(data.class_names)).to(memory_format=torch.channels_last)
    optimizer, schedule = optimization(model, learned)
    train_images = frozen(model.eval(), data.train_images.to(memory_format=torch.channels_last))
    answer = model.after if isinstance(model, FineTuned) else model
    seen, states, rows = views(model, data), [], []
    for _ in range(learned.epochs if epochs is None else epochs):
        model.train()
        for batch in torch.randperm(len(data.train_labels)).split(learned.batch):
            optimizer.zero_grad()
            images = augmented(train_images[batch]) if learned.augmented else train_images[batch]
            F.cross_entropy(answer(images), data.train_labels[batch]).backward()
            optimizer.step()
        schedule.step()
        model.eval()
        states.append(trained_state(model))
        rows.append(accuracies(model, seen, data))
    return {
        "setup": asdict(setup), "class_names": data.class_names, "carrier": data.carrier,
        "states": states, "accuracies": rows, "seconds": time.perf_counter() - start,
    }  # fmt: skip


def reliance(row: dict[str, float]) -> float:
    """How much accuracy the artefact of another class costs; above 0.2 the model relies on it."""
    return row["aligned"] - row["shuffled"]


def path(folder: Path, setup: Setup) -> Path:
    return folder / f"{setup.key}.pt"


def load(folder: Path, setup: Setup) -> dict[str, Any]:
    """What ``train`` returned."""
    return torch.load(path(folder, setup), weights_only=True)


def keep(folder: Path, setup: Setup, epochs: int | None = None) -> dict[str, Any]:
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


def fill(folder: Path, setups: list[Setup], workers: int, epochs: int | None = None) -> None:
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


def overview(folder: Path, setups: list[Setup]) -> str:
    """One line per domain, kind and correlation: runs that are there, accuracy, how many rely on the artefact at some epoch."""
    lines: dict[tuple[str, str, float], list[tuple[float, float, float]]] = {}
    for setup in setups:
        if not path(folder, setup).exists():
            continue
        run = torch.load(path(folder, setup), weights_only=True, mmap=True)
        last, most = run["accuracies"][-1], max(map(reliance, run["accuracies"]))
        row = (last["val_images"], most, run["seconds"])
        lines.setdefault((setup.domain, setup.kind, setup.correlation), []).append(row)
    texts = []
    for (domain, kind, correlation), rows in lines.items():
        right, reliances, times = map(list, zip(*rows, strict=True))
        texts.append(
            f"  {domain:22s} {kind:7s} {correlation:<4g} {len(rows):3d} runs  accuracy {median(right):.2f}  "
            f"{sum(value > RELIES for value in reliances):3d} rely, reliance {median(reliances):5.2f}  {median(times):4.1f} s"
        )
    return "\n".join(texts)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument(
        "--plan", choices=[*PLANS, "all"], action="append", help="may be given again; default: all"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--status", action="store_true", help="only say what is there, and how much it relies"
    )
    arguments = parser.parse_args()
    for name in chosen_plans(arguments.plan):
        setups = PLANS[name]()
        if not arguments.status:
            fill(arguments.folder, setups, arguments.workers)
        elif text := overview(arguments.folder, setups):
            print(text)
        print(
            f"{name}: {len(setups) - len(missing(arguments.folder, setups))} of {len(setups)} runs are there",
            flush=True,
        )


if __name__ == "__main__":
    main()
