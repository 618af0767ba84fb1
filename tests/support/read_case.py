"""A case of reading: a user's module and data, and what a monitor must know of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from torch import Tensor

from lightning_cam import CAMMonitor
from support.read_data import Figures, loader, training, validation
from support.read_modules import Own, User, learnt

KINDS = 72  # of set-ups in the report on public bug reports of like tools


@dataclass(frozen=True)
class Setup:
    """A module, its loaders, and what is true of the validation images, in their order.

    Args:
        seen: The images as the network gets them.
        boxes: (n, H, W) where their figures lie; None where no map is expected there.
        labels: As the loss compares with them; None where there is none.
        own: What the user's own code says of each image; None runs its validation and takes what its steps said.
    """

    module: User
    train: Any
    val: Any
    seen: Tensor
    boxes: Tensor | None
    labels: Tensor | None
    own: Callable[[User], Own] | None = None


@dataclass(frozen=True)
class ReadCase:
    """What is expected of a monitor.

    Args:
        row: The kind, 1 to 72.
        arguments: Of ``CAMMonitor``; none is the plain one.
        task, network, label: What ``reading`` says, the label as a pattern; None: anything.
        says: Patterns, each of which must be among what the monitor tells, raises and writes into ``reading``.
        never: A pattern that must not be there.
        remedy: From what was told, arguments with which the reading is right: these are then tried, with this or
            with another set-up or fit. Without one, the reading must be right at once.
        share: Least share of the saliency in the figures, as a part of the control's; None: not looked at.
        own: Least mean of what the user's own step calls right, as a check of the case itself.
        is_whole: Whether the probe holds all validation images.
        grid: Of the maps.
        names: The probe's class names, where they matter.
        fit: How it is trained; None: ``Trainer.fit`` with ``options``.
        also: What else must hold of a monitor and of the directory in which it ran.
        needs: Packages.
    """

    row: int
    name: str
    make: Callable[[], Setup]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    task: str | None = "multiclass"
    network: str | None = ""
    label: str | None = r"batch\[1\]"
    says: tuple[str, ...] = ()
    never: str = ""
    remedy: Callable[[str], dict[str, Any]] | None = None
    remedied: Callable[[], Setup] | None = None
    share: float | None = 0.6
    own: float = 0.95
    is_whole: bool = True
    grid: tuple[int, ...] | None = None
    names: Any = "any"
    options: Mapping[str, Any] = field(default_factory=dict)
    fit: Callable[[Trainer, Setup], None] | None = None
    remedied_fit: Callable[[Trainer, Setup], None] | None = None
    also: Callable[[CAMMonitor, Setup, Path], None] | None = None
    needs: tuple[str, ...] = ()


CASES: list[ReadCase] = []


def case(row: int, **facts: Any) -> Callable:
    """A function that makes a set-up is a case of that kind."""

    def add(make: Callable[[], Setup]) -> Callable[[], Setup]:
        CASES.append(ReadCase(row, make.__name__, make, **facts))
        return make

    return add


def variant(row: int, name: str, make: Callable[[], Setup], **facts: Any) -> None:
    """The same set-up with other arguments, or another one of the same kind."""
    CASES.append(ReadCase(row, name, make, **facts))


def plain(module: User, classes: int = 4, **changes: Any) -> Setup:
    """Batches (images, labels)."""
    known, held = training(classes), validation(classes)
    facts = {
        "train": loader(known.images, known.labels, shuffle=True),
        "val": loader(held.images, held.labels),
        "seen": held.images,
        "boxes": held.boxes,
        "labels": held.labels,
    }
    return Setup(module, **{**facts, **changes})


def paired(
    make: Callable[[], User], label: Callable[[Figures], Tensor], classes: int = 4, **options: Any
) -> Setup:
    """Batches (images, labels made of the figures), the module trained on them."""
    known, held = training(classes), validation(classes)
    train = loader(known.images, label(known), shuffle=True)
    module = learnt(make, train, **options)
    return plain(module, classes, train=train, val=loader(held.images, label(held)), labels=label(held))
