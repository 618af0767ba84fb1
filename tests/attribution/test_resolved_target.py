"""Targets in words: names of classes, and what a target means for a task."""

from typing import Any

import pytest
import torch
from reference import tasks as book
from torch.testing import assert_close

from lightning_cam.attribution.config import ExplainConfig
from lightning_cam.attribution.resolved_target import (
    check_target,
    resolve_class_name,
    resolve_target,
    target_of_task,
)
from lightning_cam.attribution.targets import TARGETS, label_score, output_score, predicted_score

NAMES = ("Effusion", "Pneumonia", "Mass", "label")
SCORES = torch.tensor([[0.5, -1.0, 2.0], [-3.0, -2.0, -7.0]])


def test_a_class_by_its_name() -> None:
    assert resolve_class_name("Pneumonia", NAMES) == 1
    assert ExplainConfig(target="Mass").named(NAMES).target == 2
    # A row of TARGETS comes first; and what is no text stays.
    for target in ("label", 3, (1, 2), predicted_score):
        assert resolve_class_name(target, NAMES) == target


@pytest.mark.parametrize(
    ("target", "names", "message"),
    [
        ("Pneumonai", NAMES, r"^target: no target 'Pneumonai'; did you mean 'Pneumonia'\?$"),
        ("lable", None, r"^target: no target 'lable'; did you mean 'label'\?$"),
        ("xyz", NAMES, r"^target: no target 'xyz'; there are label, predicted, .*, and the names of classes\.$"),
        ("xyz", None, r"^target: no target 'xyz'; there are .*, and class names where they are given with class_names="),
        ("cat", ("cat", "dog", "cat"), r"^target: 2 classes are called 'cat'; give the index of one, such as target=0\.$"),
    ],
)  # fmt: skip
def test_no_such_class(target: str, names: tuple[str, ...] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_class_name(target, names)


def test_a_name_is_accepted_where_it_is_looked_up_later() -> None:
    assert check_target("Pneumonia", may_be_class=True) == "Pneumonia"
    with pytest.raises(ValueError, match="target: no target 'Pneumonia'"):
        check_target("Pneumonia")
    with pytest.raises(ValueError, match="target: no target ''"):
        check_target("", may_be_class=True)


@pytest.mark.parametrize(
    "target", ["label", "predicted", "output", label_score, predicted_score, output_score]
)
def test_the_target_of_a_regression_is_its_output(target: Any) -> None:
    resolved = resolve_target(target, SCORES, torch.tensor([0.7, 31.0]), "regression")
    assert resolved.classes is None
    assert_close(resolved.score(SCORES, torch.arange(2)), SCORES[:, 0])


def test_another_output_of_a_regression_by_its_index() -> None:
    resolved = resolve_target(2, SCORES, torch.tensor([0.7, 31.0]), "regression")
    assert_close(resolved.score(SCORES[[1, 0]], torch.tensor([1, 0])), SCORES[[1, 0], 2])


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in ("label", "predicted", "output")])
def test_a_regression_has_no_classes_to_weigh(name: str) -> None:
    for target in (name, TARGETS[name]):
        message = (
            f"target: '{name}' is about a class, and the task 'regression' has none; give target='output'"
        )
        with pytest.raises(ValueError, match=message):
            target_of_task(target, "regression")
        assert target_of_task(target, "multiclass") == target


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel", "none"])
def test_classes_have_no_output(task: str) -> None:
    with pytest.raises(
        ValueError, match=f"target: 'output' is the number .* and the task is '{task}'; give target="
    ):
        target_of_task("output", task)


def test_the_probability_of_one_of_several_labels_is_a_sigmoid() -> None:
    resolved = resolve_target("probability", SCORES, None, "multilabel")
    assert resolved.classes.tolist() == [2, 1]
    expected = torch.tensor([book.sigmoid(2.0), book.sigmoid(-2.0)])
    assert_close(resolved.score(SCORES, torch.arange(2)), expected)
    of_classes = resolve_target("probability", SCORES, None, "multiclass")
    assert_close(of_classes.score(SCORES, torch.arange(2)), SCORES.softmax(dim=1).amax(dim=1))


def test_labels_that_are_not_known_are_not_explained() -> None:
    labels = torch.tensor([[1.0, torch.nan, 1.0], [-1.0, 0.0, 1.0]])
    assert_close(label_score(SCORES, labels), torch.tensor([2.5, -7.0]))
