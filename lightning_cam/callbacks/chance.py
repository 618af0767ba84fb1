"""A last doubt: the probe is answered no better than by chance, and the user's own metric says more."""

from collections.abc import Mapping
from typing import Any

from lightning_cam.report.record import RunRecord

ASKED_AT = 3  # looks of a model in training; and at the end
APART = 0.2  # by how much the user's own share of right answers exceeds the monitor's


def chance_hint(record: RunRecord, metrics: Mapping[str, Any]) -> str:
    """What the user should know where the last look has no more right answers than the commonest class has
    images; "" where there is no reason to doubt.

    Where the user's own accuracy is known, it speaks only if that is larger by 0.2; else only if nothing
    verified what is explained. An honest model that has not learnt yet is then left alone.

    Args:
        record: Of a probe whose labels are classes (n,); of others nothing is said.
        metrics: The user's own, by name: what has "acc" in its name is taken as a share of right answers, in
            [0, 1] or in percent.
    """
    history, reading, labels = record.history, record.reading, record.subject.labels
    if not history.looks or labels is None or labels.ndim != 1 or labels.is_floating_point():
        return ""
    right = history.looks[-1].right
    seen = right.isfinite()
    count, answered = int(seen.sum()), int(right[seen].sum())
    known = labels.cpu()[seen]
    if not count or answered > int(known.bincount().max()):
        return ""
    name, own = _own_accuracy(metrics)
    if own is None and reading is not None and reading.is_verified:
        return ""
    if own is not None and own - answered / count <= APART:
        return ""
    beside = "" if own is None else f"; your own {name} says {own:.2f}"
    return (
        f"of the probe {answered} of {count} are answered rightly, no more than one class alone would give"
        f"{beside}: the model has not learnt yet, or labels or scores are read wrongly. "
        "print(monitor.reading) says what is explained"
    )


def _own_accuracy(metrics: Mapping[str, Any]) -> tuple[str, float | None]:
    for name, value in metrics.items():
        if "acc" in name.lower() and "train" not in name.lower():
            share = float(value)
            return name, share / 100 if 1 < share <= 100 else share
    return "", None
