"""Labels and answers as the report page has them, by task."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from lightning_cam.attribution.task import MULTICLASS, MULTILABEL, NONE, REGRESSION
from lightning_cam.data.history import History, Look
from lightning_cam.typing import Truth
from lightning_cam.visualization.captions import likeliest_absent, present_labels

CLASSES, LABELS, NUMBERS = (
    "classes",
    "labels",
    "numbers",
)  # kinds of answers: one class, several labels, numbers


def task_of_run(history: History, labels: Truth | None, settings: Mapping[str, Any]) -> str:
    """The task that the settings tell, else the one that looks and labels show."""
    if "task" in settings:
        return settings["task"]
    if history.looks[-1].confidences is not None:
        return MULTILABEL.name
    return REGRESSION.name if labels is not None and labels.is_floating_point() else MULTICLASS.name


def answers_of(
    history: History,
    labels: Truth | None,
    count: int,
    name: Callable[[int], str],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """What is known and what was answered, of the first ``count`` images.

    Args:
        labels: As ``Probe`` has them, on the host.
        name: What a class is called.
        settings: Of the run; "task" and "outputs" say how answers are to be read.
    """
    task = task_of_run(history, labels, settings)
    is_number = task == REGRESSION.name or (task == NONE.name and settings.get("outputs") == 1)
    kind = NUMBERS if is_number else LABELS if task == MULTILABEL.name else CLASSES
    known = None if task == NONE.name else labels
    named = {int(answer) for look in history.looks for answer in look.predicted[:count]}
    shown: list[Any] | None = None
    shares: list[Any] | None = None
    if known is not None and kind == NUMBERS:
        shown = [_number(value) for value in known.float().reshape(len(known), -1)[:count, 0].tolist()]
    elif known is not None and kind == LABELS:
        shown = [present_labels(known, row) for row in range(count)]
        shares = [[_shares(look, known, row) for row in range(count)] for look in history.looks]
        named |= {label for row in shown for label in row}
        named |= {share["absent"][0] for row in shares for share in row if share and share["absent"]}
    elif known is not None:
        shown = known[:count].tolist()
        named |= set(shown)
    return {
        "kind": kind,
        "labels": shown,
        "shares": shares,
        "names": {} if is_number else {label: name(label) for label in sorted(named) if label >= 0},
        "right": [[_number(share) for share in look.right[:count].tolist()] for look in history.looks],
    }


def counted(look: Look) -> dict[str, Any]:
    """How many images of the whole probe were seen, and how many of those were answered rightly, with all
    their labels; None where nobody knows.
    """
    known = look.right.isfinite()
    right = int((look.right[known] == 1).sum()) if known.any() else None
    return {"seen": int((look.predicted >= 0).sum()), "right": right}


def _shares(look: Look, labels: Truth, row: int) -> dict[str, Any] | None:
    """The probabilities of the labels that an image has, and of the likeliest that it has not."""
    if look.confidences is None or look.predicted[row] < 0:
        return None
    shares = look.confidences[row].float().tolist()
    absent = likeliest_absent(labels, row, shares)
    return {
        "present": [_number(shares[label]) for label in present_labels(labels, row)],
        "absent": None if absent is None else [absent, _number(shares[absent])],
    }


def _number(value: float) -> float | None:
    """To five digits; None where there is none, as JSON knows no other way."""
    return float(f"{value:.5g}") if math.isfinite(value) else None
