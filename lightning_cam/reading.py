"""How to read what users hand over: images, labels and masks in a batch, scores in an output, facts in a dataset."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pkgutil import resolve_name
from typing import Any

import torch
from torch import Tensor

from lightning_cam.typing import Images, Labels, Masks

How = str | int | Callable[[Any], Any] | None

IMAGE_KEYS = ("image", "images", "img", "imgs", "pixel_values", "x", "input", "inputs", "data")
LABEL_KEYS = ("label", "labels", "target", "targets", "y", "class", "classes")
SCORE_KEYS = ("logits", "scores", "out")
MASK_KEYS = ("mask", "masks", "segmentation", "segmentations")

Parts = list[tuple[str | int, Any]]

Normalization = tuple[tuple[float, ...], tuple[float, ...]]
IMAGENET: Normalization = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Reading:
    """What was found in a batch."""

    images: Images
    labels: Labels | None
    masks: Masks | None


def read_batch(batch: Any, images: How = None, labels: How = None, masks: How = None) -> Reading:
    """Images, labels and masks of a batch: tensor, tuple, dict, namedtuple or dataclass.

    Where nothing says how, a dict's or a dataclass' usual names decide, then the shapes. Images are the first floating
    (n, c, H, W), else volumes (n, c, D, H, W), else whole numbers (n, c, H, W), else floating signals (n, c, T) with c < T (or of
    any length, where they have a usual name). Labels are the first whole numbers (n,) or (n, 1), else floating ones that are all 0
    or 1. Masks are the first of two values, (n, H, W) or (n, 1, H, W), and likewise of the volumes' or signals' size. Among several
    that have other names nothing is guessed.

    Args:
        images: A key, an index or a function of the batch; None finds them. Likewise ``labels`` and ``masks``.

    Raises:
        ValueError: No images; the message says what the batch holds.
    """
    parts = _parts(batch)
    found = _find_images(parts) if images is None else pick(batch, images, "images")
    if not (isinstance(found, Tensor) and found.ndim in (3, 4, 5)):
        raise ValueError(
            f"images: no images (n, c, H, W) found in the batch, which holds {describe(batch)}; "
            "say where they are with images=, a key, an index or a function of the batch."
        )
    others = [(name, part) for name, part in parts if part is not found]
    count, size = len(found), found.shape[2:]
    if labels is None:
        found_labels = _only(others, LABEL_KEYS, lambda part: _are_labels(part, count))
        if found_labels is None:
            found_labels = _only(others, LABEL_KEYS, lambda part: _are_zeros_and_ones(part, count))
    else:
        found_labels = pick(batch, labels, "labels")
        if not (_are_labels(found_labels, count) or _are_zeros_and_ones(found_labels, count)):
            raise ValueError(f"labels: got {describe(found_labels)} for {count} images; give whole numbers of shape ({count},).")
    if masks is None:
        found_masks = _only(
            others, MASK_KEYS, lambda part: _are_masks(part, count, size) and not part.is_floating_point(), _of_two_values
        )
    else:
        found_masks = pick(batch, masks, "masks")
        if not _are_masks(found_masks, count, size):
            raise ValueError(
                f"masks: got {describe(found_masks)} for images {tuple(found.shape)}; give truth values of shape {(count, *size)}."
            )
    return Reading(
        found.detach(),
        None if found_labels is None else found_labels.detach().reshape(count).long(),
        None if found_masks is None else found_masks.detach().reshape(count, *size) != 0,
    )


def check_how(argument: str, how: Any) -> None:
    """Accepts a key, an index, a function or None.

    Raises:
        TypeError: ``how`` is something else.
    """
    if isinstance(how, bool) or not (how is None or isinstance(how, str | int) or callable(how)):
        raise TypeError(f"{argument}: got {how!r}; give a key, an index, a function, or None to have it found.")


def read_scores(output: Any, scores: How = None, any_shape: bool = False) -> Tensor:
    """Scores (n, C) of a model's output: the output itself, or its first floating (n, C), ``logits`` first.

    One score per image, (n,) or (n, 1), is a binary head's logit: (n, 2) comes back, its negative for class 0 and itself for 1.

    Args:
        scores: A key, an index or a function of the output; None finds them.
        any_shape: Whether (n, C, ...) will do, as segmentation yields it.

    Raises:
        ValueError: No scores; the message says what the output holds.
    """
    if scores is None:
        parts = _parts(output) or [(name, getattr(output, name)) for name in SCORE_KEYS if hasattr(output, name)]
        kinds = [_are_scores, _is_one_score, *([_are_dense] if any_shape else [])]
        found: Any = next((one for kind in kinds if (one := _first(parts, SCORE_KEYS, kind)) is not None), None)
    else:
        found = pick(output, scores, "scores")
    if _is_one_score(found):
        return torch.stack([-found.flatten(), found.flatten()], dim=1)
    if not (_are_scores(found) or (any_shape and _are_dense(found))):
        raise ValueError(
            f"scores: no class scores (n, C) found in the model's output, which is {describe(output)}; "
            "say where they are with scores=, a key, an index or a function of the output."
        )
    return found


def pick(container: Any, how: str | int | Callable[[Any], Any], argument: str) -> Any:
    """What a key, an index or a function finds in ``container``; a text that is no key there may be a function's import path.

    Raises:
        ValueError: Nothing is there; the message says what the container holds.
    """
    if callable(how):
        return how(container)
    try:
        if isinstance(how, str) and not isinstance(container, Mapping):
            return getattr(container, how)
        return container[how]
    except (KeyError, IndexError, AttributeError, TypeError):
        function = imported(how)  # only now: a key of the batch never imports a module of that name
    if callable(function):
        return function(container)
    raise ValueError(f"{argument}: no {how!r} in {describe(container)}; give a key or index that is there, or a function.")


def imported(name: Any) -> Any:
    """The function that an import path, such as "mine.mean_map", leads to, of a class its one instance; all else as it is."""
    if not isinstance(name, str) or "." not in name:
        return name
    try:
        found = resolve_name(name)
    except (ImportError, AttributeError, ValueError):
        return name
    function = _instance(found) if isinstance(found, type) else found
    return function if callable(function) else name


@cache
def _instance(kind: type) -> Any:
    """Made once, and not for every batch."""
    return kind()


def describe(thing: Any) -> str:
    """A few words on what ``thing`` holds, for messages."""
    if isinstance(thing, Tensor):
        return f"{_a(str(thing.dtype).removeprefix('torch.'))} tensor {tuple(thing.shape)}"
    parts = _parts(thing)
    if parts and parts[0][1] is not thing:
        words = [f"{name!r}: {describe(part)}" if isinstance(name, str) else describe(part) for name, part in parts[:8]]
        return f"{_a(type(thing).__name__)} of {', '.join(words)}"
    return _a(type(thing).__name__)


def _a(word: str) -> str:
    return f"an {word}" if word[0] in "aeioAEIO" else f"a {word}"


def nth_loader(loaders: Any, index: int) -> Any:
    """One of several loaders, in the order in which Lightning counts them; a loader alone is itself."""
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    return loaders[index] if isinstance(loaders, list | tuple) and index < len(loaders) else loaders


def class_name(names: Sequence[str] | None, label: int) -> str:
    """The class' name, or its number where it has none."""
    return names[label] if names is not None and 0 <= label < len(names) else str(label)


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
        mean, std = (torch.as_tensor(values, dtype=torch.float64).flatten().tolist() for values in (step.mean, step.std))
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return None  # no numbers: another thing of that name
    width = max(len(mean), len(std))
    if not mean or not std or min(std) <= 0 or not {len(mean), len(std)} <= {1, width}:
        return None
    return tuple(mean * (width // len(mean))), tuple(std * (width // len(std)))


def _datasets(loaders: Any) -> Iterator[Any]:
    """Every dataset below a loader, a list or a dict of loaders, wrappers first; no loader and no dataset is iterated."""
    waiting, seen = _several(loaders), set()
    while waiting:
        thing = waiting.pop(0)
        if thing is not None and id(thing) not in seen:
            seen.add(id(thing))
            yield thing
            waiting[:0] = [getattr(thing, "dataset", None), *_several(getattr(thing, "datasets", None))]


def _several(things: Any) -> list[Any]:
    return list(things.values()) if isinstance(things, Mapping) else list(things) if isinstance(things, list | tuple) else [things]


def _steps(transform: Any) -> Iterator[Any]:
    """A transform and those it is composed of, in order."""
    if isinstance(transform, list | tuple | torch.nn.Sequential):
        for step in transform:
            yield from _steps(step)
    elif transform is not None:
        yield transform
        for attribute in ("transforms", "transform"):
            yield from _steps(getattr(transform, attribute, None))


def _parts(thing: Any) -> Parts:
    """What a batch or an output holds, with its names."""
    if isinstance(thing, Mapping):
        return list(thing.items())
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        return [(field.name, getattr(thing, field.name)) for field in dataclasses.fields(thing)]
    if isinstance(thing, tuple) and hasattr(thing, "_fields"):
        return list(zip(thing._fields, thing, strict=True))
    if isinstance(thing, list | tuple):
        return list(enumerate(thing))
    if isinstance(thing, Tensor):
        return [(0, thing)]
    return []


def _first(parts: Parts, names: tuple[str, ...], fits: Callable[[Any], bool], others: tuple[str, ...] = ()) -> Any:
    """The first part that fits, those with a usual name before the rest, those with another thing's name last."""

    def rank(part: tuple[str | int, Any]) -> int:
        return names.index(part[0]) if part[0] in names else len(names) + (part[0] in others)

    return next((part for _, part in sorted(parts, key=rank) if fits(part)), None)


def _only(
    parts: Parts, names: tuple[str, ...], fits: Callable[[Any], bool], convinces: Callable[[Any], bool] = lambda part: True
) -> Any:
    """What has a usual name, if it fits; where nothing has one, the first that convinces, or among other names the only one."""
    named = [part for part in parts if part[0] in names]
    if named:
        return _first(named, names, fits)
    fitting = [part for _, part in parts if fits(part) and convinces(part)]
    by_name = any(isinstance(name, str) for name, _ in parts)
    return fitting[0] if fitting and not (by_name and len(fitting) > 1) else None


def _find_images(parts: Parts) -> Any:
    """What is called so, whatever its rank; else by shape, those that are called labels or masks last."""
    named: Parts = [(name, part) for name, part in parts if name in IMAGE_KEYS]
    unnamed = [(name, part) for name, part in parts if name not in IMAGE_KEYS]
    ways: list[tuple[Parts, Callable[[Any], bool]]] = [
        (named, lambda part: _has_rank(part, 4, 5)),
        (named, lambda part: _has_rank(part, 3) and part.is_floating_point()),
        (unnamed, lambda part: _has_rank(part, 4) and part.is_floating_point()),
        (unnamed, lambda part: _has_rank(part, 5) and part.is_floating_point()),
        (unnamed, lambda part: _has_rank(part, 5) and part.dtype != torch.bool),
        (unnamed, lambda part: _has_rank(part, 4) and part.dtype != torch.bool),
        (unnamed, lambda part: _has_rank(part, 3) and part.is_floating_point() and part.shape[1] < part.shape[2]),
    ]
    found = (_first(some, IMAGE_KEYS, fits, LABEL_KEYS + MASK_KEYS) for some, fits in ways)
    return next((one for one in found if one is not None), None)


def _has_rank(part: Any, *ranks: int) -> bool:
    return isinstance(part, Tensor) and part.ndim in ranks


def _are_labels(part: Any, count: int) -> bool:
    whole = isinstance(part, Tensor) and not part.is_floating_point() and not part.is_complex() and part.dtype != torch.bool
    return whole and part.shape in ((count,), (count, 1))


def _are_zeros_and_ones(part: Any, count: int) -> bool:
    """Labels of a binary head, as a loss on logits wants them."""
    floating = isinstance(part, Tensor) and part.is_floating_point() and part.shape in ((count,), (count, 1))
    return floating and bool(((part == 0) | (part == 1)).all())


def _are_masks(part: Any, count: int, size: Sequence[int]) -> bool:
    return isinstance(part, Tensor) and tuple(part.shape) in ((count, *size), (count, 1, *size))


def _of_two_values(part: Tensor) -> bool:
    return part.dtype == torch.bool or len(part.unique()) <= 2


def _are_scores(part: Any) -> bool:
    return isinstance(part, Tensor) and part.is_floating_point() and part.ndim == 2 and part.shape[1] > 1


def _is_one_score(part: Any) -> bool:
    return isinstance(part, Tensor) and part.is_floating_point() and part.ndim in (1, 2) and part.shape[1:] in ((), (1,))


def _are_dense(part: Any) -> bool:
    return isinstance(part, Tensor) and part.is_floating_point() and part.ndim > 2
