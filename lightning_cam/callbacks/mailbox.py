"""How a run comes home from processes that Lightning started: of these it hands back weights and metrics, and
no callbacks.
"""

import multiprocessing
import os
import tempfile
import weakref
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch


class Mailbox:
    """A file in the temporary folder, from a process that trained to the one that started it; gone once read.

    It belongs to the process in which it was made, is copied into those that ``multiprocessing`` starts from
    there ("ddp_spawn", "ddp_fork", "ddp_notebook"), and is another one in any other copy.
    """

    def __init__(self) -> None:
        self._home = os.getpid()
        self._path = Path(tempfile.gettempdir()) / f"lightning_cam-{uuid4().hex}.pt"
        weakref.finalize(self, _discard, self._path, self._home)

    @property
    def is_away(self) -> bool:
        """Whether this process was started by the one in which the mailbox was made."""
        parent = multiprocessing.parent_process()
        return parent is not None and parent.pid == self._home != os.getpid()

    def send(self, state: dict[str, Any]) -> None:
        """Leaves plain tensors and primitives for the process at home, in place of what lay there.

        Raises:
            OSError: The file cannot be written.
        """
        torch.save(state, self._path)

    def take(self) -> dict[str, Any]:
        """What was left; empty where there is nothing, and away from home."""
        if os.getpid() != self._home or not self._path.exists():
            return {}
        state = torch.load(self._path, weights_only=True)
        self._path.unlink()
        return state

    def __getstate__(self) -> dict[str, Any]:
        if os.getpid() != self._home and not self.is_away:  # it came in a file, and this process is its home
            self.__init__()  # type: ignore[misc]
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if os.getpid() == self._home:  # a copy in one process is of another run
            self.__init__()  # type: ignore[misc]


def _discard(path: Path, home: int) -> None:
    """What nobody has read goes with the process."""
    if os.getpid() == home:
        path.unlink(missing_ok=True)
