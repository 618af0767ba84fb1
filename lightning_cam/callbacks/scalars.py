"""Which scalars are logged: never NaN, and never missing once the first look is done, as others may watch
them.
"""

from lightning_cam.callbacks.settings import Settings
from lightning_cam.metrics.statistics import STATISTICS
from lightning_cam.report.record import SUMMARY, RunRecord
from lightning_cam.shortcuts.partial_input import PARTS

# What tests tell whatever they find. The reliance on a cue is there once that cue was tested.
OF_TESTS = (SUMMARY, *(f"agreement/{name}" for name in PARTS))


def scalars(record: RunRecord, settings: Settings, is_off: bool) -> dict[str, float]:
    """The last scalars, by name without the monitor's prefix.

    Where no look has come, or none will, also those that a look might bring, as 0: a key that is missing
    makes ``EarlyStopping`` raise.
    """
    may_be_tested = record.probe is None or record.probe.images.ndim == 4
    awaited = OF_TESTS if settings.cues and may_be_tested else ()
    if record.has_looked and not is_off:
        # Tests may have to wait for a whole validation, or be impossible.
        return {**dict.fromkeys(awaited, 0.0), **record.scalars}
    return {**dict.fromkeys([*_of_looks(record), "blank", *awaited], 0.0), **record.scalars}


def _of_looks(record: RunRecord) -> list[str]:
    may_have_masks = record.probe is None or record.probe.masks is not None
    rows = STATISTICS.items()
    return [name for name, row in rows if may_have_masks or not getattr(row, "needs_masks", False)]
