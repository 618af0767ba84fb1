"""One look's shortcut tests: which cues are tested, the counts, the p-values."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from lightning_cam.attribution.task import MULTICLASS, REGRESSION, TASKS
from lightning_cam.data.probe import Probe
from lightning_cam.registry import did_you_mean
from lightning_cam.shortcuts.class_means import FEWEST_IMAGES, MOST_CLASSES, ClassMeans
from lightning_cam.shortcuts.counts import ALPHA, holm, label_flags, tally
from lightning_cam.shortcuts.cues import CUES, Cue
from lightning_cam.shortcuts.findings import UNTESTED, FindingKey, FindingTracker
from lightning_cam.shortcuts.pairing import Ask, Pairing, TestedProbe, answers, plan, shams
from lightning_cam.shortcuts.report import ShortcutReport
from lightning_cam.shortcuts.result import Result
from lightning_cam.typing import Labels, PerRow, Truth

MOST_SUSPECTS = 2  # classes that are tested one by one at a look
LEAST_RIGHT = 0.5
FAMILIES = 3  # of tests: stage 1, one class alone, stage 2
CLOSER, WORTH_A_CLOSER_LOOK = (
    4,
    0.2,
)  # so many times the donors, where a p-value of stage 1, not yet adjusted, leaves it open
NUMBERS = (
    "'regression' has no shortcut tests, as these count answers of one class or another; ask whether the "
    "number is above a limit, with labels=(labels > limit).long(), scores=lambda output: output - limit and "
    "task='binary'."
)
WORTH_NAMING = (
    0.05  # the clearest p-value of stage 1, before it is adjusted, at which stage 2 looks for a name
)


def examine(
    subjects: TestedProbe,
    ask: Ask,
    cues: Mapping[str, Cue],
    *,
    classes: int,
    max_batch: int,
    class_names: tuple[str, ...] | None = None,
    thorough: bool = False,
    tracker: FindingTracker = UNTESTED,
) -> ShortcutReport:
    """Stage 1, and stage 2 where stage 1 points elsewhere than when stage 2 was last made, or ``thorough``
    asks for it.

    Args:
        ask: ``(images, index) -> (m, C)`` scores.
        classes: How many the model tells apart.
        tracker: What earlier looks found is asked again, as a question of its own rather than one of many.
    """
    known = tracker.known
    given = {"masks": subjects.masks, "saliency": subjects.saliency, "": subjects.images}
    cues = {name: row for name, row in cues.items() if given[row.needs] is not None}
    notes: dict[str, None] = {}
    shown = 0

    def asked(row: Cue, pairs: Pairing, sham: bool = False) -> tuple[Labels, PerRow]:
        nonlocal shown
        shown += len(pairs.hosts)
        return answers(row, subjects, pairs, ask, max_batch, sham)

    def test(name: str, only: int | None = None, donors: int = 1) -> Result | None:
        row = cues[name]
        if row.scope not in (
            ("any",) if only is not None else ("any", "all") if classes == 2 else ("any", "all", "many")
        ):
            return None
        able, reason = testable(row, subjects)
        if reason:
            notes[reason] = None
        pairs = plan(subjects, able, donors * row.donors, only)
        if reason or not len(pairs.hosts):
            return None
        result = counted(name, row, only, subjects, pairs, *asked(row, pairs), classes)
        if classes == 2 and result.tally.dominance > row.null:
            sham = shams(row, subjects, pairs)
            flipped = asked(row, sham, sham=True)[0] != subjects.labels[sham.hosts]
            flips = flipped.float().mean().item() if len(flipped) else 0.0
            result = replace(result, tally=replace(result.tally, flips=flips))
        return result

    def tested(names: Iterable[str], only: int | None = None, donors: int = 1) -> list[Result]:
        return [result for name in names if (result := test(name, only, donors)) is not None]

    first = tested(name for name, row in cues.items() if row.stage == 1)
    suspects, possible = _suspects(first, subjects.right.float().mean().item(), classes)
    again = [
        (name, label) for name, label in known if name in cues and cues[name].stage == 1 and label is not None
    ]
    suspects = list(dict.fromkeys([*again, *suspects]))
    alone = [result for name, label in suspects if (result := test(name, label)) is not None]
    named = clearest(first, ALPHA) or clearest([*first, *alone], WORTH_NAMING)
    unsure = [result for result in first if ALPHA / 10 < result.tally.p_value <= WORTH_A_CLOSER_LOOK]
    closer = tested([found.cue] if (found := clearest(unsure, 1.0)) else [], donors=CLOSER)
    second: list[Result] = []
    pointed = named.key if named else None
    if thorough or pointed not in (None, tracker.pointed):
        second = tested(
            (name for name, row in cues.items() if row.stage == 2), named.label if named else None
        )
    if not subjects.right.any():
        notes["no image of the probe is answered rightly, so there are no hosts yet"] = None
    surpassed = {result.cue for result in closer}
    together = [
        result
        for i, result in enumerate(adjusted([*first, *closer], known))
        if i >= len(first) or result.cue not in surpassed
    ]
    results = (*together, *adjusted(alone, known, possible - len(alone)), *adjusted(second, known))
    return ShortcutReport(results, subjects, class_names, shown / len(subjects.labels), tuple(notes), pointed)


def unfit(row: Cue, subjects: TestedProbe) -> str:
    """Why the images do not suit a cue, in words; nothing where they do."""
    side = min(subjects.images.shape[2:])
    if subjects.images.ndim != 4:
        return "cues are made for images (n, c, H, W), not for signals or volumes"
    if side < row.smallest:
        return f"{row.meaning}: the images' shorter side is {side} pixels; this cue needs {row.smallest}"
    return ""


def testable(row: Cue, subjects: TestedProbe) -> tuple[Collection[int], str]:
    """The classes that a cue can be tested on, and why it cannot be tested, in words, where it cannot."""
    present = sorted(set(subjects.labels.tolist()))
    reason = unfit(row, subjects)
    if reason:
        return present, reason
    if len(present) < 2:
        return present, f"all images of the probe are of class {present[0]}; conflicts need two classes"
    if row.feature and isinstance(subjects.means, ClassMeans):
        known = [label for label in present if label in set(subjects.means.known(int(subjects.among)))]
        if len(known) < 2:
            needed = FEWEST_IMAGES + subjects.among
            return known, f"class means need {needed} images of each of two classes; this probe has fewer"
        return known, ""
    return present, ""


def choose_cues(cues: str | Collection[str], argument: str = "cues") -> dict[str, Cue]:
    """The rows of ``CUES`` that keys or prefixes name; "default" names all.

    Raises:
        TypeError: Neither text nor a list of keys.
        ValueError: No such cue.
    """
    if cues == "default":
        return dict(CUES)
    if (
        isinstance(cues, str)
        or not isinstance(cues, Collection)
        or not all(isinstance(key, str) for key in cues)
    ):
        raise TypeError(f"{argument}: got {cues!r}; give keys of CUES, or prefixes of such, in a list.")
    for key in cues:
        if not key or not any(known.startswith(key) for known in CUES):
            raise ValueError(
                f"{argument}: no cue {key!r}{did_you_mean(key, CUES) or '; there are ' + ', '.join(CUES)}."
            )
    return {name: row for name, row in CUES.items() if any(name.startswith(key) for key in cues)}


def check_subjects(probe: Probe, task: str = MULTICLASS.name) -> Truth:
    """The probe's labels.

    Args:
        task: A key of ``TASKS``.

    Raises:
        ValueError: There are none, or only those of one class, or they do not fit the task; or the task is
            "regression".
    """
    if task == REGRESSION.name:
        raise ValueError(f"task: {NUMBERS}")
    if probe.labels is None:
        raise ValueError(
            "labels: the probe has none; shortcut tests need the true class of each image: "
            "Probe(images, labels)."
        )
    are_several = TASKS[task].several
    if are_several != (probe.labels.ndim == 2):
        raise ValueError(
            f"labels: got {tuple(probe.labels.shape)} and task={task!r}, which needs {TASKS[task].label}; "
            f"give task={'multiclass' if are_several else 'multilabel'!r}."
        )
    if are_several:
        flags = label_flags(probe.labels)
        if not ((flags == 0).any(dim=0) & (flags == 1).any(dim=0)).any():
            raise ValueError(
                f"labels: of {flags.shape[1]} labels none is there in one image and missing in another; "
                "a conflict needs both in the probe."
            )
    elif len(probe.labels.unique()) < 2:
        raise ValueError(
            f"labels: all {len(probe)} images are of class {int(probe.labels[0])}; "
            "a conflict needs two classes in the probe."
        )
    return probe.labels


def most_common(labels: Labels) -> list[int]:
    """At most 64 classes, those with most images first."""
    counts = Counter(labels.tolist())
    return sorted(counts, key=lambda label: (-counts[label], label))[:MOST_CLASSES]


def counted(
    name: str,
    row: Cue,
    only: int | None,
    subjects: TestedProbe,
    pairs: Pairing,
    predicted: Labels,
    confidence: PerRow,
    classes: int,
) -> Result:
    """A cue's answers (m,), counted.

    Args:
        only: The only class that gave the cue; None where all did.
        classes: How many the model tells apart.
    """
    hosts, donors = subjects.labels[pairs.hosts], subjects.labels[pairs.donors]
    # A class mean has no donor image, and one class' few images are taken as they are: then hosts are what
    # was sampled.
    by_host = row.feature or only is not None or len(pairs.hosts.unique()) <= len(pairs.donors.unique())
    voters = pairs.hosts if by_host else pairs.donors
    by_class = {}
    for label in donors.unique().tolist():
        own = donors == label
        by_class[label] = tally(predicted[own], hosts[own], donors[own], voters[own], classes, row.null)
    return Result(
        name,
        row,
        only,
        tally(predicted, hosts, donors, voters, classes, row.null),
        pairs,
        predicted,
        confidence,
        by_class,
    )


def _suspects(results: Sequence[Result], right: float, classes: int) -> tuple[list[tuple[str, int]], int]:
    """Cues and classes that win enough of the few conflicts that they had, the clearest first; and how many
    there might have been.

    Args:
        right: Share of the images that the model gets right: a weak model takes most images for the few
            classes that it knows.
    """
    if classes == 2 or right < LEAST_RIGHT:
        return [], 0
    single = [
        (own, result.cue, label)
        for result in results
        if result.row.scope == "any"
        for label, own in result.by_class.items()
    ]
    together = {result.cue for result in results if result.tally.p_value <= ALPHA}
    winning = [
        (own.donor / own.pairs, cue, label)
        for own, cue, label in single
        if own.dominance > own.null and own.donor >= 2 and cue not in together
    ]
    return [(cue, label) for _, cue, label in sorted(winning, reverse=True)[:MOST_SUSPECTS]], len(single)


def clearest(results: Sequence[Result], most: float) -> Result | None:
    """The smallest p-value, not adjusted, if it is at most ``most``."""
    best = min(results, key=lambda result: result.tally.p_value, default=None)
    return best if best is not None and best.tally.p_value <= most else None


def adjusted(results: Sequence[Result], known: Collection[FindingKey], untested: int = 0) -> list[Result]:
    """p-values adjusted for how many tests their family made or, to choose which, left; and for how many
    families there are.
    """
    new = [result for result in results if result.key not in known]
    adjusted = iter(holm([*(result.tally.p_value for result in new), *[1.0] * untested]))
    return [
        replace(
            result, p_value=min(1.0, FAMILIES * next(adjusted)) if result in new else result.tally.p_value
        )
        for result in results
    ]
