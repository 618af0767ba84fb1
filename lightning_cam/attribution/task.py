"""Tasks: what a label is, what is predicted, with which confidence, what is right; each a row in ``TASKS``.

The keys are torchmetrics' words. Everything that captions, frames, statistics, the report and the shortcut
tests need to know of a task stands in its row.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_cam.registry import did_you_mean
from lightning_cam.typing import Labels, Outputs, PerImage, Scores, Truth

AUTO = "auto"
SIGMOID = "sigmoid"


@dataclass(frozen=True)
class OutputReading:
    """How a network's outputs are read.

    Args:
        task: A key of ``TASKS``; "auto" where nothing was read yet.
        activation: What ends the network and is undone: "sigmoid", or nothing.
    """

    task: str = AUTO
    activation: str = ""


UNREAD = OutputReading()


@dataclass(frozen=True)
class Task:
    """A row of ``TASKS``.

    Args:
        name: Its key.
        label: What a label is, in the words of a message.
        target: The row of ``TARGETS`` that is explained where nothing else is asked.
        columns: The network's output, one number per image (n,) or (n, 1), or (n, C, ...), as scores
            (n, C, ...).
        confidences: Of each column, in [0, 1]; None where a score is no logit, and stands for itself.
        right: ``(scores, labels) -> (n,)`` the share of an image's labels that is answered rightly, in [0,
            1]; NaN where no label is known. None where nothing is right or wrong.
        has_classes: Whether a column is a class, which may have a name.
        several: Whether an image may have several labels, (n, C).
    """

    name: str
    label: str
    target: str
    columns: Callable[[Tensor], Outputs]
    confidences: Callable[[Scores], Scores] | None
    right: Callable[[Scores, Truth], PerImage] | None
    has_classes: bool
    several: bool = False

    def shares(self, scores: Scores) -> Scores | None:
        """The confidence of each column, in [0, 1]; None where scores stand for themselves, as they do where
        one column alone would be sure of itself.
        """
        alone = scores.shape[1] == 1 and not self.several
        return None if self.confidences is None or alone else self.confidences(scores)

    def answers(self, scores: Scores) -> tuple[Labels, PerImage]:
        """What is predicted (n,): the column with the largest score, and its confidence in [0, 1]; where
        scores stand for themselves, column 0 and its score.
        """
        shares = self.shares(scores)
        if shares is None:
            return torch.zeros(len(scores), dtype=torch.int64, device=scores.device), scores[:, 0]
        confidence, predicted = shares.max(dim=1)
        return predicted, confidence

    def share_right(self, scores: Scores, labels: Truth | None) -> PerImage:
        """(n,) the share of each image's labels that is answered rightly, in [0, 1]; NaN where nobody knows,
        or where nothing is right or wrong.
        """
        if labels is None or self.right is None:
            return torch.full((len(scores),), torch.nan, device=scores.device)
        return self.right(scores, labels)


def single_logit(outputs: Tensor) -> Outputs:
    """A binary head's logit, (n,) or (n, 1), as two scores that are each other's negative; (n, 2) stays.

    Their softmax, at half their size, is the logit's sigmoid.
    """
    if outputs.ndim == 1:
        outputs = outputs[:, None]
    return torch.cat([-outputs, outputs], dim=1) if outputs.shape[1:] == (1,) else outputs


def class_columns(outputs: Tensor) -> Outputs:
    """One column per class, as they are.

    Raises:
        ValueError: There is one number per image.
    """
    if outputs.ndim == 1 or outputs.shape[1] == 1:
        raise ValueError(
            "task: 'multiclass' needs a column per class, and the network has one output; "
            "give task='binary' for a logit, or task='regression' for a number."
        )
    return outputs


def one_column(outputs: Tensor) -> Outputs:
    """One number per image (n,) as a column (n, 1); what has columns stays."""
    return outputs[:, None] if outputs.ndim == 1 else outputs


def class_probabilities(scores: Scores) -> Scores:
    """Softmax over classes, in [0, 1]. Two scores that are each other's negative are one logit: then it is
    the sigmoid's.
    """
    single = scores.shape[1] == 2 and bool((scores[:, 0] == -scores[:, 1]).all())
    return (scores / 2 if single else scores).softmax(dim=1)


def is_answered(scores: Scores, labels: Truth) -> PerImage:
    """1 where the largest score is the label's, 0 where not."""
    return (scores.argmax(dim=1) == labels).to(scores.dtype)


def share_answered(scores: Scores, labels: Truth) -> PerImage:
    """Share of an image's labels (n, C), zeros and ones, that have the sign of their logit, in [0, 1].

    What is NaN or negative is not known and does not count; NaN where none is known.
    """
    known = labels >= 0
    right = ((scores > 0) == (labels > 0.5)) & known
    return right.sum(dim=1) / known.sum(dim=1)


MULTICLASS = Task(
    name="multiclass",
    label="a whole number per image",
    target="label",
    columns=class_columns,
    confidences=class_probabilities,
    right=is_answered,
    has_classes=True,
)
BINARY = Task(
    name="binary",
    label="0 or 1 per image",
    target="label",
    columns=single_logit,
    confidences=class_probabilities,
    right=is_answered,
    has_classes=True,
)
MULTILABEL = Task(
    name="multilabel",
    label="zeros and ones (n, C), one per image and class",
    target="label",
    columns=one_column,
    confidences=torch.sigmoid,
    right=share_answered,
    has_classes=True,
    several=True,
)
REGRESSION = Task(
    name="regression",
    label="a number per image, or one per output",
    target="output",
    columns=one_column,
    confidences=None,
    right=None,
    has_classes=False,
)
NONE = Task(
    name="none",
    label="none",
    target="predicted",
    columns=one_column,
    confidences=class_probabilities,
    right=None,
    has_classes=True,
)
TASKS: dict[str, Task] = {row.name: row for row in (MULTICLASS, BINARY, MULTILABEL, REGRESSION, NONE)}


def before_sigmoid(probabilities: Tensor) -> Tensor:
    """Logits ``log(p / (1 - p))`` of probabilities, at least float32.

    Finite also at 0 and 1, which are taken as the closest numbers inside that the probabilities' dtype has.
    """
    limits = torch.finfo(probabilities.dtype)
    precise = probabilities.to(torch.promote_types(probabilities.dtype, torch.float32))
    inside = precise.clamp(limits.tiny, 1 - limits.eps / 2)
    return inside.log() - (-inside).log1p()


def check_task(task: object) -> str:
    """A key of ``TASKS``, or "auto", which decides by the losses, the outputs and the labels.

    Raises:
        TypeError: It is no text.
        ValueError: No such task.
    """
    names = [AUTO, *TASKS]
    if not isinstance(task, str):
        raise TypeError(f"task: got {task!r}; give one of {', '.join(names)}.")
    if task not in names:
        hint = did_you_mean(task, names) or f"; there are {', '.join(names)}."
        raise ValueError(f"task: no task {task!r}{hint}")
    return task
