"""The command in this process, and class names that are easily mistaken for each other."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_cam.command.main import main

NAMES = [
    "pagoda",
    "dahlia",
    "tabby",
    "tiger cat",
    "Persian cat",
    "black-and-gold garden spider, Argiope aurantia",
    "crane",
    "Crane",
]

Run = Callable[..., tuple[int, str, str]]


def running(
    verb: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    last: tuple[str, ...] = (),
) -> Run:
    """Runs a verb in the folder: its exit status, what it prints, and what it says where it refuses."""
    monkeypatch.chdir(folder)

    def run(*options: str) -> tuple[int, str, str]:
        status = 0
        try:
            main([verb, *options, *last])
        except SystemExit as error:
            status = int(error.code or 0)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run
