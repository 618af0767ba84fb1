"""How to choose from a table of variants: by name, or bring a function of your own."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

Row = TypeVar("Row")


def choose(table: Mapping[str, Row], key: object, argument: str) -> Row | Callable[..., Any]:
    """The row of ``table`` named ``key``; a function is its own row.

    Raises:
        ValueError: No such row; the message names the closest one.
        TypeError: ``key`` is neither a name nor a function.
    """
    if callable(key):
        return key
    if not isinstance(key, str):
        raise TypeError(f"{argument}: got {key!r}; give a name or a function.")
    if key not in table:
        hint = did_you_mean(key, table) or f"; there are {', '.join(table) or 'none'}."
        raise ValueError(f"{argument}: no {argument} {key!r}{hint}")
    return table[key]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the closest of ``names``, or nothing where none is close."""
    names = list(names)
    same_ending = [known for known in names if known.endswith(f".{name}")]
    close = same_ending or difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
