"""What a look found: a cue that decides against the object; at one look a notice, at two in a row a
warning.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

# A cue, and the only class that gave it, or the label that was tested; None where all classes gave it.
FindingKey = tuple[str, int | None]
LOOKS_TO_WARN = 2
REST = 2  # looks without stage 2, after one with it, unless stage 1 finds something new


@dataclass(frozen=True)
class Finding:
    """A cue whose rule holds, with its evidence.

    Args:
        cue: A key of ``CUES``.
        tier: "A" may warn; "B" is a notice, because honest tasks may be decided by it.
        level: "notice" at one look, "warning" when it holds at two in a row and may warn, "expected" where
            the user said so.
        dominance: Share of the conflicts between cue and object that the cue wins, in (0, 1].
        donor: Transplants answered by the class that the cue came from.
        host: Transplants answered by the image's own class.
        p_value: Of cues that win no more than their row's ``null``, adjusted for all that were tested at this
            look.
        classes: Names of the classes whose cue wins more of its conflicts than the cue's row allows.
        label: The only class that was tested as donor, or the label that was tested against the rest; None
            where all classes were.
        looks: At how many looks in a row the rule held.
        since: The epoch of the first of them; None outside a fit.
        of: Of several labels per image, the name of the one that was tested; else empty.
    """

    cue: str
    tier: str
    level: str
    dominance: float
    donor: int
    host: int
    p_value: float
    classes: tuple[str, ...]
    label: int | None = None
    looks: int = 1
    since: int | None = None
    of: str = ""

    @property
    def key(self) -> FindingKey:
        """What tells findings of one look apart."""
        return self.cue, self.label

    @property
    def rank(self) -> tuple[str, float]:
        """Sorts those that may warn first, then the strongest."""
        return self.tier, -self.dominance

    @property
    def statement(self) -> str:
        """What was measured, in a sentence, and no more."""
        is_one_class = self.label is not None and self.classes and not self.of
        whose = f" of class {self.classes[0]!r}" if is_one_class else ""
        when = [f"{self.looks} looks in a row"] if self.looks > 1 else []
        if self.since is not None:
            when.append(f"since epoch {self.since}")
        counted = f"donor {self.donor}, host {self.host}" + (f"; {', '.join(when)}" if when else "")
        of = f"{self.of}: " if self.of else ""
        return f"{of}cue {self.cue!r}{whose} decides {100 * self.dominance:.0f} % of conflicts ({counted})"

    def same(self, other: "Finding") -> bool:
        """Whether both name the same cue, of the same class where only one was tested."""
        return self.cue == other.cue and (None in (self.label, other.label) or self.label == other.label)


def follow(
    before: Sequence[Finding],
    now: Sequence[Finding],
    tested: Collection[str],
    epoch: int,
    expected: Sequence[str] = (),
    alarming: Sequence[str] = (),
) -> tuple[Finding, ...]:
    """The look's findings, with what earlier looks knew of them. A cue that this look did not test is kept as
    it was.

    Args:
        before: What the last look left.
        tested: The cues that this look tested.
        expected: Cues (keys or prefixes) that may decide here.
        alarming: Cues (keys or prefixes) of tier B that may warn too.
    """

    def grown(finding: Finding) -> Finding:
        known = next((old for old in before if finding.same(old)), None)
        looks, since = (1, epoch) if known is None else (known.looks + 1, known.since)
        may_warn = finding.tier == "A" or is_among(finding.cue, alarming)
        level = "warning" if may_warn and looks >= LOOKS_TO_WARN else "notice"
        return replace(
            finding, looks=looks, since=since, level="expected" if is_among(finding.cue, expected) else level
        )

    return (*(grown(finding) for finding in now), *(old for old in before if old.cue not in tested))


@dataclass(frozen=True)
class FindingTracker:
    """What the looks so far have shown, and when stage 2 was last made.

    To ask for names at every look would cost five times as much and tell nothing new.

    Args:
        findings: Cues whose rule held when they were last tested.
        rested: Looks since stage 2 was last made.
        pointed: What stage 1 pointed at then.
    """

    findings: tuple[Finding, ...] = ()
    rested: int = 0
    pointed: FindingKey | None = None

    @property
    def is_thorough(self) -> bool:
        """Whether the next look makes stage 2 in any case: after so many that did not, and where a finding
        has held once only.
        """
        return self.rested >= REST or any(finding.looks < LOOKS_TO_WARN for finding in self.findings)

    @property
    def known(self) -> list[FindingKey]:
        """What was found."""
        return [finding.key for finding in self.findings]

    def after(
        self, findings: tuple[Finding, ...], complete: bool, pointed: FindingKey | None
    ) -> "FindingTracker":
        """One look later, at which stage 2 was made, if ``complete``, and stage 1 ``pointed`` at a cue."""
        return (
            FindingTracker(findings, 0, pointed)
            if complete
            else replace(self, findings=findings, rested=self.rested + 1)
        )


def is_among(cue: str, keys: Sequence[str]) -> bool:
    """Whether a cue is one of ``keys``, or begins with one."""
    return any(cue.startswith(key) for key in keys)


UNTESTED = FindingTracker()


def tracker_state(tracker: FindingTracker) -> dict[str, Any]:
    """Primitives that ``tracker_from`` reads."""
    return {**vars(tracker), "findings": [dict(vars(finding)) for finding in tracker.findings]}


def tracker_from(state: Mapping[str, Any]) -> FindingTracker:
    """What ``tracker_state`` wrote."""
    pointed = state["pointed"]
    findings = tuple(Finding(**finding) for finding in state["findings"])
    return FindingTracker(findings, state["rested"], None if pointed is None else (pointed[0], pointed[1]))
