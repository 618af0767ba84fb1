"""Where does a classifier look in this image? A picture of it, and the likeliest classes.

    python examples/explain_image.py cat.jpg                                             # ResNet-50, the predicted class
    python examples/explain_image.py cat.jpg --model vgg16 --class "tabby cat" --class lynx       # classes side by side
    python examples/explain_image.py cat.jpg --model alexnet --method layercam --foreground 0.5 --opacity 0.6
    python examples/explain_image.py scan.png --model resnet18 --checkpoint mine.ckpt --class-names names.txt --class 2

Any classifier of torchvision, with its own weights, which are downloaded at first use, or those of a file. The picture shows what
the network saw: the image as resized and cropped for it.
"""

import argparse
import difflib
import http.client
import pickle
import re
import socket
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
import torchvision
from PIL import Image, ImageOps
from torch import Tensor, nn

from lightning_cam import METHODS, Explanation, explain
from lightning_cam.attribution.task import class_probabilities

MODELS = torchvision.models.list_models(module=torchvision.models)
NESTED = (
    "state_dict",
    "model_state_dict",
    "model",
)  # where training scripts keep the weights in their checkpoints
AUXILIARY = ("aux", "AuxLogits")  # heads that are there in training alone
SECONDS = 30  # without an answer, and a download is given up


def image_of(path: Path) -> Image.Image:
    """The image of a file, upright, in RGB: transparent pixels on white, 16 bits as 8."""
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
    except FileNotFoundError:
        raise SystemExit(f"image: there is no file {path}.") from None
    except (OSError, Image.DecompressionBombError) as error:
        raise SystemExit(f"image: {path} cannot be read as an image ({error}).") from None
    if image.mode.startswith("I"):
        image = image.convert("I").point(lambda value: value / 257).convert("L")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")


def model_of(name: str, checkpoint: Path | None) -> tuple[nn.Module, Any]:
    """A torchvision classifier in eval mode, and the row of its weights that has transforms and class names."""
    if name.lower() not in MODELS:
        close = ", ".join(difflib.get_close_matches(name.lower(), MODELS, n=4, cutoff=0.4)) or ", ".join(
            MODELS
        )
        raise SystemExit(f"--model: torchvision has no classifier {name!r}; the closest are {close}.")
    weights = torchvision.models.get_model_weights(name).DEFAULT
    if checkpoint is not None:
        return from_checkpoint(name, checkpoint).eval(), weights
    socket.setdefaulttimeout(SECONDS)
    try:
        return torchvision.models.get_model(name, weights=weights).eval(), weights
    except (
        OSError,
        http.client.HTTPException,
        RuntimeError,
    ) as error:  # no network; cut off; not what was asked for
        raise SystemExit(
            f"--model: the weights of {name} could not be downloaded from {weights.url} ({error}).\n"
            "Where there is no network, fetch that file elsewhere and pass it with --checkpoint FILE."
        ) from None


def from_checkpoint(name: str, checkpoint: Path) -> nn.Module:
    """The classifier with the weights of a file: with as many classes as the file has, whatever its keys begin with."""
    state = weights_of(checkpoint)
    model = built(name)
    own = list(model.state_dict())
    head = own[-1]  # of each of torchvision's classifiers the last entry has a row per class
    starts = {
        key.removesuffix(head) for key in state if key.endswith(head) and key[: -len(head)][-1:] in ("", ".")
    }
    if not starts:
        raise SystemExit(
            f"--checkpoint: {checkpoint} does not hold {name}: no {head!r} among its {len(state)} tensors, which begin with "
            f"{next(iter(state))!r}; give the --model that was saved."
        )
    start = max(starts, key=lambda start: sum(start + key in state for key in own))
    state = {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}
    if len(state[head]) != len(model.state_dict()[head]):
        model = built(name, num_classes=len(state[head]))
    wanted = model.state_dict()
    problems = [
        *(f"{key!r} is missing" for key in wanted if key not in state and not key.startswith(AUXILIARY)),
        *(f"{key!r} is in excess" for key in state if key not in wanted and not key.startswith(AUXILIARY)),
        *(
            f"{key!r} is {tuple(state[key].shape)} and not {tuple(wanted[key].shape)}"
            for key in wanted
            if key in state and state[key].shape != wanted[key].shape
        ),
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise SystemExit(
            f"--checkpoint: {checkpoint} does not fit {name}: {'; '.join(problems[:3])}{more}; give the --model that was saved."
        )
    model.load_state_dict({key: value for key, value in state.items() if key in wanted}, strict=False)
    return model


def built(name: str, **options: Any) -> nn.Module:
    with (
        warnings.catch_warnings()
    ):  # two of the models announce another initialization, which is overwritten here
        warnings.simplefilter("ignore")
        return torchvision.models.get_model(name, weights=None, **options)


def weights_of(checkpoint: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, or of a checkpoint that holds one."""
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SystemExit(f"--checkpoint: there is no file {checkpoint}.") from None
    except pickle.UnpicklingError:
        raise SystemExit(
            f"--checkpoint: {checkpoint} is no file of weights, or holds more than tensors and plain values, which may run code "
            "when loaded; save model.state_dict()."
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise SystemExit(
            f"--checkpoint: {checkpoint} cannot be read ({str(error).splitlines()[0]})."
        ) from None
    for key in NESTED:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    tensors = (
        {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
        if isinstance(state, Mapping)
        else {}
    )
    if not tensors:
        raise SystemExit(
            f"--checkpoint: {checkpoint} holds a {type(state).__name__} without tensors; save model.state_dict()."
        )
    return tensors


def names_of(file: Path | None, known: Sequence[str], classes: int) -> list[str]:
    """A name for each class: of a file's lines, else torchvision's where there are as many, else numbers."""
    if file is None:
        return list(known) if len(known) == classes else [f"class {number}" for number in range(classes)]
    try:
        names = file.read_text(encoding="utf-8").strip("\n").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(f"--class-names: {file} cannot be read ({error}).") from None
    if len(names) != classes:
        raise SystemExit(
            f"--class-names: {file} has {len(names)} lines for the model's {classes} classes; give one name per line."
        )
    return names


def class_of(wanted: str, names: Sequence[str]) -> int:
    """The class that is meant: its number, its name in any case, or the only name that holds these words or consists of some."""
    if re.fullmatch(r"-?\d+", wanted):
        if 0 <= int(wanted) < len(names):
            return int(wanted)
        raise SystemExit(
            f"--class: {wanted} is outside the model's {len(names)} classes; use 0 to {len(names) - 1}."
        )
    words, each = plain(wanted), [plain(name) for name in names]
    for fits in (
        [name == words for name in each],
        [f" {words} " in f" {name} " for name in each],
        [bool(name) and f" {name} " in f" {words} " for name in each],
    ):
        found = [number for number, fit in enumerate(fits) if fit]
        if len(found) == 1:
            return found[0]
        if found:
            several = ", ".join(f"{number} {names[number]!r}" for number in found[:8])
            raise SystemExit(
                f"--class: {wanted!r} may be {several}{', ...' if len(found) > 8 else ''}; say which, by number."
            )
    close = difflib.get_close_matches(words, each, n=5, cutoff=0.5)
    numbers = list(dict.fromkeys(each.index(name) for name in close))
    hint = ", ".join(f"{number} {names[number]!r}" for number in numbers)
    raise SystemExit(
        f"--class: no class {wanted!r}; "
        + (f"the closest are {hint}." if hint else "none is close: give a number.")
    )


def plain(name: str) -> str:
    """A name to compare: lower case, words apart by one space."""
    return " ".join(re.split(r"[\W_]+", name.lower())).strip()


def cropped(size: tuple[int, int], transform: Any) -> str:
    """What of an image (width, height) the network saw, in words; nothing where it saw all of it."""
    resized, crop = transform.resize_size[0], transform.crop_size[0]
    width, height = (side * resized / min(size) for side in size)
    across, down = min(1.0, crop / width), min(1.0, crop / height)
    if across == down == 1:
        return ""
    return f"cropped: the network saw the middle {100 * across:.0f} % of the width and {100 * down:.0f} % of the height"


@contextmanager
def without_traceback() -> Iterator[None]:
    """The package's own messages, which name argument, value and remedy."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise SystemExit(str(error)) from None


def opacity(text: str) -> str | float:
    if text in ("evidence", "constant"):
        return text
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"got {text}; give a value in [0, 1]")
    return value


def share_above_zero(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"got {text}; give a share of the map's maximum, in (0, 1]")
    return value


def count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {text}; give at least 1")
    return value


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "image", type=Path, metavar="IMAGE", help="a file that Pillow reads: JPEG, PNG, WebP, ..."
    )
    parser.add_argument(
        "--model",
        default="resnet50",
        help="a classifier of torchvision, such as alexnet or vgg16 (%(default)s)",
    )
    parser.add_argument(
        "--class",
        dest="classes",
        action="append",
        default=[],
        metavar="CLASS",
        help="what to explain: a name, a number, or 'predicted' (the default); give it several times to compare",
    )
    parser.add_argument("--method", default="gradcam", help=f"{', '.join(METHODS)} (%(default)s)")
    parser.add_argument(
        "--layer", help="name of a submodule, such as layer3; without it the last with feature maps is found"
    )
    parser.add_argument(
        "--opacity",
        type=opacity,
        default="evidence",
        help="of the heatmap over the image: 'evidence' follows the map, 'constant', or 0 to 1 (%(default)s)",
    )
    parser.add_argument("--colormap", default="plasma", help="one of matplotlib's (%(default)s)")
    parser.add_argument(
        "--foreground",
        type=share_above_zero,
        metavar="THRESHOLD",
        help="outline where the map is at least this share of its maximum, above 0 and at most 1, and box the largest part",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="the picture (IMAGE's name with -cam.png, in this folder)"
    )
    parser.add_argument(
        "--top", type=count, default=5, help="how many of the likeliest classes are printed (%(default)s)"
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="weights: a state dict, or a checkpoint that holds one",
    )
    parser.add_argument(
        "--class-names",
        type=Path,
        metavar="FILE",
        help="one per line, for a checkpoint with classes of its own",
    )
    parser.add_argument("--device", default="cpu", help="such as cuda (%(default)s)")
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    photo = image_of(arguments.image)
    model, weights = model_of(arguments.model, arguments.checkpoint)
    transform = weights.transforms()
    image = transform(photo)[None]
    try:
        model, image = model.to(arguments.device), image.to(arguments.device)
    except (RuntimeError, AssertionError) as error:
        raise SystemExit(
            f"--device: {arguments.device!r} cannot be used ({str(error).splitlines()[0]})."
        ) from None
    with torch.no_grad():
        shares = class_probabilities(model(image))[0].cpu()
    names = names_of(arguments.class_names, weights.meta["categories"], len(shares))
    likeliest = shares.argsort(descending=True).tolist()
    wanted = [
        likeliest[0] if name == "predicted" else class_of(name, names)
        for name in arguments.classes or ["predicted"]
    ]
    wanted = list(dict.fromkeys(wanted))

    normalization = tuple(transform.mean), tuple(transform.std)
    how = {"method": arguments.method, "target_layer": arguments.layer, "normalization": normalization}
    with without_traceback(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the notes are printed below
        found = [cast(Explanation, explain(model, image, target=number, **how)) for number in wanted]
    origin = arguments.checkpoint or weights
    print(f"{arguments.model}, weights {origin}, {found[0].method} at {found[0].target_layer}")
    for number in likeliest[: arguments.top]:
        print(f"{100 * shares[number]:6.2f} %  {number:4d}  {names[number]}")
    notes = list(dict.fromkeys(note for one in found for note in one.notes))
    seen = cropped(photo.size, transform)
    if len(wanted) > 1 and not getattr(METHODS[arguments.method], "of_target", True):
        notes.append(f"--method: {arguments.method} does not ask for a class, so its maps are alike")
    for note in filter(None, [*notes, seen]):
        print(f"note: {note}")
    for number, one in zip(wanted, found, strict=True):
        print(
            f"explained: {number} {names[number]}, {100 * shares[number]:.2f} %{told(one, arguments.foreground)}"
        )

    output = arguments.output or Path(f"{arguments.image.stem}-cam.png")
    with without_traceback():
        figure = found[0].figure(
            arguments.colormap,
            arguments.opacity,
            class_names=names,
            threshold=arguments.foreground,
            beside=found[1:],
            headline=f"{arguments.model} · {seen}" if seen else arguments.model,
        )
        try:
            figure.savefig(output, dpi=150)
        except (OSError, ValueError) as error:
            raise SystemExit(f"--output: {output} cannot be written ({error}).") from None
    print(f"written: {output}")


def told(explanation: Explanation, threshold: float | None) -> str:
    """What is to be said of a map beside its class."""
    if explanation.blank[0]:
        return f"; blank: {explanation.blank[0]}"
    if threshold is None:
        return ""
    with without_traceback():
        area, box = (
            explanation.foreground(threshold).float().mean().item(),
            explanation.boxes(threshold)[0][0].tolist(),
        )
    height, width = explanation.images.shape[2:]
    return f"; from {threshold:g} on: {100 * area:.0f} % of the {width} x {height} pixels, the largest part within x1 y1 x2 y2 {box}"


if __name__ == "__main__":
    main()
