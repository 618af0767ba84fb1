"""How a network's outputs become scores: the task and the last operation, decided at the first outputs."""

from typing import Any

from torch import Tensor

from lightning_cam.attribution.config import ModelConfig
from lightning_cam.attribution.last_operation import last_operation
from lightning_cam.attribution.task import AUTO, SIGMOID, TASKS, OutputReading, before_sigmoid
from lightning_cam.attribution.task_decision import decide_task, undoes_sigmoid
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
        is_undone = undoes_sigmoid(found, self.reading, self.target)
        return TASKS[self.task].columns(before_sigmoid(found) if is_undone else found)

    @property
    def knows_activation(self) -> bool:
        """Whether it is known what ends the network."""
        return self.activation != AUTO

    def end_search(self) -> None:
        """Nothing has shown what ends the network, and nothing will."""
        self.activation = self.activation if self.knows_activation else ""

    @property
    def reading(self) -> OutputReading:
        """How the outputs are read, once they were."""
        return OutputReading(self.task, SIGMOID if self.activation == SIGMOID else "")
