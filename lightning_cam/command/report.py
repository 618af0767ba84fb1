"""The report page of what a CAMMonitor left in a checkpoint.

    lightning-cam report lightning_logs/version_0/checkpoints/last.ckpt
    lightning-cam report last.ckpt -o report.html --name cam

So a run that was killed has a page, too.
"""

import argparse
import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_cam.command.checkpoint import read_checkpoint
from lightning_cam.command.console import say
from lightning_cam.report.page import write_record
from lightning_cam.report.record import STATE_VERSION, RunRecord, record_from

SUMMARY = "the report page of a run, from its checkpoint"
STATE = {"version", "history", "scalars", "probe"}  # what a monitor's holds, whatever its class is called


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="a checkpoint of Lightning")
    parser.add_argument(
        "-o", "--output", metavar="PATH", type=Path, help="of the page; beside the checkpoint unless given"
    )
    parser.add_argument("--name", help="of the monitor, where the checkpoint holds several")
    parser.add_argument(
        "--trust",
        action="store_true",
        help="read objects of any kind, which may run code: for files you know",
    )


def run(given: argparse.Namespace) -> None:
    """Writes the page, and says where.

    Raises:
        ValueError, OSError: A file cannot be read or written; or as ``find_record``.
    """
    record = find_record(read_checkpoint(given.checkpoint, given.trust, "CHECKPOINT"), given.name)
    said = write_record(record, given.output or given.checkpoint.with_suffix(".html"))
    say(said)


def find_record(checkpoint: Any, name: str | None = None) -> RunRecord:
    """What a monitor left in a checkpoint of Lightning.

    Args:
        name: The monitor's; None where there is only one.

    Raises:
        ValueError: No monitor, none of that name, several and no name, or one that has made no look.
    """
    kept = checkpoint.get("callbacks") if isinstance(checkpoint, Mapping) else None
    callbacks = kept if isinstance(kept, Mapping) else {}
    states = {
        _name(key): state
        for key, state in callbacks.items()
        if isinstance(state, Mapping) and state.keys() >= STATE
    }
    if not states:
        others = f"; its callbacks are {', '.join(map(str, callbacks))}" if callbacks else ""
        raise ValueError(
            f"CHECKPOINT: it holds no look of a CAMMonitor{others}; give one that was saved after a look."
        )
    if name is None and len(states) > 1:
        names = ", ".join(map(repr, states))
        raise ValueError(f"--name: the checkpoint holds {len(states)} monitors; choose one of {names}.")
    if name is not None and name not in states:
        names = ", ".join(map(repr, states))
        raise ValueError(f"--name: no monitor {name!r} in the checkpoint; there are {names}.")
    state = dict(states[name] if name is not None else next(iter(states.values())))
    if state["version"] != STATE_VERSION:
        raise ValueError(
            f"CHECKPOINT: the checkpoint's state has version {state['version']}, not {STATE_VERSION}; "
            "make the report with the lightning_cam that wrote it."
        )
    record = record_from(state)
    if not record.history.looks:
        raise ValueError(
            "CHECKPOINT: its monitor has made no look yet; give one that was saved after a look."
        )
    return record


def _name(key: Any) -> str:
    """The monitor's name, out of its key in the checkpoint, which Lightning makes: ``CAMMonitor{'name':
    'cam'}``.
    """
    text = str(key)
    try:
        return str(ast.literal_eval(text[text.index("{") :])["name"])
    except (ValueError, SyntaxError, KeyError, TypeError):
        return text
