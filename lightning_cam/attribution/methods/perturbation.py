"""CAMs from what the network answers when something is taken away, covered, or made noisy."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from lightning_cam.attribution.evidence import Evidence
from lightning_cam.attribution.maps import interpolate
from lightning_cam.attribution.methods.gradient import weighted_sum
from lightning_cam.checks import check_whole
from lightning_cam.typing import Cams, PerRow

MOST_VALUES = 2**24  # in one batch of ablated activations, or of covered images: 64 MiB of float32


def ablation_cam(evidence: Evidence) -> Cams:
    """``relu(sum_k w A)`` with ``w = (y - y without A_k) / |y|``, in [0, inf), in units of the activations.

    The paper divides by y, which inverts the map where the score is negative. Where y is 0, the drop itself
    is the weight. What precedes the layer runs once for some hundred channels of an image, what follows it
    once a channel.

    Source: Desai and Ramaswamy, Ablation-CAM, WACV 2020, eq. 3 and 4.
        https://doi.org/10.1109/WACV45572.2020.9093360
    """
    activations = evidence.activations
    channels = torch.arange(activations.shape[1], device=activations.device)
    ones = [1] * (activations.ndim - 2)

    def without(image: int, some: Tensor) -> PerRow:
        kept = (channels != some[:, None]).reshape(len(some), len(channels), *ones)
        return evidence.tail(torch.where(kept, activations[image], 0.0), torch.full_like(some, image))

    some_at_once = channels.split(max(1, MOST_VALUES // activations[0].numel()))
    scores = torch.stack(
        [torch.cat([without(image, some) for some in some_at_once]) for image in range(len(activations))]
    )
    y = evidence.target_scores[:, None]
    weights = (y - scores) / torch.where(y != 0, y.abs(), 1.0)
    return weighted_sum(weights.reshape(*weights.shape, *ones), activations)


def score_cam(evidence: Evidence, top_k: int | None = None) -> Cams:
    """``relu(sum_k softmax_k(y(X H_k)) A)``, in [0, inf), in units of the activations.

    ``H_k`` is the channel upsampled, then scaled to [0, 1]; channels that are flat weigh nothing. The paper
    takes the increase over a baseline image, which the softmax cancels.

    Args:
        top_k: Only so many channels, those of the largest energy (sum of squares); None takes all.

    Raises:
        ValueError: ``top_k`` is not positive.

    Source: Wang et al., Score-CAM, CVPRW 2020, eq. 2 to 6. https://arxiv.org/abs/1910.01279
    """
    return _weighted_by_scores(evidence, lambda masks: [masks], top_k)


def ss_cam(evidence: Evidence, samples: int = 35, sigma: float = 2.0, top_k: int | None = None) -> Cams:
    """As ``score_cam``, the scores averaged over masks ``H_k + noise``.

    The noise comes from a generator of its own and is the same for every channel and image.

    Args:
        samples: How many noises.
        sigma: Their standard deviation.
        top_k: As in ``score_cam``.

    Raises:
        ValueError: ``samples`` or ``top_k`` is not positive.

    Source: Wang et al., SS-CAM, 2020, noise on the activation map. https://arxiv.org/abs/2006.14255
    """
    check_whole("samples", samples, 1)
    generator = torch.Generator().manual_seed(0)
    noises = sigma * torch.randn(samples, *evidence.images.shape[2:], generator=generator)
    return _weighted_by_scores(evidence, lambda masks: (masks + noise.to(masks) for noise in noises), top_k)


def is_cam(evidence: Evidence, steps: int = 10, top_k: int | None = None) -> Cams:
    """As ``score_cam``, the scores averaged over masks ``i / steps H_k`` for i from 1 to ``steps``.

    Raises:
        ValueError: ``steps`` or ``top_k`` is not positive.

    Source: Naidu et al., IS-CAM, 2020. https://arxiv.org/abs/2010.03023
    """
    check_whole("steps", steps, 1)
    return _weighted_by_scores(
        evidence, lambda masks: (masks * step / steps for step in range(1, steps + 1)), top_k
    )


def smooth_grad_cam_plus_plus(evidence: Evidence, samples: int = 10, noise: float = 0.15) -> Cams:
    """Grad-CAM++ with ``g``, ``g^2`` and ``g^3`` replaced by their means over noisy images, the activations
    those of the clean one.

    ``relu(sum_k w A)`` with ``w = sum_ij a relu(mean g)``, ``a = mean g^2 / (2 mean g^2 + S mean g^3)``;
    positions where the denominator is not positive weigh nothing. The noise comes from a generator of its own
    and is the same for every image.

    Args:
        samples: How many noisy copies.
        noise: Standard deviation as a share of the image's range.

    Raises:
        ValueError: ``samples`` is not positive.

    Source: Omeiza et al., Smooth Grad-CAM++, 2019, eq. 6 to 8. https://arxiv.org/abs/1908.01224
    """
    check_whole("samples", samples, 1)
    generator = torch.Generator().manual_seed(0)
    images, activations = evidence.images, evidence.activations
    flat = images.flatten(1)
    spread = noise * (flat.amax(dim=1) - flat.amin(dim=1)).reshape(-1, *[1] * (images.ndim - 1))
    first, second, third = (torch.zeros_like(activations) for _ in range(3))
    for _ in range(samples):
        noisy = images + spread * torch.randn(images.shape[1:], generator=generator).to(images)
        gradients = evidence.with_images(noisy).gradients
        first, second, third = first + gradients, second + gradients**2, third + gradients**3
    over = tuple(range(2, activations.ndim))
    denominator = 2 * second + activations.sum(dim=over, keepdim=True) * third
    shares = torch.where(denominator > 0, second / denominator, 0.0)
    return weighted_sum((shares * (first / samples).relu()).sum(dim=over, keepdim=True), activations)


def shapley_cam(evidence: Evidence) -> Cams:
    """``relu(sum_k w A)`` with ``w = mean_ij(g - H A / 2)``, in [0, inf), H the second derivative of the
    score.

    Where what follows the layer is piecewise linear H is 0 and this is Grad-CAM; with target "probability" it
    is not.

    Source: Cai, CAMs as Shapley Value-based Explainers, 2025, eq. 17. https://arxiv.org/abs/2501.06261
    """
    activations = evidence.activations
    everyone = torch.arange(len(activations), device=activations.device)
    # Only the plain attention has a second derivative.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        leaf = activations.detach().clone().requires_grad_()
        (gradients,) = torch.autograd.grad(evidence.tail(leaf, everyone).sum(), leaf, create_graph=True)
        along = (gradients * activations).sum()
        curvature = torch.autograd.grad(along, leaf, allow_unused=True)[0] if along.requires_grad else None
    contributions = gradients.detach() if curvature is None else gradients.detach() - curvature / 2
    return weighted_sum(contributions.mean(dim=tuple(range(2, leaf.ndim)), keepdim=True), activations)


def rise(evidence: Evidence, masks: int = 1000, cells: int = 7, keep: float = 0.5) -> Cams:
    """``1 / (N p) sum_i y(X M_i) M_i`` at the images' resolution, in units of the target score; the network
    is a black box.

    Masks are random grids, upsampled and shifted, from a generator of their own, the same for every image.
    The paper takes 4000 to 8000 of them, and probabilities: target="probability".

    Args:
        masks: How many, N.
        cells: Of the grid, a side.
        keep: Share of cells that stay visible, p, in (0, 1].

    Raises:
        ValueError: ``masks`` or ``cells`` is not positive, or ``keep`` outside (0, 1].

    Source: Petsiuk et al., RISE, BMVC 2018, eq. 6. https://arxiv.org/abs/1806.07421
    """
    check_whole("masks", masks, 1)
    check_whole("cells", cells, 1)
    if not 0 < keep <= 1:
        raise ValueError(f"keep: got {keep}; give a share in (0, 1].")
    images, size = evidence.images, tuple(evidence.images.shape[2:])
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros_like(images[:, 0], dtype=evidence.activations.dtype)
    for some in torch.arange(masks).split(_rows(images[0])):
        shown = _random_masks(len(some), size, cells, keep, generator, total)
        scores = torch.stack([_scores(evidence, image, shown[:, None]) for image in range(len(images))])
        total = total + torch.einsum("nm,m...->n...", scores.to(total), shown)
    return total / (masks * keep)


def _random_masks(
    count: int, size: tuple[int, ...], cells: int, keep: float, generator: torch.Generator, like: Tensor
) -> Tensor:
    """(count, *size) in [0, 1]: random grids, enlarged by one cell a side, cut out at a random shift."""
    sides = [math.ceil(side / cells) for side in size]
    grids = (torch.rand(count, *[cells] * len(size), generator=generator) < keep).to(like)
    large = interpolate(grids[:, None], tuple((cells + 1) * side for side in sides))[:, 0]
    shifts = torch.stack(
        [torch.randint(0, side, (count,), generator=generator) for side in sides], dim=1
    ).tolist()
    windows = [
        tuple(slice(start, start + side) for start, side in zip(shift, size, strict=True)) for shift in shifts
    ]
    return torch.stack([mask[window] for mask, window in zip(large, windows, strict=True)])


def _weighted_by_scores(
    evidence: Evidence, variants: Callable[[Tensor], Iterable[Tensor]], top_k: int | None
) -> Cams:
    """``relu(sum_k softmax_k(mean of y(X variant of H_k)) A)``."""
    if top_k is not None:
        check_whole("top_k", top_k, 1, "or None for all channels")
    activations = evidence.activations
    energy = activations.square().flatten(2).sum(dim=2)
    kept = energy.topk(min(top_k or energy.shape[1], energy.shape[1]), dim=1).indices.sort(dim=1).values
    weights = torch.zeros_like(energy)
    rows = [_softmax_of_scores(evidence, image, kept[image], variants) for image in range(len(activations))]
    weights = weights.scatter(1, kept, torch.stack(rows).to(weights))
    return weighted_sum(weights.reshape(*weights.shape, *[1] * (activations.ndim - 2)), activations)


def _softmax_of_scores(
    evidence: Evidence, image: int, channels: Tensor, variants: Callable[[Tensor], Iterable[Tensor]]
) -> Tensor:
    """Weights of the channels of one image; those that are flat weigh nothing."""
    scores, flat = [], []
    for some in channels.split(_rows(evidence.images[0])):
        upsampled = interpolate(evidence.activations[image, some][None], tuple(evidence.images.shape[2:]))[0]
        low, high = upsampled.flatten(1).amin(dim=1), upsampled.flatten(1).amax(dim=1)
        own = evidence.activations[image, some].flatten(1)
        flat.append(own.amax(dim=1) == own.amin(dim=1))
        low, range_ = (
            values.reshape(-1, *[1] * (upsampled.ndim - 1))
            for values in (low, torch.where(high > low, high - low, 1.0))
        )
        masks = ((upsampled - low) / range_)[:, None]
        answers = [_scores(evidence, image, variant) for variant in variants(masks)]
        scores.append(torch.stack(answers).mean(dim=0))
    weights = torch.where(torch.cat(flat), -torch.inf, torch.cat(scores)).softmax(dim=0)
    return torch.where(torch.cat(flat), 0.0, weights)


def _scores(evidence: Evidence, image: int, masks: Tensor) -> PerRow:
    """Target scores of one image behind masks (m, 1, *size)."""
    covered = (evidence.images[image] * masks).to(evidence.images.dtype)
    index = torch.full((len(masks),), image, device=covered.device)
    return evidence.score(covered, index)


def _rows(one: Tensor) -> int:
    """How many of these fit into one batch: a power of two, so that the network's own batches come out
    even.
    """
    return 2 ** max(0, int(math.log2(max(1, MOST_VALUES // one.numel()))))
