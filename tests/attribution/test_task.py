"""Tasks: what scores and labels mean, row by row."""

import math
from typing import Any

import pytest
import torch
from reference import tasks as book
from torch.testing import assert_close

from lightning_cam.attribution.task import TASKS, before_sigmoid, check_task, class_probabilities

SCORES = torch.tensor([[0.5, -1.0, 2.0], [-3.0, -2.0, -7.0], [1.0, 1.5, -0.1]])
LOGIT = torch.tensor([-0.5, 2.0, 0.25])
SEVERAL = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, math.nan], [math.nan, -1.0, math.nan]])


def test_rows_have_the_words_of_torchmetrics() -> None:
    assert list(TASKS) == ["multiclass", "binary", "multilabel", "regression", "none"]
    assert all(name == row.name for name, row in TASKS.items())


def test_class_probabilities() -> None:
    expected = torch.tensor([book.softmax(scores) for scores in SCORES.tolist()])
    assert_close(class_probabilities(SCORES), expected)
    both = TASKS["binary"].columns(LOGIT)
    assert_close(both, torch.stack([-LOGIT, LOGIT], dim=1))
    assert_close(
        class_probabilities(both)[:, 1], torch.tensor([book.sigmoid(value) for value in LOGIT.tolist()])
    )
    assert_close(class_probabilities(SCORES[:, :2]), SCORES[:, :2].softmax(dim=1))


def test_answers() -> None:
    predicted, confidence = TASKS["multiclass"].answers(SCORES)
    assert predicted.tolist() == [2, 1, 1]
    assert_close(confidence, SCORES.softmax(dim=1).amax(dim=1))
    predicted, confidence = TASKS["multilabel"].answers(SCORES)
    assert predicted.tolist() == [2, 1, 1]
    assert_close(confidence, torch.tensor([book.sigmoid(value) for value in (2.0, -2.0, 1.5)]))
    predicted, confidence = TASKS["regression"].answers(SCORES)
    assert predicted.tolist() == [0, 0, 0]
    assert_close(confidence, SCORES[:, 0])


@pytest.mark.parametrize("task", ["none", "regression"])
def test_one_number_alone_is_never_a_certain_class(task: str) -> None:
    scores = TASKS[task].columns(LOGIT)
    assert scores.shape == (3, 1)
    assert TASKS[task].shares(scores) is None
    assert_close(TASKS[task].answers(scores)[1], LOGIT)


def test_share_right() -> None:
    assert TASKS["multiclass"].share_right(SCORES, torch.tensor([2, 0, 1])).tolist() == [1, 0, 1]
    assert TASKS["binary"].share_right(TASKS["binary"].columns(LOGIT), torch.tensor([0, 1, 0])).tolist() == [
        1,
        1,
        0,
    ]
    expected = [book.share_right(*row) for row in zip(SCORES.tolist(), SEVERAL.tolist(), strict=True)]
    assert_close(TASKS["multilabel"].share_right(SCORES, SEVERAL), torch.tensor(expected), equal_nan=True)
    for task in ("regression", "none"):
        assert TASKS[task].share_right(SCORES, torch.tensor([2, 0, 1])).isnan().all()
    assert TASKS["multiclass"].share_right(SCORES, None).isnan().all()


def test_before_a_sigmoid() -> None:
    inside = torch.tensor([0.1, 0.5, 0.999, 1e-6])
    assert_close(
        before_sigmoid(inside), torch.tensor([book.logit(value) for value in inside.double().tolist()])
    )
    assert_close(before_sigmoid(LOGIT.double().sigmoid()), LOGIT.double())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_before_a_saturated_sigmoid_the_logit_is_finite(dtype: torch.dtype) -> None:
    found = before_sigmoid(torch.tensor([0.0, 1.0], dtype=dtype))
    assert found.isfinite().all()
    assert found.dtype == torch.promote_types(dtype, torch.float32)
    closest = 1 - torch.finfo(dtype).eps / 2
    assert_close(found[1].item(), book.logit(closest))
    assert found[0] < -found[1] < 0


def test_multiclass_needs_a_column_per_class() -> None:
    message = (
        "task: 'multiclass' needs a column per class, and the network has one output; give task='binary'"
    )
    with pytest.raises(ValueError, match=message):
        TASKS["multiclass"].columns(LOGIT)


@pytest.mark.parametrize(
    ("task", "error", "message"),
    [
        ("multilable", ValueError, r"^task: no task 'multilable'; did you mean 'multilabel'\?$"),
        ("segmentation", ValueError, r"^task: no task 'segmentation'"),
        (3, TypeError, "^task: got 3; give one of auto, multiclass, binary, multilabel, regression, none"),
    ],
)
def test_wrong_tasks(task: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check_task(task)


def test_tasks_that_are_known() -> None:
    assert [check_task(task) for task in ("auto", *TASKS)] == ["auto", *TASKS]
