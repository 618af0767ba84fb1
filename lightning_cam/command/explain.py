"""Where does a classifier look in this image? A picture of it, and the likeliest classes.

    lightning-cam explain cat.jpg                    # ResNet-50, the predicted class
    lightning-cam explain cat.jpg --class "tabby cat" --class lynx    # side by side, and their difference
    lightning-cam explain cat.jpg --model timm:tf_efficientnet_lite0 --method layercam --foreground 0.5
    lightning-cam explain scan.png --model resnet18 --checkpoint mine.ckpt --class-names names.txt --class 2

Any classifier of torchvision, or of timm where it is installed, with its published weights or those of a
file. The picture shows what the network saw: the image as resized and cropped for it.
"""

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from lightning_cam.attribution.methods.table import METHODS
from lightning_cam.attribution.task import class_probabilities
from lightning_cam.command.classes import class_of
from lightning_cam.command.console import count, say
from lightning_cam.command.images import opened
from lightning_cam.command.models import NamedModel, add_model_arguments, named_model
from lightning_cam.explainer import explain
from lightning_cam.explanation import Explanation

SUMMARY = "where a classifier looks in one image"
PREDICTED = "predicted"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument(
        "image", type=Path, metavar="IMAGE", help="a file that Pillow reads: JPEG, PNG, WebP, ..."
    )
    parser.add_argument(
        "--class",
        dest="classes",
        action="append",
        default=[],
        metavar="CLASS",
        help="what to explain: a name, a number, or 'predicted' (the default); several times to compare",
    )
    parser.add_argument("--method", default="gradcam", help=f"{', '.join(METHODS)} (%(default)s)")
    parser.add_argument(
        "--target-layer",
        metavar="LAYER",
        help="name of a submodule, such as layer3; without it the last with feature maps is found",
    )
    parser.add_argument(
        "--foreground",
        type=_share,
        metavar="THRESHOLD",
        help="outline where the map is at least this share of its maximum, above 0 and at most 1, and box "
        "the largest part",
    )
    parser.add_argument(
        "--opacity", type=_number_or_word, help="of the heatmap over the image: evidence, constant, or 0 to 1"
    )
    parser.add_argument("--colormap", help="one of matplotlib's")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="the picture (IMAGE's name with -cam.png, in this folder)",
    )
    parser.add_argument(
        "--npz", type=Path, metavar="FILE", help="maps, scores and classes as arrays, one row per class"
    )
    parser.add_argument(
        "--top",
        type=count,
        default=5,
        metavar="N",
        help="how many of the likeliest classes are printed (%(default)s)",
    )
    add_model_arguments(parser)


def run(given: argparse.Namespace) -> None:
    """Prints what the model sees, and writes the picture.

    Raises:
        ValueError: An option is wrong, or a file cannot be read or written.
    """
    photo = opened(given.image)
    model = named_model(given.model, given.checkpoint, given.trust, given.device)
    image = model.transform(photo)[None].to(given.device)
    with torch.inference_mode():
        shares = class_probabilities(model.network(image))[0].cpu()
    names = model.names(len(shares), given.class_names)
    likeliest = shares.argsort(descending=True).tolist()
    chosen = [
        likeliest[0] if wanted == PREDICTED else class_of(wanted, names)
        for wanted in given.classes or [PREDICTED]
    ]
    chosen = list(dict.fromkeys(chosen))
    found = [_explained(given, model, image, number, names) for number in chosen]

    seen = cropped(photo.size, model.frame)
    say(f"{given.model}, weights {model.origin}, {found[0].method} at {found[0].target_layer}")
    for number in likeliest[: given.top]:
        say(f"{100 * shares[number]:6.2f} %  {number:4d}  {names[number]}")
    for note in filter(None, [*_notes(given, found), seen]):
        say(f"note: {note}")
    for number, one in zip(chosen, found, strict=True):
        say(f"explained: {number} {names[number]}, {100 * shares[number]:.2f} %{told(one, given.foreground)}")

    has_difference = len(found) > 1 and _asks_for_a_class(given.method)
    style = {"colormap": given.colormap, "opacity": given.opacity}
    figure = found[0].figure(
        threshold=given.foreground,
        beside=found[1:],
        difference=has_difference,
        headline=f"{given.model} · {seen}" if seen else given.model,
        **{name: value for name, value in style.items() if value is not None},
    )
    output = given.output or Path(f"{given.image.stem}-cam.png")
    try:
        figure.savefig(output, dpi=150)
    except (OSError, ValueError) as error:
        raise ValueError(f"--output: {output} cannot be written ({error}).") from None
    say(f"written: {output}")
    if given.npz is not None:
        try:
            say(f"written: {_joined(found).save(given.npz)}")
        except (OSError, ValueError) as error:
            raise ValueError(f"--npz: {given.npz} cannot be written ({error}).") from None


def cropped(size: tuple[int, int], frame: tuple[int, int] | None) -> str:
    """What of an image (width, height) the network saw, in words; nothing where it saw all of it.

    Args:
        frame: As ``NamedModel`` has it; of None nothing is said.
    """
    if frame is None:
        return ""
    resized, crop = frame
    width, height = (side * resized / min(size) for side in size)
    across, down = min(1.0, crop / width), min(1.0, crop / height)
    if across == down == 1:
        return ""
    seen = f"{100 * across:.0f} % of the width and {100 * down:.0f} % of the height"
    return f"cropped: the network saw the middle {seen}"


def told(explanation: Explanation, threshold: float | None) -> str:
    """What is to be said of a map beside its class."""
    if explanation.blank[0]:
        return f"; blank: {explanation.blank[0]}"
    if threshold is None:
        return ""
    area = explanation.foreground(threshold).float().mean().item()
    box = explanation.boxes(threshold)[0][0].tolist()
    height, width = explanation.images.shape[2:]
    return (
        f"; from {threshold:g} on: {100 * area:.0f} % of the {width} x {height} pixels, "
        f"the largest part within x1 y1 x2 y2 {box}"
    )


def _explained(
    given: argparse.Namespace, model: NamedModel, image: Tensor, number: int, names: Sequence[str]
) -> Explanation:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the notes are printed
        return explain(
            model.network,
            image,
            method=given.method,
            target=number,
            target_layer=given.target_layer,
            normalization=model.normalization,
            class_names=names,
        )


def _notes(given: argparse.Namespace, found: Sequence[Explanation]) -> list[str]:
    notes = list(dict.fromkeys(note for one in found for note in one.notes))
    if len(found) > 1 and not _asks_for_a_class(given.method):
        notes.append(f"--method: {given.method} does not ask for a class, so its maps are alike")
    return notes


def _asks_for_a_class(method: str) -> bool:
    return getattr(METHODS[method], "of_target", True)


def _joined(found: Sequence[Explanation]) -> Explanation:
    """Explanations of one image by several classes as one, a row per class."""

    def rows(name: str) -> Tensor:
        return torch.cat([getattr(one, name) for one in found])

    return replace(
        found[0],
        images=rows("images"),
        cams=rows("cams"),
        scores=rows("scores"),
        target_classes=rows("target_classes"),
        reasons=rows("reasons"),
    )


def _number_or_word(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"got {text}; give a share of the map's maximum, in (0, 1]")
    return value
