"""Class activation maps while a model trains: ``Trainer(callbacks=[CAMMonitor()])``."""

from lightning_cam.callback import CAMMonitor
from lightning_cam.evidence import Evidence
from lightning_cam.explain import explain
from lightning_cam.explanation import Explanation
from lightning_cam.functional.cues import CUES
from lightning_cam.functional.methods import METHODS
from lightning_cam.functional.statistics import STATISTICS
from lightning_cam.functional.targets import TARGETS
from lightning_cam.loggers import LOGGERS
from lightning_cam.page import write_report
from lightning_cam.probe import Probe
from lightning_cam.shortcut_report import ShortcutReport
from lightning_cam.shortcuts import find_shortcuts

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
