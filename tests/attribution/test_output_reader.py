"""How a network's outputs become scores."""

import torch
from torch.testing import assert_close

from lightning_cam.attribution.config import ModelConfig
from lightning_cam.attribution.output_reader import OutputReader

LOGITS = torch.randn(6, 1, generator=torch.Generator().manual_seed(0))
ASKED = {"task": "auto", "activation": "auto"}


def test_a_sigmoid_is_undone_once_it_was_seen() -> None:
    """A forward without grad shows no graph; what an earlier one showed still holds."""
    reader = OutputReader(ModelConfig(**ASKED), "label", torch.tensor([0, 1, 1, 0, 1, 0]))
    expected = torch.cat([-LOGITS, LOGITS], dim=1)
    assert_close(reader.scores_of(LOGITS.clone().requires_grad_().sigmoid()).detach(), expected)
    assert (reader.reading.task, reader.reading.activation) == ("binary", "sigmoid")
    assert_close(reader.scores_of(LOGITS.sigmoid()), expected)


def test_the_task_is_decided_once() -> None:
    reader = OutputReader(ModelConfig(**ASKED), "label", torch.tensor([30.5, 41, 52, 63, 20, 8]))
    assert_close(reader.scores_of(LOGITS), LOGITS)
    assert (reader.reading.task, reader.reading.activation) == ("regression", "")


def test_what_the_user_says_wins() -> None:
    reader = OutputReader(ModelConfig(**{**ASKED, "task": "regression"}), "label", torch.tensor([0, 1] * 3))
    assert_close(reader.scores_of(LOGITS[:, 0]), LOGITS)
