"""How a network's outputs become scores: the task and the last operation, decided at the first outputs."""

from typing import Any

from torch import Tensor

from lightning_cam.attribution.config import ModelConfig
from lightning_cam.attribution.last_operation import last_operation
from lightning_cam.attribution.task import AUTO, SIGMOID, TASKS, OutputReading, before_sigmoid
from lightning_cam.attribution.task_decision import decide_task
from lightning_cam.typing import Outputs, Truth


class OutputReader:
    """Reads the outputs of one network.

    Args:
        config: Says the task and the activation; where they are "auto", outputs show them.
        target: What is explained.
        truth: The labels, or None.
    """

    def __init__(self, config: ModelConfig, target: Any, truth: Truth | None) -> None:
        self.target, self.truth = target, truth
        self.task, self.activation = config.task, config.activation

    def scores_of(self, found: Tensor) -> Outputs:
        """What the network yields as scores, a sigmoid undone."""
        if self.activation == AUTO and found.requires_grad:
            self.activation = last_operation(found)
        if self.task == AUTO:
            self.task = decide_task(found, self.truth, self.activation, self.target)
        return TASKS[self.task].columns(before_sigmoid(found) if self._undoes_sigmoid(found) else found)

    def _undoes_sigmoid(self, found: Tensor) -> bool:
        """Of classes; a function of the user's own reads several columns as they are."""
        is_single = found.ndim == 1 or found.shape[1:] == (1,)
        is_plain = is_single or (found.ndim == 2 and not callable(self.target))
        return self.activation == SIGMOID and is_plain and TASKS[self.task].has_classes

    @property
    def reading(self) -> OutputReading:
        """How the outputs are read, once they were."""
        return OutputReading(self.task, SIGMOID if self.activation == SIGMOID else "")
