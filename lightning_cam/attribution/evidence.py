"""``Evidence``: all that a method may see of one look at the model."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from lightning_cam.attribution.task import UNREAD, OutputReading
from lightning_cam.typing import (
    Activations,
    Gradients,
    Images,
    Index,
    Labels,
    Outputs,
    PerImage,
    PerRow,
    RowActivations,
    Rows,
)


@dataclass(frozen=True)
class Evidence:
    """All that a method may see of one look at the model. Valid only inside ``with capture(...) as
    evidence``.

    A method is a function ``(evidence) -> cams`` of shape (n, h, w); (n, t) for signals, (n, d, h, w) for
    volumes.

    Args:
        images: As the network saw them.
        activations: At the target layer, at least float32.
        scores: What the network answered, before softmax.
        target_scores: The score that is explained, of the images as they are.
        target_classes: The class that is explained; None where the target is a function of its own.
        differentiate: Yields the gradients; use ``gradients``, which calls it once.
        score: ``(images, index) -> (m,)`` target scores of the whole network, without gradients. ``index``
            (m,) says which probe image each row belongs to.
        tail: ``(activations, index) -> (m,)`` target scores from what follows the target layer;
            differentiable where the activations require a gradient. Several rows of one image cost one
            forward up to the layer.
        with_images: ``images -> Evidence`` of other images, of the same number, with the same targets (noisy
            copies).
        with_classes: ``classes -> Evidence`` of the same images, with the scores of other classes (n,) as
            targets. Where the look was told so, it costs no forward.
        reading: How the scores were read from the network's outputs.

    Example:
        >>> def my_cam(evidence):
        ...     return (evidence.activations * evidence.gradients).abs().sum(dim=1)
    """

    images: Images
    activations: Activations
    scores: Outputs
    target_scores: PerImage
    target_classes: Labels | None
    differentiate: Callable[[], Gradients]
    score: Callable[[Rows, Index], PerRow]
    tail: Callable[[RowActivations, Index], PerRow]
    with_images: Callable[[Images], "Evidence"]
    with_classes: Callable[[Labels], "Evidence"]
    reading: OutputReading = UNREAD

    @cached_property
    def gradients(self) -> Gradients:
        """As ``activations``: d target score / d activations, by one backward from the scores to the target
        layer, at first use.
        """
        return self.differentiate()


def outlasting(evidence: Evidence, images: Images, with_activations: bool) -> Evidence:
    """What stays of a look when it is over: no function of the network, and activations only where they are
    still needed.
    """
    activations = evidence.activations if with_activations else evidence.activations[:, :0].clone()
    return replace(
        evidence,
        images=images,
        activations=activations,
        differentiate=_over,
        score=_over,
        tail=_over,
        with_images=_over,
        with_classes=_over,
    )


def _over(*arguments: Any) -> Any:
    raise ValueError(
        "method: a method that looks at all images together sees their activations alone, no gradients."
    )


def gathered(parts: list[Evidence], images: Images) -> Evidence:
    """Several batches' evidence as one, of all images."""
    classes = [part.target_classes for part in parts if part.target_classes is not None]
    return replace(
        parts[0],
        images=images,
        activations=torch.cat([part.activations for part in parts]),
        scores=torch.cat([part.scores for part in parts]),
        target_scores=torch.cat([part.target_scores for part in parts]),
        target_classes=torch.cat(classes) if classes else None,
    )
