"""Numbers to choose a method by: what a model answers when what its saliency maps mark is hidden, shown or
kept alone.

``images``, ``target``, ``labels``, ``network`` and ``scores`` are as in ``explain``, ``saliency`` is at the
images' resolution, such as ``explanation.saliency``, and ``max_batch`` copies go through the model at once,
64 where it is None. The target's class is found on the whole images. The model is left as it was; what is
held at once, beyond the arguments, does not grow with the number of images.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_cam.attribution.config import Forward, ModelConfig, TargetLike
from lightning_cam.checks import check_whole
from lightning_cam.metrics.measured import scored
from lightning_cam.metrics.randomization import parameter_randomization
from lightning_cam.metrics.removal import Curve, Score, along, area, blurred, imputed
from lightning_cam.selectors import Selector, describe
from lightning_cam.typing import Images, PerImage, Saliency, Truth

__all__ = [
    "average_drop",
    "deletion",
    "increase_in_confidence",
    "insertion",
    "parameter_randomization",
    "road",
    "road_curves",
]
PERCENTAGES = tuple(range(10, 100, 10))


def deletion(
    model: nn.Module,
    images: Images,
    saliency: Saliency,
    *,
    target: TargetLike = "probability",
    labels: Truth | None = None,
    network: str | Forward | None = None,
    scores: Selector = None,
    max_batch: int | None = None,
    steps: int = 50,
    baseline: float | Tensor = 0.0,
) -> PerImage:
    """Area under the target score while pixels are deleted, the most salient first: in [0, 1] for
    probabilities, lower is better.

    Only the saliency's order counts; equal pixels go in reading order.

    Args:
        steps: In how many equal parts the pixels go; no more than there are pixels.
        baseline: What replaces a deleted pixel: a number or a tensor that broadcasts to the images. Zero is
            the mean colour where images are normalized.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument does not fit the model or the images; the message names argument, value and
            remedy.

    Example:
        >>> images, saliency = torch.ones(2, 1, 4, 4), torch.rand(2, 4, 4)
        >>> deletion(nn.Flatten(), images, saliency, target=lambda scores, labels: scores.mean(dim=1))
        tensor([0.5000, 0.5000])

    Source: Petsiuk et al., RISE, BMVC 2018, the deletion metric. https://arxiv.org/abs/1806.07421
    """
    check_whole("steps", steps, 1)
    config = ModelConfig(network, scores, max_batch)
    with scored(model, images, saliency, target, labels, config) as (score, images, saliency):
        instead = _baseline(baseline, images)

        def deleted(some: slice, marked: Tensor) -> Tensor:
            return torch.where(marked[:, :, None], instead[some, None], images[some, None])

        return area(score, images, saliency, steps, deleted)


def insertion(
    model: nn.Module,
    images: Images,
    saliency: Saliency,
    *,
    target: TargetLike = "probability",
    labels: Truth | None = None,
    network: str | Forward | None = None,
    scores: Selector = None,
    max_batch: int | None = None,
    steps: int = 50,
) -> PerImage:
    """Area under the target score while a blurred image gets its pixels back, the most salient first: higher
    is better.

    The blur is a Gaussian of 5 pixels on 11 x 11, as in the authors' code. Range, order, arguments and errors
    as in ``deletion``.

    Example:
        >>> images, saliency = torch.rand(2, 1, 4, 4), torch.rand(2, 4, 4)
        >>> insertion(nn.Flatten(), images, saliency, target=lambda scores, labels: torch.ones(len(scores)))
        tensor([1., 1.])

    Source: Petsiuk et al., RISE, BMVC 2018, the insertion metric. https://arxiv.org/abs/1806.07421
    """
    check_whole("steps", steps, 1)
    config = ModelConfig(network, scores, max_batch)
    with scored(model, images, saliency, target, labels, config) as (score, images, saliency):

        def inserted(some: slice, marked: Tensor) -> Tensor:
            return torch.where(marked[:, :, None], images[some, None], blurred(images[some])[:, None])

        return area(score, images, saliency, steps, inserted)


def average_drop(
    model: nn.Module,
    images: Images,
    saliency: Saliency,
    *,
    target: TargetLike = "probability",
    labels: Truth | None = None,
    network: str | Forward | None = None,
    scores: Selector = None,
    max_batch: int | None = None,
) -> PerImage:
    """Share of the target score lost where only what is salient is kept, in [0, 1]: lower is better.

    ``max(0, y - y(saliency X)) / y``; the paper's number is the mean over images, in percent. Where y is 0
    nothing drops; where it is negative, as no probability is, the drop is NaN. Errors as in ``deletion``.

    Args:
        saliency: In [0, 1].

    Example:
        >>> images, saliency = torch.ones(2, 1, 4, 4), torch.stack([torch.ones(4, 4), torch.eye(4)])
        >>> average_drop(nn.Flatten(), images, saliency, target=lambda scores, labels: scores.mean(dim=1))
        tensor([0.0000, 0.7500])

    Source: Chattopadhay et al., Grad-CAM++, WACV 2018, average drop %. https://arxiv.org/abs/1710.11063
    """
    config = ModelConfig(network, scores, max_batch)
    with scored(model, images, saliency, target, labels, config) as (score, images, saliency):
        whole, kept = _whole_and_kept(score, images, saliency)
        drop = torch.where(whole != 0, (whole - kept).relu() / whole, 0.0)
        return torch.where(whole < 0, torch.nan, drop)


def increase_in_confidence(
    model: nn.Module,
    images: Images,
    saliency: Saliency,
    *,
    target: TargetLike = "probability",
    labels: Truth | None = None,
    network: str | Forward | None = None,
    scores: Selector = None,
    max_batch: int | None = None,
) -> PerImage:
    """1 where the target score rises if only what is salient is kept, ``y(saliency X) > y``, else 0: higher
    is better.

    The paper's number is the mean over images, in percent. Arguments as in ``average_drop``.

    Example:
        >>> images, saliency = -torch.ones(2, 1, 4, 4), torch.stack([torch.ones(4, 4), torch.eye(4)])
        >>> increase_in_confidence(
        ...     nn.Flatten(), images, saliency, target=lambda scores, labels: scores.mean(dim=1)
        ... )
        tensor([0., 1.])

    Source: Chattopadhay et al., Grad-CAM++, WACV 2018, % increase in confidence.
        https://arxiv.org/abs/1710.11063
    """
    config = ModelConfig(network, scores, max_batch)
    with scored(model, images, saliency, target, labels, config) as (score, images, saliency):
        whole, kept = _whole_and_kept(score, images, saliency)
        return (kept > whole).to(whole)


def road(
    model: nn.Module,
    images: Images,
    saliency: Saliency,
    *,
    target: TargetLike = "probability",
    labels: Truth | None = None,
    network: str | Forward | None = None,
    scores: Selector = None,
    max_batch: int | None = None,
    percentages: Sequence[float] = PERCENTAGES,
) -> PerImage:
    """Half of what the most salient pixels cost more than the least salient ones: [-0.5, 0.5] for
    probabilities, higher is better.

    ``mean(least - most) / 2`` over the curves of ``road_curves``, whose arguments these are; a map without
    meaning gets about 0.

    Example:
        >>> images, saliency = torch.eye(10)[None, None], torch.eye(10)[None]
        >>> road(nn.Flatten(), images, saliency, target=lambda scores, labels: scores.mean(dim=1)) > 0
        tensor([True])

    Source: Rong et al., ROAD, ICML 2022; as pytorch-grad-cam's ROADCombined for one image.
        https://arxiv.org/abs/2202.00449
    """
    most, least = road_curves(
        model,
        images,
        saliency,
        target=target,
        labels=labels,
        network=network,
        scores=scores,
        max_batch=max_batch,
        percentages=percentages,
    )
    return (least - most).mean(dim=1) / 2


def road_curves(
    model: nn.Module,
    images: Images,
    saliency: Saliency,
    *,
    target: TargetLike = "probability",
    labels: Truth | None = None,
    network: str | Forward | None = None,
    scores: Selector = None,
    max_batch: int | None = None,
    percentages: Sequence[float] = PERCENTAGES,
) -> tuple[Curve, Curve]:
    """Target scores once the most, and once the least salient pixels are removed, in the score's unit, at
    each percentage.

    A removed pixel becomes the mean of its neighbours, and a little noise, the same for every image: unlike a
    black pixel it does not show that something was removed. Order and errors as in ``deletion``.

    Args:
        percentages: Of the pixels, in (0, 100); as many whole pixels as they hold.

    Source: Rong et al., ROAD, ICML 2022. https://arxiv.org/abs/2202.00449
    """
    if len(percentages) == 0 or not all(0 < percentage < 100 for percentage in percentages):
        raise ValueError(f"percentages: got {percentages!r}; give at least one, each above 0 and below 100.")
    if isinstance(images, Tensor) and images.ndim != 4:
        raise ValueError(
            f"images: got {describe(images)}; "
            "a removed pixel has eight neighbours in images (n, c, H, W) only."
        )
    config = ModelConfig(network, scores, max_batch)
    with scored(model, images, saliency, target, labels, config) as (score, images, saliency):

        def without(some: slice, removed: Tensor) -> Tensor:
            copies = images[some, None].expand(-1, removed.shape[1], -1, -1, -1)
            return imputed(copies.flatten(0, 1), removed[:, :, None].flatten(0, 1)).reshape(copies.shape)

        pixels = saliency[0].numel()
        counts = [int(pixels * percentage / 100) for percentage in percentages]
        most = along(score, images, saliency, counts, without)
        # Without the least salient pixels: all but so many of the most salient.
        least = along(
            score,
            images,
            saliency,
            [pixels - count for count in counts],
            lambda some, marked: without(some, ~marked),
        )
    return most, least


def _whole_and_kept(score: Score, images: Images, saliency: Saliency) -> tuple[PerImage, ...]:
    """Scores of the images, and of what is salient in them."""
    low, high = saliency.amin().item(), saliency.amax().item()
    if not 0 <= low <= high <= 1:
        raise ValueError(
            f"saliency: runs from {low:.3g} to {high:.3g}; scale it to [0, 1], as explanation.saliency is."
        )

    def kept(some: slice, marked: Tensor) -> Tensor:
        salient = (images[some] * saliency[some, None]).to(images.dtype)
        return torch.where(marked[:, :, None], salient[:, None], images[some, None])

    return along(score, images, saliency, [0, saliency[0].numel()], kept).unbind(dim=1)


def _baseline(baseline: float | Tensor, images: Images) -> Tensor:
    try:
        return torch.as_tensor(baseline).detach().to(images).expand(images.shape)
    except (RuntimeError, TypeError):
        raise ValueError(
            f"baseline: {describe(baseline)} does not broadcast to {tuple(images.shape)}; "
            "give a number, or a tensor that does."
        ) from None
