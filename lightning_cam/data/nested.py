"""Tensors in tuples, lists, mappings and dataclasses: where they stand, and the same with others."""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

from lightning_cam.selectors import parts_of

Path = tuple[Any, ...]  # keys, indices and names of fields, from the outside in
DEEPEST = 8  # containers that hold themselves would never end


def leaves(thing: Any, at: Path = ()) -> Iterator[tuple[Path, Tensor]]:
    """Every tensor in ``thing``, with its place."""
    if isinstance(thing, Tensor):
        yield at, thing
    elif len(at) < DEEPEST:
        for name, part in parts_of(thing):
            yield from leaves(part, (*at, name))


def mapped(thing: Any, function: Callable[[Path, Tensor], Any], at: Path = ()) -> Any:
    """The same structure, with each tensor replaced by ``function(place, tensor)``; what holds no tensor is
    handed on as it is.
    """
    if isinstance(thing, Tensor):
        return function(at, thing)
    if next(leaves(thing, at), None) is None:
        return thing
    new = {name: mapped(part, function, (*at, name)) for name, part in parts_of(thing)}
    return rebuilt(thing, new)


def rebuilt(thing: Any, new: dict[Any, Any]) -> Any:
    """A container of the same kind that holds ``new``, by name."""
    if isinstance(thing, tuple) and hasattr(thing, "_fields"):
        return type(thing)(**new)
    if isinstance(thing, list | tuple):
        kind = (
            type(thing)
            if type(thing) in (list, tuple)
            else next(k for k in (list, tuple) if isinstance(thing, k))
        )
        return kind(new.values())
    if isinstance(thing, Mapping):
        try:
            same_kind: Any = copy.copy(thing)
            for name, part in new.items():
                same_kind[name] = part
        except TypeError:  # a mapping that cannot be written to
            return new
        return same_kind
    same_kind = copy.copy(thing)
    for name, part in new.items():
        object.__setattr__(same_kind, name, part)  # also in a frozen dataclass
    return same_kind


def placed(thing: Any, path: Path, part: Any) -> Any:
    """The same structure, with ``part`` at ``path``."""
    if not path:
        return part
    new = dict(parts_of(thing))
    new[path[0]] = placed(new[path[0]], path[1:], part)
    return rebuilt(thing, new)


def part_at(thing: Any, path: Path) -> Any:
    """What stands at ``path``.

    Raises:
        KeyError: Nothing does.
    """
    for name in path:
        thing = dict(parts_of(thing))[name]
    return thing


def spelled(thing: Any, path: Path, name: str) -> str:
    """``path`` as one writes it in Python: batch["image"], batch[0][1], batch.image."""
    words = name
    for step in path:
        by_attribute = dataclasses.is_dataclass(thing) or hasattr(thing, "_fields")
        by_key = isinstance(thing, Mapping) or not by_attribute
        shown = f'"{step}"' if isinstance(step, str) else repr(step)
        words += f"[{shown}]" if by_key else f".{step}"
        thing = dict(parts_of(thing)).get(step)
    return words
