"""Which scalars are logged: few by default, never NaN, and none that was not measured."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from lightning_cam.metrics.statistics import STATISTICS
from lightning_cam.registry import did_you_mean
from lightning_cam.report.record import ACCURACY, SUMMARY, RunRecord
from lightning_cam.shortcuts.cues import CUES
from lightning_cam.shortcuts.partial_input import PARTS

BUILT_IN = frozenset(STATISTICS)  # before a user adds some
DEFAULT = ("border_mass", "drift_last", "blank", "mass_inside", ACCURACY, SUMMARY)


def known_names() -> list[str]:
    """All scalars that a run may have, without the monitor's prefix."""
    tests = [*(f"shortcut/{cue}" for cue in CUES), *(f"agreement/{part}" for part in PARTS)]
    return [*STATISTICS, "blank", ACCURACY, SUMMARY, *tests]


def check_scalars(scalars: str | Sequence[str]) -> tuple[str, ...]:
    """The choice as a tuple of names or prefixes.

    Raises:
        TypeError: It is neither "default", nor "all", nor a list of texts.
        ValueError: No scalar has such a name or prefix; the message names the closest one.
    """
    chosen = (scalars,) if scalars in ("default", "all") else scalars
    if isinstance(chosen, str) or not isinstance(chosen, Sequence):
        raise TypeError(
            f'scalars: got {scalars!r}; give "default", "all", or a list of names or prefixes, such as '
            '["default", "entropy"].'
        )
    names = [*known_names(), "default", "all"]
    for key in chosen:
        if not (isinstance(key, str) and key and any(name.startswith(key) for name in names)):
            hint = did_you_mean(str(key), names) or f"; there are {', '.join(names)}."
            raise ValueError(f"scalars: no scalar {key!r}{hint}")
    return tuple(chosen)


def is_chosen(name: str, chosen: Iterable[str]) -> bool:
    """Whether a scalar is logged; by default also statistics of the user's own."""
    is_own = name in STATISTICS and name not in BUILT_IN
    return any(
        key == "all" or (name in DEFAULT or is_own if key == "default" else name.startswith(key))
        for key in chosen
    )


def watched_names(trainer: Any, prefix: str) -> set[str]:
    """What other callbacks and the learning rate schedulers watch (``monitor="cam/entropy"``), without the
    prefix.
    """
    others = [getattr(callback, "monitor", None) for callback in trainer.callbacks]
    schedules = [config.monitor for config in trainer.lr_scheduler_configs]
    start = f"{prefix}/"
    return {
        key.removeprefix(start)
        for key in (*others, *schedules)
        if isinstance(key, str) and key.startswith(start)
    }


def logged_scalars(
    record: RunRecord, chosen: Iterable[str], watched: Collection[str] = ()
) -> dict[str, float]:
    """The last values of the chosen scalars, by name without the monitor's prefix.

    What was not measured is not logged. What others watch is there from the first validation on, as 0 until
    it was measured: a key that is missing makes ``EarlyStopping`` raise.
    """
    awaited = dict.fromkeys((name for name in known_names() if name in watched), 0.0)
    known = {
        name: value for name, value in record.scalars.items() if name in watched or is_chosen(name, chosen)
    }
    return {**awaited, **known}
