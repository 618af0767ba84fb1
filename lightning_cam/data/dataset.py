"""What a dataset tells: class names, and the normalization of its transforms."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from lightning_cam.checks import Normalization


def nth_loader(loaders: Any, index: int) -> Any:
    """One of several loaders, in the order in which Lightning counts them; a loader alone is itself."""
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    return loaders[index] if isinstance(loaders, list | tuple) and index < len(loaders) else loaders


def class_names(loaders: Any) -> tuple[str, ...] | None:
    """``dataset.classes`` of the first dataset that has them."""
    for dataset in _datasets(loaders):
        names = getattr(dataset, "classes", None)
        if isinstance(names, Sequence) and not isinstance(names, str) and len(names):
            return tuple(str(name) for name in names)
    return None


def normalization(loaders: Any) -> Normalization | None:
    """Mean and standard deviation of the last of the datasets' transforms that has both.

    That is torchvision's ``Normalize`` (v1 or v2) and the presets that weights bring along.
    """
    for dataset in _datasets(loaders):
        for attribute in ("transform", "transforms"):
            found = [_mean_std(step) for step in _steps(getattr(dataset, attribute, None))]
            known = [mean_std for mean_std in found if mean_std is not None]
            if known:
                return known[-1]
    return None


def _mean_std(step: Any) -> Normalization | None:
    try:
        mean, std = (
            torch.as_tensor(values, dtype=torch.float64).flatten().tolist()
            for values in (step.mean, step.std)
        )
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return None  # no numbers: another thing of that name
    width = max(len(mean), len(std))
    if not mean or not std or min(std) <= 0 or not {len(mean), len(std)} <= {1, width}:
        return None
    return tuple(mean * (width // len(mean))), tuple(std * (width // len(std)))


def _datasets(loaders: Any) -> Iterator[Any]:
    """Every dataset below a loader, a list or a dict of loaders, wrappers first; no loader and no dataset is
    iterated.
    """
    waiting, seen = _several(loaders), set()
    while waiting:
        thing = waiting.pop(0)
        if thing is not None and id(thing) not in seen:
            seen.add(id(thing))
            yield thing
            waiting[:0] = [getattr(thing, "dataset", None), *_several(getattr(thing, "datasets", None))]


def _several(things: Any) -> list[Any]:
    return (
        list(things.values())
        if isinstance(things, Mapping)
        else list(things)
        if isinstance(things, list | tuple)
        else [things]
    )


def _steps(transform: Any) -> Iterator[Any]:
    """A transform and those it is composed of, in order."""
    if isinstance(transform, list | tuple | torch.nn.Sequential):
        for step in transform:
            yield from _steps(step)
    elif transform is not None:
        yield transform
        for attribute in ("transforms", "transform"):
            yield from _steps(getattr(transform, attribute, None))
