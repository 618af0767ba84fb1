"""What one look yields (``Evidence``), what a statistic may see (``MapContext``), and what a cue may see (``Pair``)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Bool, Float
from torch import Tensor

from lightning_cam.typing import (
    Activations,
    Cams,
    Gradients,
    Images,
    Index,
    Labels,
    Masks,
    Outputs,
    PerImage,
    PerRow,
    RowActivations,
    Rows,
    Saliency,
)


@dataclass(frozen=True)
class Evidence:
    """All that a method may see of one look at the model. Valid only inside ``with look(...) as evidence``.

    A method is a function ``(evidence) -> cams`` of shape (n, h, w); (n, t) for signals, (n, d, h, w) for volumes.

    Args:
        images: As the network saw them.
        activations: At the target layer, at least float32.
        scores: What the network answered, before softmax.
        target_scores: The score that is explained, of the images as they are.
        target_classes: The class that is explained; None where the target is a function of its own.
        differentiate: Yields the gradients; use ``gradients``, which calls it once.
        score: ``(images, index) -> (m,)`` target scores of the whole network, without gradients. ``index`` (m,) says which
            probe image each row belongs to.
        tail: ``(activations, index) -> (m,)`` target scores from what follows the target layer; differentiable where the
            activations require a gradient. Several rows of one image cost one forward up to the layer.
        again: ``images -> Evidence`` of other images, of the same number, with the same targets (noisy copies).
        towards: ``classes -> Evidence`` of the same images, with the scores of other classes (n,) as targets. Where the look was
            told so, it costs no forward.

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
    again: Callable[[Images], "Evidence"]
    towards: Callable[[Labels], "Evidence"]

    @cached_property
    def gradients(self) -> Gradients:
        """As ``activations``: d target score / d activations, by one backward from the scores to the target layer, at first use."""
        return self.differentiate()


@dataclass(frozen=True)
class MapContext:
    """All that a statistic may see. A statistic is a function ``(maps: MapContext) -> (n,)``.

    Args:
        saliency: In [0, 1], at the images' resolution.
        cams: Raw maps at the target layer's resolution.
        masks: Where the object is; None where nobody knows.
        last: Raw maps of the look before this one; NaN where an image was not looked at.
        first: Raw maps of the first look; NaN where an image was not looked at.
    """

    saliency: Saliency
    cams: Cams
    masks: Masks | None = None
    last: Cams | None = None
    first: Cams | None = None


@dataclass(frozen=True)
class Pair:
    """All that a cue may see: m hosts, which receive the cue, beside m donors. A cue is a function ``(pair) -> transplants``.

    Args:
        hosts: As the network gets them, at least float32.
        donors: Likewise, of other classes.
        host_mean: Mean of the cue's feature (m, ...) over each host's class, the host itself left out; None where a cue needs none.
        donor_mean: Likewise over each donor's class.
        host_masks: Where the object is, grown a little; None where nobody knows.
        donor_masks: Likewise.
        host_saliency: In [0, 1]; None where no map was made.
        donor_saliency: Likewise.
    """

    hosts: Rows
    donors: Rows
    host_mean: Tensor | None = None
    donor_mean: Tensor | None = None
    host_masks: Bool[Tensor, "m *size"] | None = None
    donor_masks: Bool[Tensor, "m *size"] | None = None
    host_saliency: Float[Tensor, "m *size"] | None = None
    donor_saliency: Float[Tensor, "m *size"] | None = None
