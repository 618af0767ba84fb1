"""Which kind of task a step has: told by the loss, else assumed from the labels."""

from torch import Tensor

from lightning_cam.data.losses import CLASSES, NUMBERS, YES_OR_NO, SeenLoss, Target

MULTICLASS, BINARY, MULTILABEL, REGRESSION, NONE = "multiclass", "binary", "multilabel", "regression", "none"


def task_of_loss(loss: SeenLoss, source: Tensor | None, activations: tuple[str, ...] = ()) -> str:
    """The task of a loss whose target comes from the batch.

    Args:
        source: The part of the batch that the target derives from; it shows whether zeros and ones were made
            of whole numbers.
        activations: Those that were applied to the output before the loss took it.
    """
    shape, compares = loss.answer.shape, loss.kind.compares
    if compares == CLASSES:
        return MULTICLASS
    is_one_class = _is_one_hot_of_numbers(loss.target, source)
    if compares == YES_OR_NO:
        columns = shape[1] if len(shape) > 1 else 1
        if columns == 1:
            return BINARY
        return MULTICLASS if is_one_class else MULTILABEL
    if compares == NUMBERS:
        # The Brier score, or a fit of zeros and ones by least squares.
        return (
            MULTICLASS if is_one_class or ("softmax" in activations and loss.target.is_whole) else REGRESSION
        )
    return NONE


def task_of_labels(target: Target, source: Tensor | None, shape: tuple[int, ...]) -> str:
    """The task that the labels look like, where no loss was seen.

    Args:
        shape: Of the scores.
    """
    values = target.values if target.values is not None else source
    if values is None:
        return MULTICLASS if target.is_whole else NONE
    columns = shape[1] if len(shape) > 1 else 1
    are_flags = bool(((values == 0) | (values == 1)).all())
    if columns == 1:
        return BINARY if are_flags else REGRESSION
    if values.ndim == 2 and values.shape[1] == columns:
        return (
            (MULTICLASS if _is_one_hot_of_numbers(target, source) else MULTILABEL)
            if are_flags
            else REGRESSION
        )
    is_whole = target.is_whole or bool((values == values.round()).all())
    return MULTICLASS if is_whole else REGRESSION


def is_ordered(target: Target, source: Tensor | None) -> bool:
    """Whether the targets are thresholds (y > 0, y > 1, ...) of one number per image."""
    values = target.values
    if (
        values is None
        or source is None
        or values.ndim != 2
        or values.shape[1] < 2
        or source.numel() != len(values)
    ):
        return False
    return bool((values[:, 1:] <= values[:, :-1]).all()) and not _is_one_hot_of_numbers(target, source)


def _is_one_hot_of_numbers(target: Target, source: Tensor | None) -> bool:
    values = target.values
    if values is None or source is None or values.ndim != 2 or values.shape[1] < 2:
        return False
    if source.is_floating_point() or source.numel() != len(values):
        return False
    return bool(((values == 0) | (values == 1)).all()) and bool((values.sum(dim=1) == 1).all())
