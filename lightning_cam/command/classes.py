"""What the classes are called, and which one is meant."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path


def read_names(file: Path) -> list[str]:
    """The names in a file, one a line.

    Raises:
        ValueError: There is no such file, or it is no text.
    """
    try:
        return file.read_text(encoding="utf-8").strip("\n").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--class-names: {file} cannot be read ({error}).") from None


def class_of(wanted: str, names: Sequence[str], argument: str = "--class") -> int:
    """The class that is meant: its number, its name in any case, or the only name that holds these words or
    consists of some.

    Args:
        argument: How the user gave it, for messages.

    Raises:
        ValueError: No class, or several; the message names the closest.
    """
    if re.fullmatch(r"-?\d+", wanted):
        if 0 <= int(wanted) < len(names):
            return int(wanted)
        raise ValueError(
            f"{argument}: {wanted} is outside the model's {len(names)} classes; use 0 to {len(names) - 1}."
        )
    words, each = _plain(wanted), [_plain(name) for name in names]
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
            more = ", ..." if len(found) > 8 else ""
            raise ValueError(f"{argument}: {wanted!r} may be {several}{more}; say which, by number.")
    close = difflib.get_close_matches(words, each, n=5, cutoff=0.5)
    numbers = list(dict.fromkeys(each.index(name) for name in close))
    hint = ", ".join(f"{number} {names[number]!r}" for number in numbers)
    remedy = f"did you mean {hint}?" if hint else "none is close: give a number."
    raise ValueError(f"{argument}: no class {wanted!r}; {remedy}")


def _plain(name: str) -> str:
    """A name to compare: lower case, words apart by one space."""
    return " ".join(re.split(r"[\W_]+", name.lower())).strip()
