"""What a look found: a cue that tells the label and that the model relies on; at one look a notice, at two in
a row a warning.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

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
        images: How many probe images received the cue.
        classes: Names of the classes that lose most by it or draw most.
        label: The only class that was tested, or the label's number; None where all classes were together.
        looks: At how many looks in a row the rule held.
        since: The epoch of the first of them; None outside a fit.
        of: Of several labels per image, the name of the one that was tested; else empty.
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
    images: int
    classes: tuple[str, ...]
    label: int | None = None
    looks: int = 1
    since: int | None = None
    of: str = ""
    is_binary: bool = False

    @property
    def key(self) -> FindingKey:
        """What tells findings of one look apart."""
        return self.cue, self.label

    @property
    def rank(self) -> tuple[int, float]:
        """Sorts warnings first, then those that may warn, then the strongest."""
        order = {"warning": 0, "notice": 1 if self.may_warn else 2, "expected": 3}
        return order[self.level], -self.reliance

    @property
    def is_one_class(self) -> bool:
        """Whether a single class among several was tested."""
        return self.label is not None and not self.of

    @property
    def statement(self) -> str:
        """What was measured, in plain sentences, and no more."""
        cue = f"{self.meaning[:1].upper()}{self.meaning[1:]}"
        if self.is_one_class:
            return (
                f"{cue} of class {self.classes[0]!r}: it tells this class from the others with an F1 of "
                f"{self.told:.2f} without the model, its images lose {100 * self.reliance:.0f} points of "
                f"accuracy when it comes from another class, and it draws {100 * self.drawn:.0f} % of other "
                f"images to this class{self._when}."
            )
        what = f"whether {self.of!r} is there" if self.of else "the class"
        caution = " With two classes, damage and preference cannot be told apart." if self.is_binary else ""
        return (
            f"{cue}: alone, without the model, it tells {what} in {100 * self.told:.0f} % of the validation "
            f"images, and accuracy on {self.images} probe images falls by {100 * self.reliance:.0f} points "
            f"when it comes from an image of another class rather than of its own{self._when}.{caution}"
        )

    @property
    def _when(self) -> str:
        if self.since is None:
            return ""
        return (
            f" (epoch {self.since})"
            if self.looks == 1
            else f" ({self.looks} looks in a row, since epoch {self.since})"
        )


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
        known = next((old for old in before if finding.key == old.key), None)
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
    return [dict(vars(finding)) for finding in findings]


def findings_from(state: Collection[Mapping[str, Any]]) -> tuple[Finding, ...]:
    """What ``findings_state`` wrote."""
    return tuple(Finding(**{**finding, "classes": tuple(finding["classes"])}) for finding in state)
