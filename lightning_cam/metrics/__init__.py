"""Numbers of maps: statistics of a saliency map, and measures of how faithful it is to the model."""

from lightning_cam.metrics.faithfulness import (
    average_drop,
    deletion,
    increase_in_confidence,
    insertion,
    road,
    road_curves,
)
from lightning_cam.metrics.randomization import parameter_randomization
from lightning_cam.metrics.statistics import STATISTICS, MapContext

__all__ = [
    "STATISTICS",
    "MapContext",
    "average_drop",
    "deletion",
    "increase_in_confidence",
    "insertion",
    "parameter_randomization",
    "road",
    "road_curves",
]
