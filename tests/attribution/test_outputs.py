"""Class scores in what a network returns."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.batches import FEATURES, LABELS, SCORES
from torch import Tensor
from torch.testing import assert_close

from lightning_cam.attribution.outputs import read_scores
from lightning_cam.attribution.task import TASKS

SINGLE = torch.tensor([-0.5, 2.0, 0.0, 1e-3])


@pytest.mark.parametrize(
    "output",
    [
        SINGLE,
        SINGLE[:, None],
        {"loss": torch.tensor(0.3), "logits": SINGLE[:, None]},
        (None, SINGLE),
        SimpleNamespace(logits=SINGLE),
    ],
    ids=["n", "n 1", "dict", "tuple", "object"],
)
def test_one_score_per_image_becomes_two_classes(output: Any) -> None:
    scores = read_scores(output)
    assert_close(scores, torch.stack([-SINGLE, SINGLE], dim=1), rtol=0, atol=0)
    # The prediction is that of the logit's sign, and the softmax of half the scores its sigmoid.
    assert_close((scores / 2).softmax(dim=1)[:, 1], SINGLE.sigmoid())


def test_one_score_per_image_where_the_user_says() -> None:
    assert_close(
        read_scores({"other": SCORES, "disease": SINGLE}, "disease"), torch.stack([-SINGLE, SINGLE], dim=1)
    )
    assert_close(read_scores(SCORES, lambda output: output[:, 0])[:, 1], SCORES[:, 0])


def test_scores_of_all_classes_come_before_a_single_one() -> None:
    assert read_scores((SINGLE, SCORES)) is SCORES
    assert read_scores((SINGLE[:, None], SCORES)) is SCORES
    assert read_scores({"logits": SINGLE, "answer": SCORES}) is SCORES


def test_a_single_score_keeps_its_graph() -> None:
    single = SINGLE.clone().requires_grad_()
    read_scores(single)[:, 1].sum().backward()
    assert_close(single.grad, torch.ones(4))


@pytest.mark.parametrize("shape", [(4, 5, 8, 8), (4, 1, 8, 8), (4, 5, 7), (4, 5, 2, 2, 2)], ids=str)
def test_scores_at_positions_only_where_any_shape_will_do(shape: tuple[int, ...]) -> None:
    dense = torch.rand(shape)
    for output in (
        dense,
        {"out": dense, "aux": torch.rand(shape)},
        (None, dense),
        SimpleNamespace(logits=dense),
    ):
        assert read_scores(output, any_shape=True) is dense
        with pytest.raises(ValueError, match=r"scores: no class scores \(n, C\) found"):
            read_scores(output)
    assert read_scores({"maps": dense}, "maps", any_shape=True) is dense
    with pytest.raises(ValueError, match=r"scores: no class scores \(n, C\) found"):
        read_scores({"maps": dense}, "maps")


def test_plain_scores_come_before_those_at_positions() -> None:
    assert read_scores({"out": torch.rand(4, 5, 8, 8), "answer": SCORES}, any_shape=True) is SCORES


def test_scores_of_an_object() -> None:
    assert read_scores(SimpleNamespace(logits=SCORES, hidden=FEATURES)) is SCORES
    assert read_scores(SimpleNamespace(out=FEATURES, logits=SCORES)) is SCORES


@dataclass
class Output:
    loss: Tensor | None
    logits: Tensor
    hidden_states: tuple[Tensor, ...] | None = None


class HuggingFaceOutput(OrderedDict):
    """As transformers has it: a dataclass that is a dict, whose keys are the fields that are not None."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) is not None:
                self[field.name] = getattr(self, field.name)


HuggingFaceOutput.__annotations__ = {"loss": Tensor, "hidden": Tensor, "logits": Tensor}
HuggingFaceOutput.loss = HuggingFaceOutput.hidden = HuggingFaceOutput.logits = None
HuggingFaceOutput = dataclass(HuggingFaceOutput)

OUTPUTS = {
    "tensor": SCORES,
    "tuple": (SCORES, [torch.rand(4, 8)]),
    "list, after other things": [None, torch.tensor(0.3), torch.rand(4, 5, 5), SCORES],
    "dict": {"features": FEATURES, "logits": SCORES},
    "dict of scores": {"features": FEATURES, "scores": SCORES},
    "dict with another name": {"map": torch.rand(4, 5, 2, 2), "answer": SCORES},
    "dataclass": Output(torch.tensor(0.3), SCORES, (FEATURES,)),
    "dataclass and dict": HuggingFaceOutput(hidden=FEATURES, logits=SCORES),
    "named tuple": namedtuple("Answer", "features logits")(FEATURES, SCORES),
}


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS.keys())
def test_scores_are_found(output: Any) -> None:
    assert_close(read_scores(output), SCORES)


def test_scores_where_the_user_says() -> None:
    assert_close(read_scores((FEATURES, SCORES), 1), SCORES)
    assert_close(read_scores({"logits": FEATURES, "answer": SCORES}, "answer"), SCORES)
    assert_close(read_scores({"heads": [FEATURES, SCORES]}, lambda output: output["heads"][1]), SCORES)
    assert_close(read_scores(SimpleNamespace(logits=SCORES), "logits"), SCORES)


def test_scores_keep_their_graph_and_precision() -> None:
    scores = SCORES.bfloat16().requires_grad_()
    assert read_scores((FEATURES.long(), scores)) is scores


NO_SCORES = {
    "whole numbers": (LABELS[:, None], r"which is .*int64 tensor \(4, 1\)"),
    "maps": ({"out": torch.rand(4, 5, 8, 8)}, r"which is a dict of 'out': a float32 tensor \(4, 5, 8, 8\)"),
    "object": (
        SimpleNamespace(answer=SCORES),
        r"which is a SimpleNamespace; say where they are with scores=",
    ),
    "object without scores": (
        SimpleNamespace(logits=LABELS),
        r"which is a SimpleNamespace; say where they are with scores=",
    ),
    "nothing": (None, "which is a NoneType"),
    "nested": (([SCORES],), r"which is a tuple of a list of a float32 tensor"),
}


@pytest.mark.parametrize(("output", "words"), NO_SCORES.values(), ids=NO_SCORES.keys())
def test_no_scores_says_what_the_output_is(output: Any, words: str) -> None:
    with pytest.raises(
        ValueError, match=r"scores: no class scores \(n, C\) found in the model's output, " + words
    ):
        read_scores(output)


def test_wrong_scores() -> None:
    with pytest.raises(ValueError, match=r"scores: no 'logits' in a tuple of a float32 tensor"):
        read_scores((SCORES,), "logits")
    with pytest.raises(ValueError, match=r"scores: no class scores \(n, C\) found"):
        read_scores({"loss": torch.tensor(1.0), "logits": SCORES}, "loss")


def test_one_number_per_image_by_its_task() -> None:
    for output in (SINGLE, SINGLE[:, None]):
        assert_close(read_scores(output, task="binary"), torch.stack([-SINGLE, SINGLE], dim=1))
        assert_close(read_scores(output, task="regression"), SINGLE[:, None])
        assert_close(read_scores(output, task="none"), SINGLE[:, None])
        with pytest.raises(ValueError, match="task: 'multiclass' needs a column per class"):
            read_scores(output, task="multiclass")
    for task in TASKS:
        assert read_scores(SCORES, task=task) is SCORES
