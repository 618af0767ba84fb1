"""Which task it is, where nobody says so, and whether labels fit it."""

from torch import Tensor

from lightning_cam.attribution.task import (
    BINARY,
    MULTICLASS,
    MULTILABEL,
    REGRESSION,
    SIGMOID,
    TASKS,
    OutputReading,
)
from lightning_cam.selectors import describe
from lightning_cam.typing import Truth


def decide_task(outputs: Tensor, labels: Truth | None, operation: str = "", target: object = None) -> str:
    """The task that labels, outputs and the network's last operation show.

    Several labels (n, C) of zeros and ones are multilabel; numbers, and whole numbers above 1 for one output,
    are regression; 0 and 1 for one output are binary, whole numbers for several columns multiclass. Without
    labels one output is binary, several are multiclass.

    Args:
        outputs: (n,) or (n, C, ...), as the network yields them.
        labels: (n,) or (n, C); None where nobody knows them. What is NaN is not known.
        operation: The last one, as ``last_operation`` names it.
        target: What is explained: "output" is that of a regression; a function reads the outputs itself.

    Raises:
        ValueError: Several columns end in a sigmoid, and no labels tell whether they are several labels or
            classes; or labels (n, C) are whole numbers other than 0 and 1.
    """
    columns = outputs.shape[1] if outputs.ndim > 1 else 1
    if target == "output":
        return REGRESSION.name
    is_whole = labels is not None and bool(((labels == labels.round()) | labels.isnan()).all())
    if labels is not None and labels.ndim == 2 and is_whole and not are_flags(labels):
        raise ValueError(
            f"labels: got whole numbers {tuple(labels.shape)} that are not all 0 or 1; give zeros and ones "
            "for several labels per image, or say task='regression' where they are numbers."
        )
    if labels is not None and labels.ndim == 2:
        return MULTILABEL.name if are_flags(labels) else REGRESSION.name
    if labels is not None and columns == 1:
        return BINARY.name if are_flags(labels) else REGRESSION.name
    if labels is not None:
        return MULTICLASS.name if is_whole else REGRESSION.name
    if columns > 1 and operation == SIGMOID and outputs.ndim == 2 and not callable(target):
        raise ValueError(
            f"task: the network's {columns} outputs end in a sigmoid, and no labels tell whether "
            "an image may have several; give task='multilabel', or task='multiclass' where it has one."
        )
    return MULTICLASS.name if columns > 1 else BINARY.name


def undoes_sigmoid(outputs: Tensor, reading: OutputReading, target: object) -> bool:
    """Whether a sigmoid at the network's end is undone: that of classes; a function of the user's own reads
    several columns as they are.
    """
    is_single = outputs.ndim == 1 or outputs.shape[1:] == (1,)
    is_plain = is_single or (outputs.ndim == 2 and not callable(target))
    return reading.activation == SIGMOID and is_plain and TASKS[reading.task].has_classes


def are_flags(labels: Truth) -> bool:
    """Whether labels are zeros and ones, but for those that are not known: NaN, or -1."""
    return bool(((labels == 0) | (labels == 1) | (labels == -1) | labels.isnan()).all())


def assumed_task(reading: OutputReading, labels: Truth | None) -> tuple[str, ...]:
    """A note on what was assumed of the task that ``decide_task`` chose; none where something told it."""
    if labels is not None or reading.activation or reading.task != BINARY.name:
        return ()
    return (
        "task: one output per image is read as the logit of a binary head; "
        "give task='binary' where that is so, or task='regression'",
    )


def check_truth(labels: Truth, columns: int, task: str) -> Truth | None:
    """The labels as the task has them; None where it has none.

    Raises:
        ValueError: Their shape or their values do not fit.
    """
    row = TASKS[task]
    if row.right is None and row.has_classes:
        return None
    remedy = f"give {row.label} for task={task!r}, or another task."
    if row.several and labels.shape[1:] != (columns,):
        raise ValueError(
            f"labels: got {describe(labels)} for {columns} outputs, and the task is {task!r}; " + remedy
        )
    if row.has_classes and not row.several and (labels.ndim > 1 or labels.is_floating_point()):
        raise ValueError(f"labels: got {describe(labels)}, and the task is {task!r}; {remedy}")
    return labels if row.has_classes and not row.several else labels.float()
