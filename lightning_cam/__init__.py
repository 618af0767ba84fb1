"""Class activation maps while a model trains: ``Trainer(callbacks=[CAMMonitor()])``.

A public name is imported when it is first used: ``explain`` needs neither Lightning nor TensorBoard.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_cam.attribution.evidence import Evidence
    from lightning_cam.attribution.methods.table import METHODS
    from lightning_cam.attribution.targets import TARGETS
    from lightning_cam.callbacks.monitor import CAMMonitor
    from lightning_cam.callbacks.settings import Inputs, ShortcutTests
    from lightning_cam.data.probe import Probe
    from lightning_cam.data.sampler import SAMPLERS
    from lightning_cam.explainer import explain
    from lightning_cam.explanation import Explanation
    from lightning_cam.loggers.backends import LOGGERS
    from lightning_cam.metrics.statistics import STATISTICS, MapContext
    from lightning_cam.report.page import write_report
    from lightning_cam.shortcuts.cue_images import CueImages
    from lightning_cam.shortcuts.cues import CUES, Cue, Pair
    from lightning_cam.shortcuts.find import find_shortcuts
    from lightning_cam.shortcuts.findings import Finding
    from lightning_cam.shortcuts.predictivity import predictivity
    from lightning_cam.shortcuts.report import ShortcutReport
    from lightning_cam.visualization.pictures import PICTURES
    from lightning_cam.visualization.style import Style

__version__ = "0.1.0"
__all__ = [
    "CUES",
    "LOGGERS",
    "METHODS",
    "PICTURES",
    "SAMPLERS",
    "STATISTICS",
    "TARGETS",
    "CAMMonitor",
    "Cue",
    "CueImages",
    "Evidence",
    "Explanation",
    "Finding",
    "Inputs",
    "MapContext",
    "Pair",
    "Probe",
    "ShortcutReport",
    "ShortcutTests",
    "Style",
    "explain",
    "find_shortcuts",
    "predictivity",
    "write_report",
]

# Where each public name is defined; the imports above say the same to type checkers.
_HOME = {
    "CAMMonitor": "callbacks.monitor",
    "CUES": "shortcuts.cues",
    "Cue": "shortcuts.cues",
    "CueImages": "shortcuts.cue_images",
    "Evidence": "attribution.evidence",
    "Explanation": "explanation",
    "Finding": "shortcuts.findings",
    "Inputs": "callbacks.settings",
    "LOGGERS": "loggers.backends",
    "METHODS": "attribution.methods.table",
    "MapContext": "metrics.statistics",
    "PICTURES": "visualization.pictures",
    "Pair": "shortcuts.cues",
    "Probe": "data.probe",
    "SAMPLERS": "data.sampler",
    "STATISTICS": "metrics.statistics",
    "ShortcutReport": "shortcuts.report",
    "ShortcutTests": "callbacks.settings",
    "Style": "visualization.style",
    "TARGETS": "attribution.targets",
    "explain": "explainer",
    "find_shortcuts": "shortcuts.find",
    "predictivity": "shortcuts.predictivity",
    "write_report": "report.page",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value  # the next use does not come here
        return value
    if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}") is not None:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
