"""The facts that an observed validation step yields."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lightning_cam.data.losses import Answer
from lightning_cam.data.nested import Path
from lightning_cam.data.observed_step import StepRecord
from lightning_cam.data.observed_task import NONE
from lightning_cam.data.recorded_calls import Call, ImageArgument

CALL, STEP, UNSEEN = "call", "step", "unseen"


@dataclass(frozen=True)
class Alternative:
    """What else could be explained, and the argument that chooses it: network="teacher"."""

    argument: str
    value: Any


@dataclass(frozen=True)
class ObservedLabel:
    """What the network's answer is compared with.

    Args:
        part: Of the batch, from which it comes; None if of several.
        is_plain: Whether it has the part's own values, in whichever shape and dtype; then the labels of other
            batches need no observed step.
        values: As the loss got them; None of long ones, and where rows were left out.
        name: As the user would write it.
    """

    part: Path | None
    is_plain: bool
    values: Tensor | None
    name: str


@dataclass(frozen=True)
class ObservedCall:
    """What is validated.

    Args:
        way: "call": one call of ``module`` yields the scores. "step": no single call does, and the step
            itself is run up to where it takes ``answer``. "unseen".
        network: The module's name, "" for the object itself.
        image: The argument that takes the image; ``image.part`` is set where it is a plain part of the batch.
        scores: Where in the output the scores are.
        shape: The scores'.
        form: "logits", "probabilities", "log-probabilities" or "values", as the loss takes this output; ""
            where no loss was seen.
        task: "multiclass", "binary", "multilabel", "regression" or "none".
        is_assumed: No loss was seen; label and task are assumed.
        normalization: Mean and standard deviation per channel, where the step provably normalizes the part
            of the batch and does no more.
        sentences: For the user: first what is explained, then what he should know.
    """

    record: StepRecord
    way: str = UNSEEN
    call: Call | None = None
    image: ImageArgument | None = None
    image_part: Path | None = None
    scores: Path | None = None
    shape: tuple[int, ...] = ()
    form: str = ""
    label: ObservedLabel | None = None
    loss: str | None = None
    answer: Answer | None = None
    task: str = NONE
    is_dense: bool = False
    is_assumed: bool = False
    normalization: tuple[Tensor, Tensor] | None = None
    sentences: tuple[str, ...] = ()
    alternatives: tuple[Alternative, ...] = ()

    @property
    def network(self) -> str | None:
        """The name of the network, "" for the object itself; None if none was seen."""
        return None if self.call is None else self.call.name

    @property
    def module(self) -> nn.Module | None:
        """The network."""
        return None if self.call is None else self.call.module
