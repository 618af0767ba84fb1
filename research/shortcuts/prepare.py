"""The images of a run: a domain with an artefact planted in it, and the same validation images with other artefacts."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from research.shortcuts.artefacts import FAMILIES
from research.shortcuts.composites import COMPOSITES
from research.shortcuts.domains import DOMAINS, Domain
from research.shortcuts.fashion import FASHION
from research.shortcuts.setups import Setup

ALL_DOMAINS: dict[str, Callable[[int], Domain]] = {**DOMAINS, **FASHION, **COMPOSITES}


@dataclass(frozen=True, eq=False)
class Prepared:
    """Normalized images and labels. The validation images are there as the run has them (``val_images``), with the artefact of
    the label (``aligned``), without any (``removed``) and with another class' (``shuffled``).

    For kind ``one``, aligned: the carrier alone has it, on every image; shuffled: all but the carrier have it.
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


def in_places(domain: Domain, images: Tensor, codes: Tensor, setup: Setup) -> Tensor:
    """The objects in the place of their code; those of code -1 stay where they are."""
    if domain.scenes is None or len(domain.class_names) != domain.scenes.shape[1]:
        raise ValueError(
            f"family: 'background' needs a domain with as many places as classes, got {setup.domain!r}; "
            "give 'composites_animals' or 'composites_plants'."
        )
    found = domain.scenes[torch.arange(len(codes)), codes.clamp(min=0)].float() / 255
    return torch.where(codes[:, None, None, None] >= 0, found, images)


def prepared(setup: Setup) -> Prepared:
    """The images of a run, always the same for the same setup."""
    domain = ALL_DOMAINS[setup.domain](setup.seed)
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
        "one": torch.where(kept, aligned, none),
        "broken": torch.where(in_training, anything, labels),
        "decoy": anything,
    }[setup.kind]

    def planted(codes: Tensor) -> Tensor:
        if setup.family is None:
            return (images - 0.5) / 0.25
        if setup.family == "background":
            changed = in_places(domain, images, codes, setup)
        else:
            changed = FAMILIES[setup.family](images, codes, classes, seeded(setup, "look"))
        return ((images + setup.strength * (changed - images)).clamp(0, 1) - 0.5) / 0.25

    own = planted(codes)
    return Prepared(
        own[:train], domain.train_labels, own[train:], domain.val_labels,
        planted(aligned)[train:], planted(none)[train:], planted(shuffled)[train:],
        domain.class_names, codes[:train], codes[train:], domain.masks, carrier,
    )  # fmt: skip
