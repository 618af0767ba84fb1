"""What the verbs share of a command line: a line printed, a number read."""

import argparse
import sys


def say(line: str) -> None:
    """Prints a line."""
    sys.stdout.write(f"{line}\n")


def count(text: str) -> int:
    """A whole number of at least 1, as argparse reads it.

    Raises:
        ValueError, argparse.ArgumentTypeError: It is no whole number, or smaller.
    """
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {text}; give at least 1")
    return value
