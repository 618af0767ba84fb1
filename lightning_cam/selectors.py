"""How to pick a part of what users hand over: by key, index, function or a function's import path."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import cache
from pkgutil import resolve_name
from typing import Any

from torch import Tensor

Selector = str | int | Callable[[Any], Any] | None
Parts = list[tuple[str | int, Any]]


def check_selector(argument: str, how: Any) -> None:
    """Accepts a key, an index, a function or None.

    Raises:
        TypeError: ``how`` is something else.
    """
    if isinstance(how, bool) or not (how is None or isinstance(how, str | int) or callable(how)):
        raise TypeError(
            f"{argument}: got {how!r}; give a key, an index, a function, or None to have it found."
        )


def pick(container: Any, how: str | int | Callable[[Any], Any], argument: str) -> Any:
    """What a key, an index or a function finds in ``container``; a text that is no key there may be a
    function's import path.

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
    raise ValueError(
        f"{argument}: no {how!r} in {describe(container)}; give a key or index that is there, or a function."
    )


def imported(name: Any) -> Any:
    """The function that an import path, such as "mine.mean_map", leads to, of a class its one instance; all
    else as it is.
    """
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
    parts = parts_of(thing)
    if parts and parts[0][1] is not thing:
        words = [
            f"{name!r}: {describe(part)}" if isinstance(name, str) else describe(part)
            for name, part in parts[:8]
        ]
        return f"{_a(type(thing).__name__)} of {', '.join(words)}"
    return _a(type(thing).__name__)


def _a(word: str) -> str:
    return f"an {word}" if word[0] in "aeioAEIO" else f"a {word}"


def parts_of(thing: Any) -> Parts:
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


def first_fitting(
    parts: Parts, names: tuple[str, ...], fits: Callable[[Any], bool], others: tuple[str, ...] = ()
) -> Any:
    """The first part that fits, those with a usual name before the rest, those with another thing's name
    last.
    """

    def rank(part: tuple[str | int, Any]) -> int:
        return names.index(part[0]) if part[0] in names else len(names) + (part[0] in others)

    return next((part for _, part in sorted(parts, key=rank) if fits(part)), None)
