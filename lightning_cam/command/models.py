"""Classifiers by name, torchvision's and timm's (``timm:NAME``), with what their images and classes need."""

import argparse
import difflib
import http.client
import importlib.util
import socket
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torchvision
from PIL.Image import Image
from torch import Tensor, nn

from lightning_cam.checks import Normalization
from lightning_cam.command.checkpoint import load_weights
from lightning_cam.command.classes import read_names

TIMM = "timm:"
SECONDS = 30  # without an answer, and a download is given up
# What a download may raise: torch.hub's errors, and those of timm's hub and its HTTP client.
DOWNLOAD_ERRORS = (OSError, http.client.HTTPException, RuntimeError, ValueError)


@dataclass(frozen=True, eq=False)
class NamedModel:
    """A classifier in eval mode.

    Args:
        transform: Makes the network's input (3, H, W) of a picture.
        normalization: Mean and standard deviation that ``transform`` applies.
        categories: Names of the classes that its published weights tell apart.
        frame: To how many pixels the shorter side is resized, and how many are cropped from the middle; None
            where the transform is another one.
        origin: Where the weights are from, in words.
    """

    network: nn.Module
    transform: Callable[[Image], Tensor]
    normalization: Normalization
    categories: tuple[str, ...]
    frame: tuple[int, int] | None
    origin: str

    def names(self, classes: int, file: Path | None = None) -> tuple[str, ...]:
        """A name for each class: of a file's lines, else the published ones where there are as many, else
        numbers.

        Raises:
            ValueError: The file cannot be read, or has another number of lines.
        """
        if file is None:
            own = len(self.categories) == classes
            return self.categories if own else tuple(f"class {number}" for number in range(classes))
        names = read_names(file)
        if len(names) != classes:
            raise ValueError(
                f"--class-names: {file} has {len(names)} lines for the model's {classes} classes; "
                "give one name per line."
            )
        return tuple(names)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that ``named_model`` reads."""
    parser.add_argument(
        "--model",
        default="resnet50",
        metavar="NAME",
        help="a classifier of torchvision, such as alexnet or vgg16, or of timm, such as "
        "timm:tf_efficientnet_lite0 (%(default)s)",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="weights: a state dict, or a checkpoint that holds one, such as Lightning's; without it the "
        "published weights are downloaded",
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="read objects of any kind from the checkpoint, which may run code: for files you know",
    )
    parser.add_argument(
        "--class-names",
        type=Path,
        metavar="FILE",
        help="one per line, for a checkpoint with classes of its own",
    )
    parser.add_argument("--device", default="cpu", help="such as cuda (%(default)s)")


def named_model(
    name: str, checkpoint: Path | None = None, trust: bool = False, device: str = "cpu"
) -> NamedModel:
    """A classifier by name, with the weights of a file or, without one, its published weights.

    Args:
        name: One of ``torchvision.models.list_models()`` that classifies, or ``timm:`` and one of timm's.
        trust: Whether objects of any kind are read from the checkpoint, which may run code.

    Raises:
        ValueError: No such model, package, file or device; or the published weights cannot be downloaded. The
            message names the option and the remedy.
    """
    find = _of_timm if name.startswith(TIMM) else _of_torchvision
    found = find(name.removeprefix(TIMM), checkpoint, trust)
    found.network.eval()
    try:
        found.network.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device: {device!r} cannot be used ({str(error).splitlines()[0]}).") from None
    return found


def _of_torchvision(name: str, checkpoint: Path | None, trust: bool) -> NamedModel:
    known = torchvision.models.list_models(module=torchvision.models)
    if name.lower() not in known:
        raise ValueError(f"--model: torchvision has no classifier {name!r}; {_closest(name, known)}")
    weights = torchvision.models.get_model_weights(name).DEFAULT
    if checkpoint is None:
        make = partial(torchvision.models.get_model, name, weights=weights)
        network = _downloaded(make, name, weights.url)
    else:
        build = partial(torchvision.models.get_model, name, weights=None)
        # Of each of torchvision's classifiers the last entry has a row per class.
        network = load_weights(
            _quiet(build), name, lambda model: list(model.state_dict())[-1], checkpoint, trust
        )
    transform = weights.transforms()
    return NamedModel(
        network=network,
        transform=transform,
        normalization=(tuple(transform.mean), tuple(transform.std)),
        categories=tuple(weights.meta["categories"]),
        frame=(transform.resize_size[0], transform.crop_size[0]),
        origin=str(checkpoint or weights),
    )


def _of_timm(name: str, checkpoint: Path | None, trust: bool) -> NamedModel:
    if importlib.util.find_spec("timm") is None:
        raise ValueError(f"--model: {TIMM}{name} needs the package timm; run: pip install timm")
    import timm

    if not timm.is_model(name):
        raise ValueError(f"--model: timm has no model {name!r}; {_closest(name, timm.list_models())}")
    if checkpoint is None:
        published = timm.get_pretrained_cfg(name)
        source = (
            f"https://huggingface.co/{published.hf_hub_id}"
            if published and published.hf_hub_id
            else "its hub"
        )
        network = _downloaded(partial(timm.create_model, name, pretrained=True), TIMM + name, source)
    else:
        build = partial(timm.create_model, name, pretrained=False)
        network = load_weights(build, TIMM + name, _head_of_timm, checkpoint, trust)
    how = timm.data.resolve_model_data_config(network)
    own: Any = network.pretrained_cfg
    imagenet = torchvision.models.get_model_weights("resnet50").DEFAULT.meta["categories"]
    side = how["input_size"][-1]
    return NamedModel(
        network=network,
        transform=timm.data.create_transform(**how, is_training=False),
        normalization=(tuple(how["mean"]), tuple(how["std"])),
        categories=tuple(imagenet) if own["num_classes"] == len(imagenet) else (),
        frame=(int(side / how["crop_pct"]), side) if how["crop_mode"] == "center" else None,
        origin=str(checkpoint or own.get("tag") or "of timm"),
    )


def _head_of_timm(model: Any) -> str:
    head = model.pretrained_cfg.get("classifier") or ""
    key = f"{head if isinstance(head, str) else head[0]}.weight"
    state = list(model.state_dict())
    return key if key in state else state[-1]


def _downloaded(make: Callable[[], nn.Module], name: str, source: str) -> nn.Module:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS)
    try:
        return make()
    except DOWNLOAD_ERRORS as error:  # no network; cut off; not what was asked for
        reason = str(error).strip().rstrip(".")
        raise ValueError(
            f"--model: the weights of {name} could not be downloaded from {source} ({reason}).\n"
            "Where there is no network, fetch them elsewhere and pass the file with --checkpoint FILE."
        ) from None
    finally:
        socket.setdefaulttimeout(before)


def _quiet(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Two of torchvision's models announce another initialization, which a checkpoint overwrites."""

    def quiet(**options: Any) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return build(**options)

    return quiet


def _closest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name.lower(), known, n=4, cutoff=0.4)
    return f"did you mean {', '.join(close)}?" if close else f"there are {', '.join(known)}."
