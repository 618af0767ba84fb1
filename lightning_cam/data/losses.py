"""The losses of torch that tell what a network's answer means, and what a seen one was given."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_cam.data.derivation import Derivation, Origin, Output
from lightning_cam.data.nested import Path
from lightning_cam.data.recorded_parts import copied, sampled

CLASSES, YES_OR_NO, NUMBERS, PAIRS = "classes", "yes or no", "numbers", "pairs"
LOGITS, PROBABILITIES, LOG_PROBABILITIES, VALUES = "logits", "probabilities", "log-probabilities", "values"


@dataclass(frozen=True)
class LossKind:
    """What a loss compares with its target, and in which form it takes it."""

    compares: str
    takes: str


LOSSES = {
    "cross_entropy": LossKind(compares=CLASSES, takes=LOGITS),
    "nll_loss": LossKind(compares=CLASSES, takes=LOG_PROBABILITIES),
    "multi_margin_loss": LossKind(compares=CLASSES, takes=LOGITS),
    "kl_div": LossKind(compares=CLASSES, takes=LOG_PROBABILITIES),
    "binary_cross_entropy": LossKind(compares=YES_OR_NO, takes=PROBABILITIES),
    "binary_cross_entropy_with_logits": LossKind(compares=YES_OR_NO, takes=LOGITS),
    "multilabel_soft_margin_loss": LossKind(compares=YES_OR_NO, takes=LOGITS),
    "soft_margin_loss": LossKind(compares=YES_OR_NO, takes=LOGITS),
    "mse_loss": LossKind(compares=NUMBERS, takes=VALUES),
    "l1_loss": LossKind(compares=NUMBERS, takes=VALUES),
    "smooth_l1_loss": LossKind(compares=NUMBERS, takes=VALUES),
    "huber_loss": LossKind(compares=NUMBERS, takes=VALUES),
    "gaussian_nll_loss": LossKind(compares=NUMBERS, takes=VALUES),
    "poisson_nll_loss": LossKind(compares=NUMBERS, takes=VALUES),
    "cosine_embedding_loss": LossKind(compares=PAIRS, takes=VALUES),
    "hinge_embedding_loss": LossKind(compares=PAIRS, takes=VALUES),
    "margin_ranking_loss": LossKind(compares=PAIRS, takes=VALUES),
    "triplet_margin_loss": LossKind(compares=PAIRS, takes=VALUES),
}
# What turns scores into an answer.
DECISIONS = frozenset({"argmax", "topk", "max", "gt", "ge", "__gt__", "__ge__", "round"})


@dataclass(frozen=True)
class Moment:
    """A call of a function of torch within the step: the how manieth of that name, and which argument is
    meant.
    """

    function: str
    index: int
    argument: Path


@dataclass(frozen=True)
class Answer:
    """What a network gave, when a function takes it: a loss, a comparison, a decision.

    Args:
        sample: Its numbers, of dense ones some.
    """

    origin: Origin
    same: dict[Output, tuple[str, ...]]
    shape: tuple[int, ...]
    moment: Moment
    sample: Tensor


@dataclass(frozen=True)
class Target:
    """What a network's answer is compared with.

    Args:
        part: The part of the batch that has the same values, if one does.
        is_same: Whether it is that part itself, not only equal to it.
        values: As the loss got them; None where they are the part itself, or too many to keep.
    """

    origin: Origin
    shape: tuple[int, ...]
    part: Path | None
    is_same: bool
    is_whole: bool
    values: Tensor | None


@dataclass(frozen=True)
class SeenLoss:
    """A loss that the step computed.

    Args:
        inside: The numbers of the calls that were running.
    """

    name: str
    kind: LossKind
    answer: Answer
    target: Target
    inside: tuple[int, ...]


@dataclass(frozen=True)
class Meeting:
    """The network's answer meets a part of the batch that went through no network."""

    name: str
    answer: Answer
    target: Target


def arguments_of_loss(args: tuple, kwargs: dict[str, Any]) -> tuple[Tensor, Tensor, Path] | None:
    """Input and target of a loss that was called so, and the input's place; None if they are not both
    tensors.
    """
    given = args[0] if args else kwargs.get("input")
    target = args[1] if len(args) > 1 else kwargs.get("target")
    if not isinstance(given, Tensor) or not isinstance(target, Tensor):
        return None
    return given, target, ((0, 0) if args else (1, "input"))


def answer_of(derivation: Derivation, tensor: Tensor, moment: Moment) -> Answer:
    """What is known of a tensor as an answer."""
    with torch.inference_mode(False):
        sample = copied(sampled(tensor))
    same = dict(derivation.same(tensor))
    return Answer(derivation.origin(tensor), same, tuple(tensor.shape), moment, sample)
