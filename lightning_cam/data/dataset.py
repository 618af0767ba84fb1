"""What a loader and its dataset tell: class names, normalization, and which image comes when."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from typing import Any

import torch
from torch.utils.data import BatchSampler, DistributedSampler, IterableDataset, SequentialSampler

from lightning_cam.checks import Normalization


def nth_loader(loaders: Any, index: int) -> Any:
    """One of several loaders, in the order in which Lightning counts them; a loader alone is itself."""
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    return loaders[index] if isinstance(loaders, list | tuple) and index < len(loaders) else loaders


def class_names(loaders: Any) -> tuple[str, ...] | None:
    """``dataset.classes`` of the first dataset that has them; None where a ``target_transform`` makes other
    classes of its labels. Of a name with synonyms, as torchvision's ImageNet has them, the first.

    Whether there are as many names as the model has classes must be asked of the scores: ``fitting_names``.
    """
    # A wrapper's target_transform counts too, as what lies below it keeps its own classes.
    for dataset in _datasets(loaders):
        if getattr(dataset, "target_transform", None) is not None:
            return None
        names = getattr(dataset, "classes", None)
        if isinstance(names, Sequence) and not isinstance(names, str) and len(names):
            return tuple(_first_synonym(name) for name in names)
    return None


def names_note(loaders: Any) -> str:
    """Why the dataset's class names are not used, where it has some; else ""."""
    if class_names(loaders) is not None:
        return ""
    if not any(getattr(dataset, "classes", None) for dataset in _datasets(loaders)):
        return ""
    return (
        "the dataset's class names are not used, as its target_transform may make other classes of them; "
        "name the classes with class_names="
    )


def fitting_names(names: tuple[str, ...] | None, columns: int) -> tuple[str, ...] | None:
    """The names if there is one for each of the scores' columns (two for a binary head), else None: a data
    set's names may be of other classes than those that the model tells apart.
    """
    return names if names is not None and len(names) == columns else None


def normalization(loaders: Any) -> Normalization | None:
    """Mean and standard deviation of the last of the datasets' transforms that has both.

    That is torchvision's ``Normalize`` (v1 or v2), whatever else is called so, and the presets that weights
    bring along. Noise has a mean and a standard deviation too, and is none.
    """
    for dataset in _datasets(loaders):
        for attribute in ("transform", "transforms"):
            found = [_mean_std(step) for step in _steps(getattr(dataset, attribute, None))]
            known = [mean_std for mean_std in found if mean_std is not None]
            if known:
                return known[-1]
    return None


def dataset_size(loader: Any) -> int | None:
    """How many images the loader's dataset holds; None where it does not tell."""
    dataset = getattr(loader, "dataset", None)
    return len(dataset) if isinstance(dataset, Sized) and not isinstance(dataset, IterableDataset) else None


def places(loader: Any) -> Callable[[int], int] | None:
    """The dataset index of the p-th image that the loader delivers on this rank; None where nothing tells it.

    Known are loaders that keep the order (``shuffle=False``), alone or shared out by a
    ``DistributedSampler``, with one dataset item per image. Not known are loaders with a random sampler, a
    batch sampler or a sampler of the user's own, and iterable datasets.

    Indices count in the loader's own dataset: where that is a ``Subset``, they are positions in the subset,
    not in the dataset behind it.
    """
    if dataset_size(loader) is None:
        return None
    batches = _batch_sampler(loader)
    # A loader without batches of its own (batch_size=None) gets whole batches from its dataset.
    if batches is None or _who_iterates(batches) is not BatchSampler:
        return None
    return _order(batches.sampler)


def known_places(loader: Any) -> Callable[[int], int]:
    """As ``places``, for who needs them.

    Raises:
        ValueError: The order is not known; the message says what hides it.
    """
    found = places(loader)
    if found is not None:
        return found
    batches = _batch_sampler(loader)
    if dataset_size(loader) is None:
        keeper = f"dataset is {type(getattr(loader, 'dataset', loader)).__name__}"
    elif batches is None:
        keeper = "dataset yields whole batches"
    elif _who_iterates(batches) is not BatchSampler:
        keeper = f"batch sampler is {type(batches).__name__}"
    else:
        keeper = f"sampler is {type(batches.sampler).__name__}"
    raise ValueError(
        f"probe: got dataset indices, but the validation loader's {keeper}, which does not tell the order; "
        "use shuffle=False or give a Probe."
    )


def _batch_sampler(loader: Any) -> Any:
    """What makes the loader's batches; Lightning wraps it where it predicts."""
    batches = getattr(loader, "batch_sampler", None)
    return getattr(batches, "_batch_sampler", batches)


def _order(sampler: Any) -> Callable[[int], int] | None:
    """The index that a sampler yields at a position, for samplers whose order is fixed."""
    owner = _who_iterates(sampler)
    if owner is SequentialSampler:
        return lambda position: position
    if not isinstance(sampler, DistributedSampler) or sampler.shuffle:
        return None
    # Lightning's own have other ways to end, and the same order. They are known by name, as Lightning need
    # not be installed: Unrepeated... leaves out the padding, ...Wrapper shares out what another sampler
    # yields.
    is_lightnings = owner.__module__.split(".")[0] in ("lightning", "pytorch_lightning", "lightning_fabric")
    if owner is not DistributedSampler and not is_lightnings:
        return None
    # The ranks take turns; what is missing to a full last turn is taken from the start again.
    count = len(sampler.dataset)  # type: ignore[arg-type]
    world, rank = sampler.num_replicas, sampler.rank
    inner = getattr(sampler.dataset, "_sampler", None) if is_lightnings else None
    order = (lambda position: position) if inner is None else _order(inner)
    return None if order is None else lambda position: order((position * world + rank) % count)


def _who_iterates(sampler: Any) -> type:
    """The class whose ``__iter__`` runs: a subclass with one of its own may have any order."""
    return next((kind for kind in type(sampler).__mro__ if "__iter__" in vars(kind)), object)


def _first_synonym(name: Any) -> str:
    return str(name[0] if isinstance(name, list | tuple) and name else name)


def _normalizes(step: Any) -> bool:
    """Whether a class is called a normalization, or is one of torchvision's presets."""
    return any(
        "normalize" in kind.__name__.lower() or kind.__module__ == "torchvision.transforms._presets"
        for kind in type(step).__mro__
    )


def _mean_std(step: Any) -> Normalization | None:
    if not _normalizes(step):
        return None
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
    if isinstance(things, Mapping):
        return list(things.values())
    return list(things) if isinstance(things, list | tuple) else [things]


def _steps(transform: Any) -> Iterator[Any]:
    """A transform and those it is composed of, in order."""
    if isinstance(transform, list | tuple | torch.nn.Sequential):
        for step in transform:
            yield from _steps(step)
    elif transform is not None:
        yield transform
        for attribute in ("transforms", "transform"):
            yield from _steps(getattr(transform, attribute, None))
