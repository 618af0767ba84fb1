"""Which task labels, outputs and the last operation show."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_cam.attribution.task import TASKS, OutputReading
from lightning_cam.attribution.task_decision import assumed_task, check_truth, decide_task

ONE, FIVE, MAPS = torch.rand(3), torch.rand(3, 5), torch.rand(3, 5, 4, 4)
FLAGS = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]])
UNKNOWN = torch.where(FLAGS == 1, 1.0, math.nan)

CASES: dict[str, tuple[Tensor, Tensor | None, str, Any, str]] = {
    "classes": (FIVE, torch.tensor([0, 4, 2]), "", "label", "multiclass"),
    "classes as floats": (FIVE, torch.tensor([0.0, 4.0, 2.0]), "", "label", "multiclass"),
    "one against the rest": (FIVE, torch.tensor([0, 4, 2]), "sigmoid", "label", "multiclass"),
    "several labels": (FIVE, FLAGS, "", "label", "multilabel"),
    "several labels, floating": (FIVE, FLAGS.double(), "", "label", "multilabel"),
    "several labels behind a sigmoid": (FIVE, FLAGS, "sigmoid", "label", "multilabel"),
    "several labels, some not known": (FIVE, UNKNOWN, "", "label", "multilabel"),
    "several labels, -1 where not known": (FIVE, FLAGS - (FLAGS == 0).long(), "", "label", "multilabel"),
    "numbers for several outputs": (FIVE, torch.rand(3, 5), "", "label", "regression"),
    "numbers": (ONE, torch.tensor([0.5, 1.25, 3.0]), "", "label", "regression"),
    "numbers for several columns": (FIVE, torch.tensor([0.5, 1.25, 3.0]), "", "label", "regression"),
    "whole numbers for one output": (ONE, torch.tensor([30, 45, 1]), "", "label", "regression"),
    "whole numbers for one column": (ONE[:, None], torch.tensor([30, 45, 1]), "", "label", "regression"),
    "a bounded regression": (ONE, torch.tensor([0.5, 0.25, 0.0]), "sigmoid", "label", "regression"),
    "yes or no": (ONE, torch.tensor([1, 0, 1]), "", "label", "binary"),
    "yes or no, floating": (ONE[:, None], torch.tensor([1.0, 0.0, 1.0]), "sigmoid", "label", "binary"),
    "a sigmoid alone": (ONE, None, "sigmoid", "predicted", "binary"),
    "one output alone": (ONE, None, "", "predicted", "binary"),
    "the output is asked for": (ONE, None, "", "output", "regression"),
    "columns alone": (FIVE, None, "", "predicted", "multiclass"),
    "softmax alone": (FIVE, None, "softmax", "predicted", "multiclass"),
    "a function reads it": (FIVE, None, "sigmoid", lambda scores, labels: scores[:, 0], "multiclass"),
    "positions": (MAPS, None, "sigmoid", "predicted", "multiclass"),
}


@pytest.mark.parametrize(
    ("outputs", "labels", "operation", "target", "expected"), CASES.values(), ids=CASES.keys()
)
def test_the_task(outputs: Tensor, labels: Tensor | None, operation: str, target: Any, expected: str) -> None:
    assert decide_task(outputs, labels, operation, target) == expected


def test_where_several_tasks_fit_it_asks() -> None:
    message = (
        "task: the network's 5 outputs end in a sigmoid, .*; give task='multilabel', or task='multiclass'"
    )
    with pytest.raises(ValueError, match=message):
        decide_task(FIVE, None, "sigmoid", "predicted")
    with pytest.raises(ValueError, match=r"labels: got whole numbers \(3, 5\) that are not all 0 or 1"):
        decide_task(FIVE, 2 * FLAGS, "", "label")


def test_what_is_assumed_is_said() -> None:
    assert assumed_task(OutputReading("binary"), None)[0].startswith(
        "task: one output per image is read as the logit"
    )
    assert assumed_task(OutputReading("binary", "sigmoid"), None) == ()
    assert assumed_task(OutputReading("binary"), torch.tensor([0, 1])) == ()
    assert assumed_task(OutputReading("multiclass"), None) == ()


def test_labels_take_the_form_of_their_task() -> None:
    labels = torch.tensor([0, 1, 2])
    assert check_truth(labels, 5, "multiclass") is labels
    assert check_truth(labels, 1, "regression").dtype == torch.float32
    assert check_truth(FLAGS, 5, "multilabel").dtype == torch.float32
    assert check_truth(labels, 5, "none") is None


@pytest.mark.parametrize(
    ("labels", "columns", "task", "message"),
    [
        (torch.tensor([0, 1, 2]), 5, "multilabel", r"an int64 tensor \(3,\) for 5 outputs, and the task is 'multilabel'"),
        (FLAGS, 4, "multilabel", r"an int64 tensor \(3, 5\) for 4 outputs, and the task is 'multilabel'; give zeros and"),
        (FLAGS, 5, "multiclass", r"an int64 tensor \(3, 5\), and the task is 'multiclass'; give a whole number"),
        (torch.rand(3), 2, "binary", r"a float32 tensor \(3,\), and the task is 'binary'; give 0 or 1 per image"),
    ],
)  # fmt: skip
def test_labels_that_do_not_fit(labels: Tensor, columns: int, task: str, message: str) -> None:
    with pytest.raises(ValueError, match="labels: got " + message):
        check_truth(labels, columns, task)
    assert task in TASKS
