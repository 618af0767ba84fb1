"""One look's shortcut tests: which cues tell the label, and what the model uses of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from lightning_cam.attribution.task import MULTICLASS, REGRESSION, TASKS
from lightning_cam.data.probe import Probe
from lightning_cam.registry import did_you_mean
from lightning_cam.shortcuts.cues import CUES, Cue
from lightning_cam.shortcuts.pairing import (
    Ask,
    Pairing,
    TestedProbe,
    answers,
    label_answers,
    pair_up,
    pair_up_one,
)
from lightning_cam.shortcuts.predictivity import Predictivity, label_flags, unfit
from lightning_cam.shortcuts.reliance import NOTHING, Swaps, by_class, reliance
from lightning_cam.shortcuts.report import ShortcutReport
from lightning_cam.shortcuts.result import Result
from lightning_cam.shortcuts.rule import (
    MOST_CUES,
    holds,
    holds_of_one,
    may_warn,
    may_warn_of_one,
    worth_asking,
    worth_asking_alone,
)
from lightning_cam.typing import Truth

FIRST, FURTHER = range(1), range(1, 3)  # turns of donors: of every cue, and of those that show something
CLOSER = 3  # cues that are looked at more closely
WORTH_A_CLOSER_LOOK = 0.08  # points of accuracy
DRAWN_PAIRS, LOST_TURNS = 48, range(3)
FEWEST_HOSTS = 8
NUMBERS = (
    "'regression' has no shortcut tests, as these count answers of one class or another; ask whether the "
    "number is above a limit, with labels=(labels > limit).long(), scores=lambda output: output - limit and "
    "task='binary'."
)


@dataclass(frozen=True)
class Asking:
    """How the model is asked.

    Args:
        ask: ``(images, index) -> (m, C)`` scores.
        max_batch: Most images at once.
    """

    ask: Ask
    max_batch: int

    def swaps(self, row: Cue, subjects: TestedProbe, pairs: Pairing) -> Swaps:
        """Answers to images that received a cue from their own class, and from another."""
        own, _ = answers(row, subjects, pairs.hosts, pairs.own, self.ask, self.max_batch)
        other, sure = answers(row, subjects, pairs.hosts, pairs.other, self.ask, self.max_batch)
        return Swaps(pairs, own, other, sure)


def examine(
    views: Sequence[TestedProbe],
    asking: Asking,
    cues: Mapping[str, Cue],
    told: Sequence[Mapping[str, Predictivity]],
    class_names: tuple[str, ...] | None = None,
) -> ShortcutReport:
    """Asks the model about the cues that tell the label, the most predictive ones.

    Each is swapped once between all images of the probe; the three that cost most accuracy twice more. A
    cue that tells one class only is asked about of that class. With fewer than eight images that can receive
    a cue nothing is asked.

    Args:
        views: The probe; or of several labels per image one view for each label, which is tested against the
            rest.
        told: By cue, how well it tells the label; for each view.
    """
    own = [{name: found[name] for name in cues if name in found} for found in told]
    able = [place for place, view in enumerate(views) if _hosts(view) >= FEWEST_HOSTS]
    # Each label's most predictive cue comes before any label's second one.
    ranked = [
        (turn, -own[place][name].kappa, place, name)
        for place in able
        for turn, name in enumerate(worth_asking(own[place], views[place].classes))
    ]
    chosen = sorted(ranked)[:MOST_CUES]
    results: list[Result] = []
    notes: dict[str, None] = {}
    for place, (view, found) in enumerate(zip(views, own, strict=True)):
        names = [name for _, _, owner, name in chosen if owner == place]
        notes |= dict.fromkeys(_notes(view, cues))
        together = _together(view, asking, cues, found, names)
        results += together
        # What all classes use of a cue says more than what a single one does.
        is_open = place in able and view.classes > 2 and not any(result.holds for result in together)
        if is_open and view.column is None:
            present = sorted(set(view.labels.tolist()))
            single = worth_asking_alone(found, cues, present)
            results += [_alone(view, asking, name, cues[name], found, label) for name, label in single]
    return ShortcutReport(tuple(results), tuple(views), tuple(own), class_names, tuple(notes))


def _together(
    view: TestedProbe,
    asking: Asking,
    cues: Mapping[str, Cue],
    told: Mapping[str, Predictivity],
    names: Sequence[str],
) -> list[Result]:
    """Cues of all classes together."""
    swaps = {name: asking.swaps(cues[name], view, pair_up(view.labels, FIRST)) for name in names}
    lost = {name: reliance(found, view.labels, view.classes).points for name, found in swaps.items()}
    closer = sorted(
        (name for name in names if lost[name] >= WORTH_A_CLOSER_LOOK), key=lambda name: -lost[name]
    )
    for name in closer[:CLOSER]:
        swaps[name] = swaps[name] + asking.swaps(cues[name], view, pair_up(view.labels, FURTHER))
    found = []
    for name in names:
        measured = reliance(swaps[name], view.labels, view.classes)
        found.append(
            Result(
                name,
                cues[name],
                told[name],
                measured,
                swaps[name],
                by_class(swaps[name], view.labels),
                view,
                view.column,
                holds=holds(name, told[name].kappa, measured, view.classes),
                may_warn=may_warn(name, cues[name], told),
            )
        )
    return found


def _alone(
    view: TestedProbe, asking: Asking, name: str, row: Cue, told: Mapping[str, Predictivity], label: int
) -> Result:
    """One class among several: how far its cue draws others, and what its own images lose without it."""
    drawing = asking.swaps(row, view, pair_up_one(view.labels, label, DRAWN_PAIRS))
    everyone = pair_up(view.labels, LOST_TURNS)
    losing = asking.swaps(row, view, everyone.part(view.labels[everyone.hosts] == label))
    drawn = by_class(drawing + losing, view.labels).get(label, (0.0, 0.0))
    measured = reliance(losing, view.labels, view.classes) if len(losing.own) else NOTHING
    both = replace(measured, excess=drawn[1])
    return Result(
        name,
        row,
        told[name],
        both,
        drawing,
        {label: (both.points, drawn[1])},
        view,
        label,
        holds=holds_of_one(name, float(told[name].f1[label]), both.points, drawn[1]),
        may_warn=may_warn_of_one(name, row, told, both.points, drawn[1]),
    )


def _hosts(view: TestedProbe) -> int:
    """How many images can receive a cue from another image of their own class, and from another class."""
    return len(pair_up(view.labels, FIRST).hosts)


def _notes(view: TestedProbe, cues: Mapping[str, Cue]) -> list[str]:
    """What could not be tested, and what it needs."""
    # Grey images have no fringes, which is nothing that could be mended.
    channels = view.images.shape[1]
    reasons = [unfit(row, view.images) for row in cues.values() if row.channels in (1, channels)]
    notes = [reason for reason in dict.fromkeys(reasons) if reason]
    if _hosts(view) < FEWEST_HOSTS:
        notes.append(
            f"{_hosts(view)} of {len(view.labels)} probe images have another image of their class in the "
            f"probe; at least {FEWEST_HOSTS} are needed: give a probe with two images or more of each class"
        )
    return notes


def label_views(view: TestedProbe, labels: Truth, scores: Tensor, told: Collection[int]) -> list[TestedProbe]:
    """Each label of several, against the rest.

    Args:
        labels: (n, C) zeros and ones; NaN, or negative, where one is not known.
        scores: (n, C) logits.
        told: The labels' columns that are tested.

    Raises:
        ValueError: The network has not one score per label.
    """
    if labels.shape[1] != scores.shape[1]:
        raise ValueError(
            f"labels: got {labels.shape[1]} per image for a network with {scores.shape[1]} scores; give one "
            "column per score, in their order."
        )
    flags, predicted = label_flags(labels), label_answers(scores)
    return [
        replace(view, labels=flags[:, column], predicted=predicted[:, column], classes=2, column=column)
        for column in sorted(told)
    ]


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
