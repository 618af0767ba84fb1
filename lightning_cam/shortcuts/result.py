"""One cue's test at one look: how well it tells the label, what the model uses of it, and what follows."""

from dataclasses import dataclass

from torch import Tensor

from lightning_cam.shortcuts.cues import Cue
from lightning_cam.shortcuts.findings import FindingKey
from lightning_cam.shortcuts.pairing import TestedProbe
from lightning_cam.shortcuts.predictivity import Predictivity
from lightning_cam.shortcuts.reliance import Reliance, Swaps


@dataclass(frozen=True, eq=False)
class Result:
    """One cue's test.

    Args:
        cue: A key of ``CUES``.
        row: Its row.
        told: How well it tells the label, no model asked.
        reliance: What the model uses of it: of all classes together, or of the one that was tested.
        swaps: The answers behind it.
        by_class: Of each class what its images lose by the cue of others, and how far its cue draws images of
            others to it, both in [-1, 1]; of a label 1 stands for images with it and 0 for those without.
        subjects: The probe, or one label of it.
        label: The only class that was tested, or the label's column; None where all classes were together.
        holds: Whether the rule holds.
        may_warn: Whether a warning may come of it.
    """

    cue: str
    row: Cue
    told: Predictivity
    reliance: Reliance
    swaps: Swaps
    by_class: dict[int, tuple[float, float]]
    subjects: TestedProbe
    label: int | None = None
    holds: bool = False
    may_warn: bool = False

    @property
    def key(self) -> FindingKey:
        """What tells the tests of one look apart."""
        return self.cue, self.label

    @property
    def is_one_class(self) -> bool:
        """Whether a single class of several was tested."""
        return self.label is not None and self.subjects.column is None

    @property
    def predictivity(self) -> float:
        """Kappa over all classes, or the F1 of the one that was tested; in [-1, 1]."""
        return (
            float(self.told.f1[self.label])
            if self.is_one_class and self.label is not None
            else self.told.kappa
        )

    @property
    def share(self) -> float:
        """Share of the images whose label the cue tells, in [0, 1]; of one class its F1."""
        return self.predictivity if self.is_one_class else self.told.accuracy

    @property
    def follows(self) -> Tensor:
        """(m,) which images were answered with the class that gave the cue."""
        return self.swaps.other == self.subjects.labels[self.swaps.pairs.other]
