"""Does a classifier take a shortcut on the images of a folder? Findings in points of accuracy.

    lightning-cam shortcuts photos/val --model resnet18 --checkpoint mine.ckpt
    lightning-cam shortcuts photos/val --checkpoint mine.ckpt --picture found.png --csv groups.csv

The folder holds validation images, 500 or more serve well, in one subfolder per class as torchvision's
ImageFolder has them. A finding shows what the model uses. Whether it should is your decision.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import ImageFolder

from lightning_cam.checks import Normalization
from lightning_cam.command.classes import class_of
from lightning_cam.command.console import count, say
from lightning_cam.command.images import opened
from lightning_cam.command.models import add_model_arguments, named_model
from lightning_cam.data.probe import Probe
from lightning_cam.report.shortcut_section import outcome
from lightning_cam.shortcuts.find import find_shortcuts
from lightning_cam.shortcuts.findings import Finding
from lightning_cam.shortcuts.report import ShortcutReport

SUMMARY = "whether a classifier takes a shortcut on a folder of images"
BATCH = 32
MOST_CLASSES = 20  # that are printed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of images, one subfolder per class")
    parser.add_argument(
        "--probe",
        type=count,
        default=96,
        metavar="N",
        help="how many images receive cues from others (%(default)s)",
    )
    parser.add_argument(
        "--most",
        type=count,
        default=1000,
        metavar="N",
        help="how many images of a larger folder are read, the same share of each class (%(default)s)",
    )
    parser.add_argument("--table", action="store_true", help="print every cue, also those without a finding")
    parser.add_argument("--cue", help="of which finding --picture and --csv are; the strongest unless given")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write the evidence of a finding")
    parser.add_argument(
        "--csv",
        type=Path,
        metavar="FILE",
        help="write a line per image: whether it carries the cue or contradicts it, and its group, as "
        "GroupDRO and last-layer retraining read it",
    )
    add_model_arguments(parser)


def run(given: argparse.Namespace) -> None:
    """Prints findings, and writes what was asked for.

    Raises:
        ValueError: An option is wrong, or a file cannot be read or written.
    """
    if given.csv is not None and given.csv.suffix != ".csv":
        raise ValueError(f"--csv: got {str(given.csv)!r}; give a name that ends with '.csv'.")
    plain = image_folder(given.folder)
    model = named_model(given.model, given.checkpoint, given.trust, given.device)
    with torch.inference_mode():
        classes = model.network(model.transform(plain[0][0])[None].to(given.device)).shape[1]
    names = model.names(classes, given.class_names)
    numbers = class_numbers(plain.classes, names)
    images = image_folder(given.folder, model.transform, numbers.__getitem__)

    read = spread(images.targets, given.most)
    some = [images[read[i]] for i in spread([images.targets[i] for i in read], given.probe)]
    own = dict(zip(numbers, images.classes, strict=True))
    probe = Probe(
        torch.stack([image for image, _ in some]),
        torch.tensor([number for _, number in some]),
        class_names=tuple(own.get(number, name) for number, name in enumerate(names)),
    )
    say(f"{given.model}, weights {model.origin}")
    part = "" if len(read) == len(images) else f" of {len(images)}"
    say(f"{given.folder}: {len(read)}{part} images of {len(own)} classes")
    for number, folder in list(own.items())[:MOST_CLASSES]:
        known = "" if names[number] in (folder, f"class {number}") else f" {names[number]!r}"
        say(f"  {folder}: class {number}{known}")
    report = find_shortcuts(
        model.network, probe, data=DataLoader(Subset(images, read), BATCH), max_batch=BATCH
    )
    tell(report, given.table)
    finding = chosen_finding(report, given.cue)
    if given.picture is not None:
        _write_picture(given, report, finding, model.normalization)
    if given.csv is not None:
        _write_groups(given, images, finding, probe.class_names)


def _write_picture(
    given: argparse.Namespace,
    report: ShortcutReport,
    finding: Finding | None,
    normalization: Normalization,
) -> None:
    if finding is None:
        say(f"not written: {given.picture}, as there is no finding")
        return
    try:
        report.picture(finding, given.folder.name, normalization).save(given.picture)
    except (OSError, ValueError) as error:
        raise ValueError(f"--picture: {given.picture} cannot be written ({error}).") from None
    say(f"written: {given.picture}, of {finding.cue}")


def _write_groups(
    given: argparse.Namespace, images: ImageFolder, finding: Finding | None, names: tuple[str, ...] | None
) -> None:
    if finding is None:
        say(f"not written: {given.csv}, as there is no finding")
        return
    found = finding.images(DataLoader(images, BATCH), names)
    found.save(given.csv, files=[path for path, _ in images.samples])
    say(f"written: {given.csv}, of {finding.cue}")
    for group, size in found.counts().items():
        say(f"  {group}: {size}")


def image_folder(
    folder: Path,
    transform: Callable[[Image], Tensor] | None = None,
    target_transform: Callable[[int], int] | None = None,
) -> ImageFolder:
    """The images of a folder, opened as ``explain`` opens one.

    Raises:
        ValueError: There is no such folder, or it has not two subfolders with images.
    """
    if not folder.is_dir():
        raise ValueError(f"FOLDER: there is no folder {folder}.")
    try:
        images = ImageFolder(str(folder), transform, target_transform, loader=opened)
    except FileNotFoundError as error:  # no subfolder, or one without images
        raise ValueError(f"FOLDER: {folder} has not one subfolder with images per class ({error}).") from None
    if len(images.classes) < 2:
        raise ValueError(
            f"FOLDER: {folder} has one subfolder, {images.classes[0]!r}; give images of two classes or more."
        )
    return images


def class_numbers(folders: Sequence[str], names: Sequence[str]) -> list[int]:
    """The model's class of each subfolder: by its name where the classes have these, else in the order of the
    names, as ImageFolder numbered them for the training.

    Raises:
        ValueError: There are fewer or more subfolders than classes, and their names are not those of classes.
    """
    if len(folders) == len(names) and {*map(str.lower, folders)} != {*map(str.lower, names)}:
        return list(range(len(folders)))
    try:
        numbers = [class_of(folder, names, "FOLDER") for folder in folders]
    except ValueError as error:
        raise ValueError(
            f"{error} There are {len(folders)} subfolders and {len(names)} classes of the model: give one "
            "for each, or names of classes; --class-names FILE tells those of a checkpoint."
        ) from None
    doubled = next((number for number in numbers if numbers.count(number) > 1), None)
    if doubled is not None:
        own = [folder for folder, number in zip(folders, numbers, strict=True) if number == doubled]
        raise ValueError(
            f"FOLDER: {' and '.join(own)} are both class {doubled} {names[doubled]!r}; put them into one "
            "subfolder."
        )
    return numbers


def spread(labels: Sequence[int], most: int) -> list[int]:
    """At most so many indices, in order: classes in turn, and of each class images that are evenly apart."""
    if len(labels) <= most:
        return list(range(len(labels)))
    turns = []
    for label in sorted(set(labels)):
        own = [index for index, other in enumerate(labels) if other == label]
        room = max(1, min(len(own), -(-most // len(set(labels)))))
        turns += [(turn, label, own[turn * len(own) // room]) for turn in range(room)]
    return sorted(index for _, _, index in sorted(turns)[:most])


def tell(report: ShortcutReport, with_table: bool) -> None:
    """Prints what was found, and what was not tested."""
    total = len(report.views[0].labels)
    if report.findings:
        say(f"{report.hosts} of {total} images of the probe are answered rightly.")
    for finding in report.findings:
        say(f"Possible shortcut ({finding.cue}): {finding.statement}")
    if not report.findings:
        say(outcome(report.predictivities, [(0, report.reliances)], (report.hosts, total))[-1])
    for note in report.notes:
        say(f"note: {note}")
    if with_table:
        say(report.table())


def chosen_finding(report: ShortcutReport, cue: str | None) -> Finding | None:
    """The finding of a cue, or the strongest; None where there is none at all.

    Raises:
        ValueError: There are findings, and none of this cue.
    """
    if cue is None or not report.findings:
        return next(iter(report.findings), None)
    known = {finding.cue: finding for finding in reversed(report.findings)}
    if cue not in known:
        raise ValueError(f"--cue: no finding of {cue!r}; there are {', '.join(known)}.")
    return known[cue]
