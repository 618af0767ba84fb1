"""Class activation maps while a model trains: ``Trainer(callbacks=[CAMMonitor()])``."""

from lightning_cam.attribution.evidence import Evidence
from lightning_cam.attribution.methods.table import METHODS
from lightning_cam.attribution.targets import TARGETS
from lightning_cam.callbacks.monitor import CAMMonitor
from lightning_cam.data.probe import Probe
from lightning_cam.explainer import explain
from lightning_cam.explanation import Explanation
from lightning_cam.loggers.backends import LOGGERS
from lightning_cam.metrics.statistics import STATISTICS
from lightning_cam.report.page import write_report
from lightning_cam.shortcuts.cues import CUES
from lightning_cam.shortcuts.find import find_shortcuts
from lightning_cam.shortcuts.report import ShortcutReport

__version__ = "0.1.0"
__all__ = [
    "CUES",
    "LOGGERS",
    "METHODS",
    "STATISTICS",
    "TARGETS",
    "CAMMonitor",
    "Evidence",
    "Explanation",
    "Probe",
    "ShortcutReport",
    "explain",
    "find_shortcuts",
    "write_report",
]
