"""What the user is told: each thing once, and never at the cost of the training."""

import logging
import re
from collections.abc import Sequence
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn

from lightning_cam.data.reading import Reading
from lightning_cam.visualization.letters import drawable

LOG = logging.getLogger(__name__)
WORTH_A_WORD = 10_000_000  # bytes
REHEARSAL = (
    "CAMMonitor rehearsed on the sanity check's images; it reads them with inputs=Inputs(images=, labels=, "
    "masks=) and runs the model with network= and Inputs(scores=)."
)
UNWATCHED = (
    "looks at validations only, so this run is not watched; trainer.validate(model, dataloaders) shows maps"
)
ZERO_3 = (
    "DeepSpeed's ZeRO stage 3 has no whole parameter on any rank, so no maps are made; use stage 2, or FSDP2 "
    "(ModelParallelStrategy)"
)


class Messages:
    """Warnings and hints of one fit.

    Args:
        name: The monitor's.
        trainer: Whose sanity check is the rehearsal: there, what cannot be told raises. None outside a fit.
        verbose: Whether hints are told as well.
    """

    def __init__(self, name: str, trainer: Any = None, *, verbose: bool = True) -> None:
        self.title = title_of(name)
        self._trainer, self._verbose = trainer, verbose
        self._said: set[str] = set()

    def warn(self, note: str, about: str = "") -> None:
        """Each note once, whatever its numbers; or what it is about, to the letter. An empty one says
        nothing.
        """
        words = about or without_numbers(note)
        if not note or words in self._said:
            return
        self._said.add(words)
        try:
            rank_zero_warn(f"{self.title}: {note}")
        except Exception:
            # Filters that make warnings errors: on rank zero alone, so it must not become a failure of one
            # rank.
            if self._trainer is None or self._trainer.sanity_checking:
                raise
            LOG.warning("%s: %s", self.title, note)

    def tell_reading(self, reading: Reading) -> None:
        """What is explained, in a line, which is a warning where it was not seen; what to do, in warnings."""
        (self.warn if reading.network is None else self.tell)(reading.line)
        for caution in reading.cautions:
            self.warn(caution)

    def tell(self, hint: str) -> None:
        """Each hint once, in the log where Lightning tells its own."""
        if self._verbose and hint and hint not in self._said:
            self._said.add(hint)
            rank_zero_info(f"{self.title}: {hint}")


def without_numbers(words: str) -> str:
    """What is the same of two notes that differ in numbers only."""
    return re.sub(r"\d+", "", words)


def title_of(name: str) -> str:
    """How a monitor of that name calls itself."""
    return "CAMMonitor" if name == "cam" else f"CAMMonitor {name!r}"


def size_hint(count: int, size: int) -> str:
    """What the probe adds to each checkpoint, in bytes ``size``; "" where that is little."""
    if size < WORTH_A_WORD:
        return ""
    return (
        f"the probe's {count} images add {size / 1e6:.2f} MB to each checkpoint "
        "(persist_probe=False leaves them out)"
    )


def misnamed_note(names: Sequence[str], columns: int) -> str:
    """Why classes are called by their numbers."""
    return (
        f"there are {len(names)} class names ({names[0]} ...) and the model has {columns} classes, so these "
        "are shown by their numbers; name them with class_names="
    )


def undrawn_note(names: Sequence[str]) -> str:
    """Why pictures call classes by their numbers; empty where they call all by their names."""
    lacking = [name for name in names if not name.isascii() and not drawable(name)]
    if not lacking:
        return ""
    return (
        f"no installed font has the letters of {lacking[0]!r}, so pictures call {len(lacking)} of "
        f"{len(names)} classes by their numbers; install one, such as Debian's fonts-noto-cjk for Chinese, "
        "Japanese and Korean. The report has the names"
    )
