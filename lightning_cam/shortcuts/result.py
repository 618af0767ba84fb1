"""One cue's test, counted."""

from dataclasses import dataclass

from torch import Tensor

from lightning_cam.shortcuts.counts import Counts
from lightning_cam.shortcuts.cues import Cue
from lightning_cam.shortcuts.findings import FindingKey
from lightning_cam.shortcuts.pairing import Pairing


@dataclass(frozen=True, eq=False)
class Result:
    """One cue's test.

    Args:
        cue: A key of ``CUES``.
        row: Its row.
        label: The only class that gave the cue, or the label that was tested against the rest; None where all
            classes gave it.
        tally: The counts.
        pairs: Who received from whom.
        predicted: (m,) what the model answered.
        confidence: (m,) the probabilities of these answers, in [0, 1].
        by_class: The counts of each class that gave the cue; of a label those of images that have it, 1, and
            of those that lack it, 0.
        p_value: Adjusted for all tests of the look.
    """

    cue: str
    row: Cue
    label: int | None
    tally: Counts
    pairs: Pairing
    predicted: Tensor
    confidence: Tensor
    by_class: dict[int, Counts]
    p_value: float = 1.0

    @property
    def key(self) -> FindingKey:
        """What tells the tests of one look apart."""
        return self.cue, self.label

    @property
    def winning(self) -> list[int]:
        """The classes whose cue wins more of its conflicts than the row allows."""
        return [label for label, own in self.by_class.items() if own.dominance > own.null]

    @property
    def holds(self) -> bool:
        """Whether the rule holds."""
        return self.tally.holds(self.p_value)
