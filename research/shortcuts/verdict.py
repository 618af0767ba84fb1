"""What a run's judgement says: whether it was warned, when, of what, and whether the rule of before would have."""

from dataclasses import dataclass
from typing import Any

from scipy.stats import beta

from lightning_cam.shortcuts.findings import LOOKS_TO_WARN
from research.shortcuts.bank import RELIES, reliance
from research.shortcuts.dominance import dominates
from research.shortcuts.right_cues import RIGHT_CUES

PLANTED, HEALTHY = ("coded", "one"), ("clean", "broken", "decoy")
Run = dict[str, Any]  # as ``judge`` returns it


@dataclass(frozen=True)
class Verdict:
    """What one run's judgement says. Of planted runs a look counts where the network relies on the artefact at that very epoch,
    of all others every look.

    Attributes:
        setup: Of the run.
        relies: Whether reliance is verified at some epoch.
        settled: The second of the first two epochs in a row with verified reliance: no earlier look can warn of it.
        warned: The first epoch of a look that counts, with a warning.
        first: The first epoch with a warning, whether it counts or not.
        noticed: Whether there is a finding at a look that counts.
        right_cue: Whether a warning of that first look names what was planted; None where nothing was, or without a warning.
        right_class: Of kind ``one``, whether the class that a warning of that look names first is the carrier; else None.
        dominated: Whether the rule of before holds for the same cue at two looks in a row, the second of which counts.
        cues: Of the warnings at the first warned look; without one those of the first noticed look.
        passes: Of every look, as multiples of the probe.
        idle: Of those looks at which no cue told all classes apart.
        seconds: Of every look.
        preparation: Seconds for predictivity.
    """

    setup: dict[str, Any]
    relies: bool
    settled: int | None
    warned: int | None
    first: int | None
    noticed: bool
    right_cue: bool | None
    right_class: bool | None
    dominated: bool
    cues: tuple[str, ...]
    passes: tuple[float, ...]
    idle: tuple[float, ...]
    seconds: tuple[float, ...]
    preparation: float

    @property
    def is_planted(self) -> bool:
        return self.setup["kind"] in PLANTED

    @property
    def counts(self) -> bool:
        """Planted runs that rely on nothing are neither found nor missed."""
        return self.relies or not self.is_planted

    @property
    def lead(self) -> int | None:
        """Epochs from the first look that could warn to the first that did; None where one is missing."""
        return None if self.first is None or self.settled is None else self.first - self.settled


def verdict(run: Run) -> Verdict:
    """What the judgement says."""
    setup, rows = run["setup"], run["epochs"]
    relying = [reliance(row) > RELIES for row in rows]
    counting = [setup["kind"] not in PLANTED or relies for relies in relying]
    warnings = [[one for one in row["findings"] if one["level"] == "warning"] for row in rows]
    place = _first([bool(found) and counts for found, counts in zip(warnings, counting, strict=True)])
    noticed = _first([bool(row["findings"]) and counts for row, counts in zip(rows, counting, strict=True)])
    named = [] if place is None else warnings[place]
    shown = named or ([] if noticed is None else rows[noticed]["findings"])
    right = RIGHT_CUES[setup["family"]] if setup["kind"] in PLANTED else None
    carrier = run["carrier"]
    settled = _first([True in (relying[i - 1 : i]) and relying[i] for i in range(len(rows))])
    first = _first([bool(found) for found in warnings])
    ruled = dominance_looks(run)
    return Verdict(
        setup=setup,
        relies=any(relying),
        settled=None if settled is None else rows[settled]["epoch"],
        warned=None if place is None else rows[place]["epoch"],
        first=None if first is None else rows[first]["epoch"],
        noticed=noticed is not None,
        right_cue=None if right is None or not named else any(one["cue"] in right for one in named),
        right_class=None
        if carrier is None or not named
        else any(tuple(one["classes"][:1]) == (run["class_names"][carrier],) for one in named),
        dominated=any(holds and counts for holds, counts in zip(ruled, counting, strict=True)),
        cues=tuple(dict.fromkeys(one["cue"] for one in shown)),
        passes=tuple(row["passes"] for row in rows),
        idle=tuple(row["passes"] for row in rows if all(test["label"] is not None for test in row["results"])),
        seconds=tuple(row["seconds"] for row in rows),
        preparation=run["seconds"],
    )  # fmt: skip


def dominance_looks(run: Run) -> list[bool]:
    """At which looks the rule of before held for a cue for the second time in a row, on the swaps that were made anyway."""
    found, classes, looks = [], len(run["class_names"]), dict[tuple[str, int | None], int]()
    for row in run["epochs"]:
        held = [
            (test["cue"], test["label"])
            for test in row["results"]
            if dominates(test, len(row["results"]), classes)
        ]
        looks = {key: looks.get(key, 0) + 1 for key in held}
        found.append(max(looks.values(), default=0) >= LOOKS_TO_WARN)
    return found


def bounds(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share, after Clopper and Pearson."""
    low = beta.ppf(0.025, hits, count - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, count - hits) if hits < count else 1.0
    return float(low), float(high)


def interval(hits: int, count: int) -> str:
    """Share, and its 95 % interval; - of none."""
    if not count:
        return "-"
    low, high = bounds(hits, count)
    return f"{hits}/{count} {hits / count:.2f} [{low:.2f}, {high:.2f}]"


def _first(flags: list[bool]) -> int | None:
    return next((place for place, flag in enumerate(flags) if flag), None)
