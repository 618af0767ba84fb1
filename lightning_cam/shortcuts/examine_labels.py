"""One look's shortcut tests of images with several labels: each label against the rest, all from the same
transplants.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count

from lightning_cam.distributed import ALONE, Ranks
from lightning_cam.shortcuts.counts import ALPHA, binomial_tail, conflicts, label_answers, label_flags
from lightning_cam.shortcuts.cues import Cue
from lightning_cam.shortcuts.examine import (
    FAMILIES,
    WORTH_NAMING,
    adjusted,
    clearest,
    counted,
    examine,
    unfit,
)
from lightning_cam.shortcuts.findings import UNTESTED, FindingTracker
from lightning_cam.shortcuts.label_effects import label_effects
from lightning_cam.shortcuts.label_pairs import plan_for_labels, shams_for_labels
from lightning_cam.shortcuts.pairing import Ask, Pairing, TestedProbe, answers
from lightning_cam.shortcuts.report import ShortcutReport
from lightning_cam.shortcuts.result import Result
from lightning_cam.typing import Flags, Images, Masks, Saliency, Scores, Truth

MOST_LABELS = 8  # that are tested
DONORS = 2  # of each host
MOST_NAMED = 8  # labels that a note names


def label_subjects(
    images: Images,
    labels: Truth,
    scores: Scores,
    masks: Masks | None,
    saliency: Saliency | None,
    cues: Mapping[str, Cue],
    ranks: Ranks = ALONE,
) -> TestedProbe:
    """The probe with those of its labels that the tests can tell.

    Args:
        labels: (n, C) zeros and ones; NaN, or negative, where one is not known.
        scores: What the network answers to the images.

    Raises:
        ValueError: The network has not one score per label.
    """
    if labels.shape[1] != scores.shape[1]:
        raise ValueError(
            f"labels: got {labels.shape[1]} per image for a network with {scores.shape[1]} scores; give one "
            "column per score, in their order."
        )
    flags = label_flags(labels)
    rows = asked_of_labels(cues, masks).values()
    columns = tellable(flags, tests_of(rows))
    chosen = list(columns)
    features = dict.fromkeys(row.feature for row in rows if row.feature)
    known = flags[:, chosen]
    return TestedProbe(
        images,
        known,
        label_answers(scores)[0][:, chosen],
        masks,
        saliency,
        label_effects(features if images.ndim == 4 and chosen else (), images, known, masks),
        among=True,
        ranks=ranks,
        columns=columns,
        left_out=tuple(column for column in range(labels.shape[1]) if column not in columns),
    )


def examine_labels(
    subjects: TestedProbe,
    ask: Ask,
    cues: Mapping[str, Cue],
    *,
    max_batch: int,
    class_names: tuple[str, ...] | None = None,
    thorough: bool = False,
    tracker: FindingTracker = UNTESTED,
) -> ShortcutReport:
    """As ``examine``, each tested label against the rest: pairs are planned once, each cue's transplants are
    shown once, and each label counts those in which host and donor differ in it.

    Args:
        ask: ``(images, index) -> (m, C)`` scores, logits of all labels.
    """
    cues = asked_of_labels(cues, subjects.masks)
    columns = subjects.columns or ()
    notes: dict[str, None] = dict.fromkeys(_left_out(subjects, tests_of(cues.values()), class_names))
    if columns and not subjects.hosts:
        notes["no label of any image of the probe is answered rightly, so there are no hosts yet"] = None
    pairs = plan_for_labels(subjects, DONORS) if columns else None
    shown = 0

    def test(names: Iterable[str]) -> list[Result]:
        nonlocal shown
        found = []
        for name in names:
            reason = unfit(cues[name], subjects)
            if reason:
                notes[reason] = None
            elif pairs is not None and len(pairs.hosts):
                results, passed = _tested(name, cues[name], subjects, pairs, ask, max_batch)
                found += results
                shown += passed
        return found

    first = test(name for name, row in cues.items() if row.stage == 1)
    named = clearest(first, WORTH_NAMING)
    pointed = named.key if named else None
    second: list[Result] = []
    if thorough or pointed not in (None, tracker.pointed):
        second = test(name for name, row in cues.items() if row.stage == 2)
    results = (*adjusted(first, tracker.known), *adjusted(second, tracker.known))
    return ShortcutReport(results, subjects, class_names, shown / len(subjects.images), tuple(notes), pointed)


def examine_task(
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
    """``examine``, or, where images may have several labels, ``examine_labels``."""
    if subjects.columns is None:
        return examine(
            subjects,
            ask,
            cues,
            classes=classes,
            max_batch=max_batch,
            class_names=class_names,
            thorough=thorough,
            tracker=tracker,
        )
    return examine_labels(
        subjects,
        ask,
        cues,
        max_batch=max_batch,
        class_names=class_names,
        thorough=thorough,
        tracker=tracker,
    )


def asked_of_labels(cues: Mapping[str, Cue], masks: Masks | None) -> dict[str, Cue]:
    """The cues that are tested on one label against the rest: as with one class alone, none that is also the
    shape of its object.
    """
    return {
        name: row
        for name, row in cues.items()
        if row.scope == "any" and (row.needs != "masks" or masks is not None)
    }


def tests_of(cues: Iterable[Cue]) -> int:
    """How many tests the larger stage makes of each label."""
    stages = [row.stage for row in cues]
    return max((stages.count(stage) for stage in (1, 2)), default=0)


def tellable(flags: Flags, tests: int) -> tuple[int, ...]:
    """The columns that are tested: with as many tests as all of them make, each could end in a finding.

    Those come first of which most images have the label, or lack it, whichever is rarer; at most eight.

    Args:
        tests: Of each label.
    """
    rarer = [min(int((column == 0).sum()), int((column == 1).sum())) for column in flags.T]
    order = sorted(range(len(rarer)), key=lambda column: (-rarer[column], column))[:MOST_LABELS]
    told = [column for i, column in enumerate(order) if rarer[column] >= fewest_images(tests * (i + 1))]
    return tuple(sorted(told))


def fewest_images(tests: int) -> int:
    """How many images must have a label, and lack it, so that a p-value can pass after so many tests.

    Each of them gives its cue to one that is unlike it, and gets one: twice as many votes at most.
    """
    needed = (
        images for images in count(1) if binomial_tail(2 * images, 2 * images) * FAMILIES * tests <= ALPHA
    )
    return next(needed)


def _tested(
    name: str, row: Cue, subjects: TestedProbe, pairs: Pairing, ask: Ask, max_batch: int
) -> tuple[list[Result], int]:
    """One cue's test of every label, and how many images were shown for them."""
    columns = subjects.columns or ()
    differ = conflicts(subjects.labels, subjects.right, pairs.hosts, pairs.donors)
    predicted, confidence = answers(row, subjects, pairs, ask, max_batch)
    shown, found = len(pairs.hosts), {}
    for place in range(len(columns)):
        own = differ[:, place].nonzero()[:, 0]
        if len(own):
            view, some = subjects.of_label(place), Pairing(pairs.hosts[own], pairs.donors[own])
            said = predicted[own, place], confidence[own, place]
            found[place] = counted(name, row, None, view, some, *said, classes=2)
    winning = [place for place, result in found.items() if result.tally.dominance > row.null]
    flips = dict.fromkeys(found, 0.0)
    if winning:
        # A class' average has no donor: there a sham is the change the other way round.
        hosts = {host for place in winning for host in found[place].pairs.hosts.tolist()}
        sham = pairs if row.feature else shams_for_labels(subjects, hosts, winning)
        answered, _ = answers(row, subjects, sham, ask, max_batch, sham=True)
        shown += len(sham.hosts)
        labels = subjects.labels[sham.hosts]
        alike = labels == subjects.labels[sham.donors]
        of_sham = differ if row.feature else alike & subjects.right[sham.hosts]
        for place in winning:
            flipped = (answered != labels)[of_sham[:, place], place]
            flips[place] = flipped.float().mean().item() if len(flipped) else 0.0
    return [
        replace(result, label=columns[place], tally=replace(result.tally, flips=flips[place]))
        for place, result in found.items()
    ], shown


def _left_out(subjects: TestedProbe, tests: int, names: Sequence[str] | None) -> list[str]:
    """A note on the labels that are not tested, where there are such."""
    if not subjects.left_out:
        return []
    said = [repr(names[column]) if names else str(column) for column in subjects.left_out[:MOST_NAMED]]
    further = len(subjects.left_out) - len(said)
    least = fewest_images(tests * min(MOST_LABELS, len(subjects.columns or ()) + 1))  # with one more of them
    return [
        f"labels that are not tested: {', '.join(said)}{f' and {further} more' if further else ''}; "
        f"of a probe at most {MOST_LABELS} are, and one more would need {least} images with it and as many "
        "without"
    ]
