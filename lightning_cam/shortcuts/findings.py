"""What a look found: a cue that tells the label and that the model relies on; at one look a notice, at two in
a row a warning.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lightning_cam.selectors import Selector
from lightning_cam.shortcuts.cue_images import Conflicts, CueImages, cue_images
from lightning_cam.shortcuts.cues import CUES

# A cue, and the only class or label that was tested; None where all classes were together.
FindingKey = tuple[str, int | None]
LOOKS_TO_WARN = 2


@dataclass(frozen=True)
class Finding:
    """A cue whose rule holds, with its evidence.

    Args:
        cue: A key of ``CUES``.
        meaning: The cue in words: "the top-left corner".
        level: "notice" at one look, "warning" when it holds at two in a row and may warn, "expected" where
            the user said so.
        may_warn: Whether a warning may come of it; appearance cues are noticed only.
        predictivity: Cohen's kappa with which the label is told from the cue alone, without the model; of one
            class its F1. In [-1, 1].
        told: Share of the validation images whose label the cue tells, in [0, 1]; of one class its F1.
        reliance: Accuracy on probe images lost when the cue comes from an image of another class rather than
            of its own, in [-1, 1]; of one class what its own images lose.
        drawn: Of one class, how much more often its cue draws images of other classes to it than the cue of
            their own does; else the share of images answered with the class that gave the cue, beyond chance.
            In [-1, 1].
        probe_images: How many probe images received the cue.
        classes: Names of the classes that lose most by it or draw most.
        label: The only class that was tested, or the label's number; None where all classes were together.
        looks: At how many looks in a row the rule held.
        since: The epoch of the first of them; None outside a fit.
        of: Of several labels per image, the name of the one that was tested; else empty.
        conflicts: Accuracy on validation images whose cue says another label than they have, beside the rest;
            None where it was not measured.
        is_binary: Whether the model tells two classes apart: there damage and preference cannot be told
            apart.
    """

    cue: str
    meaning: str
    level: str
    may_warn: bool
    predictivity: float
    told: float
    reliance: float
    drawn: float
    probe_images: int
    classes: tuple[str, ...]
    label: int | None = None
    looks: int = 1
    since: int | None = None
    of: str = ""
    is_binary: bool = False
    conflicts: Conflicts | None = None

    def images(
        self,
        loader: Iterable[Any],
        class_names: tuple[str, ...] | None = None,
        *,
        images: Selector = None,
        labels: Selector = None,
        masks: Selector = None,
    ) -> CueImages:
        """Which images of a loader carry the cue, and which contradict it; ``.save("groups.csv")`` writes
        them, with the groups that GroupDRO and last-layer retraining read.

        Args:
            loader: Batches with images and labels, not shuffled: rows are in its order.
            images, labels, masks: How to read a batch, as ``Inputs`` has it.

        Raises:
            ValueError: There is no batch, the images do not suit the cue, or have no labels.
        """
        return cue_images(
            CUES[self.cue],
            loader,
            column=self.label if self.of else None,
            class_names=class_names,
            images=images,
            labels=labels,
            masks=masks,
        )

    @property
    def key(self) -> FindingKey:
        """What tells findings of one look apart."""
        return self.cue, self.label

    def same(self, other: "Finding") -> bool:
        """Whether both name the same cue, of the same class or label where both name one: what a single class
        uses is seen in all together too, once it is much.
        """
        is_same_label = self.label == other.label or (not self.of and None in (self.label, other.label))
        return self.cue == other.cue and self.of == other.of and is_same_label

    @property
    def rank(self) -> tuple[int, int, bool, float]:
        """Sorts warnings first, then those that may warn, then the strongest; of some that are as strong, to
        five points, a place in the image says most.
        """
        order = {"warning": 0, "notice": 1 if self.may_warn else 2, "expected": 3}
        return order[self.level], -round(20 * self.reliance), not self.cue.startswith("cell_"), -self.reliance

    @property
    def is_one_class(self) -> bool:
        """Whether a single class among several was tested."""
        return self.label is not None and not self.of

    @property
    def subject(self) -> str:
        """The cue in words, with the class or label where one alone was tested."""
        if self.is_one_class:
            return f"{self.meaning} of class {self.classes[0]!r}"
        return f"{self.meaning}, for {self.of!r}" if self.of else self.meaning

    @property
    def statement(self) -> str:
        """What was measured, in plain sentences, and no more."""
        name = f"{self.meaning[:1].upper()}{self.meaning[1:]}"
        lost = f"{100 * self.reliance:.0f} points"
        if self.is_one_class:
            return (
                f"{name} of class {self.classes[0]!r}. It alone, without the model, tells this class from "
                f"the others with an F1 of {self.told:.2f}. Its images lose {lost} of accuracy when it comes "
                f"from another class, and {100 * self.drawn:.0f} % of other images are drawn to it"
                f"{self._when}.{self._natural}"
            )
        what = f"whether {self.of!r} is there" if self.of else "the class"
        caution = " With two classes, damage and preference cannot be told apart." if self.is_binary else ""
        return (
            f"{name}. It alone, without the model, tells {what} in {100 * self.told:.0f} % of the validation "
            f"images. Accuracy on {self.probe_images} probe images falls by {lost} when it comes from an "
            f"image of another class rather than of its own{self._when}.{caution}{self._natural}"
        )

    @property
    def _natural(self) -> str:
        found = self.conflicts
        if found is None:
            return ""
        return (
            f" Where it says another label than the image has ({found.images} of "
            f"{found.images + found.images_elsewhere} images), accuracy is {100 * found.accuracy:.0f} %, "
            f"elsewhere {100 * found.accuracy_elsewhere:.0f} %."
        )

    @property
    def _when(self) -> str:
        if self.since is None:
            return ""
        row = "" if self.looks == 1 else f"{self.looks} looks in a row, since "
        return f" ({row}epoch {self.since})"


def follow(
    before: Sequence[Finding],
    now: Sequence[Finding],
    epoch: int,
    expected: Sequence[str] = (),
    alarming: Sequence[str] = (),
) -> tuple[Finding, ...]:
    """The look's findings, with what earlier looks knew of them: what does not hold any more is gone.

    Args:
        before: What the last look left.
        expected: Cues (keys or prefixes) that may decide here.
        alarming: Cues (keys or prefixes) that are noticed only, and shall warn too.
    """

    def grown(finding: Finding) -> Finding:
        known = next((old for old in before if finding.same(old)), None)
        looks, since = (1, epoch) if known is None else (known.looks + 1, known.since)
        warns = finding.may_warn or is_among(finding.cue, alarming)
        level = "warning" if warns and looks >= LOOKS_TO_WARN else "notice"
        return replace(
            finding,
            looks=looks,
            since=since,
            may_warn=warns,
            level="expected" if is_among(finding.cue, expected) else level,
        )

    return tuple(sorted(map(grown, now), key=lambda finding: finding.rank))


def is_among(cue: str, keys: Sequence[str]) -> bool:
    """Whether a cue is one of ``keys``, or begins with one."""
    return any(cue.startswith(key) for key in keys)


def findings_state(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Primitives that ``findings_from`` reads."""
    return [
        {**vars(finding), "conflicts": None if finding.conflicts is None else dict(vars(finding.conflicts))}
        for finding in findings
    ]


def findings_from(state: Collection[Mapping[str, Any]]) -> tuple[Finding, ...]:
    """What ``findings_state`` wrote."""
    return tuple(
        Finding(**{
            **finding,
            "classes": tuple(finding["classes"]),
            "conflicts": None if finding["conflicts"] is None else Conflicts(**finding["conflicts"]),
        })
        for finding in state
    )  # fmt: skip
