"""Maps from the activations, without a target: what the layer holds, by factorization or threshold; and noise
as a baseline.

``eigengradcam`` factorizes the activations times their gradients, and so has a target.
"""

import torch
from torch import Tensor

from lightning_cam.attribution.evidence import Evidence
from lightning_cam.checks import check_whole
from lightning_cam.typing import Activations, Cams

ROUNDING = 1e-5  # of what a sum could be: less is left by float32


def eigen_cam(evidence: Evidence) -> Cams:
    """Projection of the activations on their first right singular vector, not centred; signed, in units of
    the activations.

    The sign, which the decomposition leaves open, makes the map's product with the sum over channels
    positive, or its largest value where the channels cancel; unless no position were positive then, for
    activations may be negative throughout. The vector comes from the Gram matrix over positions or over
    channels, whichever is smaller, in float64 where the device has it.

    Source: Muhammad and Yeasin, Eigen-CAM, IJCNN 2020, eq. 3 and 4. https://arxiv.org/abs/2008.00299
    """
    return _somewhere_positive(_first_projection(evidence.activations))


def eigen_grad_cam(evidence: Evidence) -> Cams:
    """As ``eigen_cam``, of the activations times the gradients of the target score; negative where all speaks
    against the class.

    Source: no paper; Gildenblat, pytorch-grad-cam, 2021, there centred.
        https://github.com/jacobgil/pytorch-grad-cam
    """
    return _first_projection(evidence.gradients * evidence.activations)


def kpca_cam(evidence: Evidence, kernel: str = "sigmoid") -> Cams:
    """First kernel principal component of the activations, positions as samples; signed as in ``eigen_cam``,
    without unit.

    Args:
        kernel: "sigmoid", ``tanh(x y / k + 1)``, or "rbf", ``exp(-|x - y|^2 / k)``, with k the number of
            channels. The sigmoid saturates where activations are large, and leaves little of the map.

    Raises:
        ValueError: No such kernel.

    Source: Karmani et al., KPCA-CAM, 2024. https://arxiv.org/abs/2410.00267; Schölkopf et al., Nonlinear
        Component Analysis as a
    Kernel Eigenvalue Problem, Neural Computation 1998, for the centring in feature space.
    """
    positions, finite = _positions(evidence.activations)
    channels = positions.shape[2]
    if kernel == "sigmoid":
        gram = torch.tanh(positions @ positions.transpose(1, 2) / channels + 1)
    elif kernel == "rbf":
        gram = torch.exp(
            -torch.cdist(positions, positions, compute_mode="donot_use_mm_for_euclid_dist").square()
            / channels
        )
    else:
        raise ValueError(f"kernel: got {kernel!r}; give 'sigmoid' or 'rbf'.")
    gram = (
        gram - gram[:, :1, :1]
    )  # leaves a constant kernel without rounding errors; the centring does not see it
    centred = (
        gram
        - gram.mean(dim=1, keepdim=True)
        - gram.mean(dim=2, keepdim=True)
        + gram.mean(dim=(1, 2), keepdim=True)
    )
    values, vectors = torch.linalg.eigh(centred)
    projection = vectors[:, :, -1] * values[:, -1:].clamp(min=0).sqrt()
    return _somewhere_positive(_as_map(projection, positions, finite, evidence.activations))


def fem(evidence: Evidence, deviations: float = 2.0) -> Cams:
    """``sum_k mean(A) [A > mean(A) + 2 std(A)]``: where channels are unusually active, weighted by their
    mean; signed.

    Args:
        deviations: How many standard deviations (of the channel, over positions) above its mean count as
            unusual.

    Source: Ahmed Asif Fuad et al., Features Understanding in 3D CNNs for Actions Recognition in Video, IPTA
        2020, eq. 1 to 3.
    https://doi.org/10.1109/IPTA50016.2020.9286629
    """
    over = tuple(range(2, evidence.activations.ndim))
    mean = evidence.activations.mean(dim=over, keepdim=True)
    spread = evidence.activations.std(dim=over, correction=0, keepdim=True)
    unusual = evidence.activations > mean + deviations * spread
    return torch.where(unusual | mean.isnan(), mean, 0.0).sum(dim=1)


def factors(evidence: Evidence, parts: int = 5, iterations: int = 200) -> Activations:
    """Parts that all images share, (n, parts, *grid): how strong each is where, in units of the activations,
    largest part first.

    Non-negative factorization of the positive part of the activations, ``V = W H`` with V (positions of all
    images, channels), by multiplicative updates of the squared error from a start drawn by a generator of its
    own. Rows of H have length 1; parts are in the order of the norm of their column of W.

    Args:
        parts: How many.

    Raises:
        ValueError: ``parts`` or ``iterations`` is not positive.

    Source: Collins et al., Deep Feature Factorization for Concept Discovery, ECCV 2018.
        https://arxiv.org/abs/1806.10206; Lee and
    Seung, Algorithms for Non-negative Matrix Factorization, NIPS 2000, eq. 4.
    """
    check_whole("parts", parts, 1)
    check_whole("iterations", iterations, 1)
    activations = evidence.activations
    finite = activations.flatten(1).isfinite().all(dim=1).reshape(-1, *[1] * (activations.ndim - 1))
    values = torch.where(finite, activations, 0.0).movedim(1, -1).flatten(0, -2).relu()
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(parts, len(values) + values.shape[1], generator=generator).abs().to(values)
    start = start * (values.mean() / parts).sqrt()
    strengths, channels = start[:, : len(values)].T, start[:, len(values) :]
    for _ in range(iterations):
        strengths = strengths * _ratio(values @ channels.T, strengths @ (channels @ channels.T))
        channels = channels * _ratio(strengths.T @ values, (strengths.T @ strengths) @ channels)
    strengths = strengths * channels.norm(dim=1)
    strengths = strengths[:, strengths.norm(dim=0).argsort(descending=True, stable=True)]
    found = strengths.reshape(len(activations), *activations.shape[2:], parts).movedim(-1, 1)
    return torch.where(finite, found, torch.nan)


def deep_feature_factorization(evidence: Evidence, parts: int = 5, iterations: int = 200) -> Cams:
    """The largest of the parts that ``factors`` finds, in units of the activations, in [0, inf)."""
    return factors(evidence, parts, iterations)[:, 0]


def random_cam(evidence: Evidence) -> Cams:
    """Uniform noise in [0, 1): the baseline that a method has to beat. The same noise for the same place in a
    batch.
    """
    maps = evidence.activations[:, 0]
    generator = torch.Generator(device=maps.device).manual_seed(0)
    return torch.rand(maps.shape, generator=generator, device=maps.device, dtype=maps.dtype)


def _first_projection(values: Activations) -> Cams:
    positions, finite = _positions(values)
    if positions.shape[1] <= positions.shape[2]:
        eigenvalues, vectors = torch.linalg.eigh(positions @ positions.transpose(1, 2))
        projection = vectors[:, :, -1] * eigenvalues[:, -1:].clamp(min=0).sqrt()
    else:
        _, vectors = torch.linalg.eigh(positions.transpose(1, 2) @ positions)
        projection = (positions @ vectors[:, :, -1:])[:, :, 0]
    return _as_map(projection, positions, finite, values)


def _somewhere_positive(cams: Cams) -> Cams:
    """Maps without a class: one that is nowhere positive is turned."""
    negative = (cams <= 0).flatten(1).all(dim=1).reshape(-1, *[1] * (cams.ndim - 1))
    return torch.where(negative, -cams, cams)


def _positions(values: Activations) -> tuple[Tensor, Tensor]:
    """Positions as rows (n, h*w, k), in float64 where the device has it, and which images are finite (n, 1,
    1).
    """
    precise = torch.float32 if values.device.type == "mps" else torch.float64
    positions = values.flatten(2).transpose(1, 2).to(precise)
    finite = positions.isfinite().all(dim=2).all(dim=1)[:, None, None]
    return torch.where(
        finite, positions, 0.0
    ), finite  # a decomposition refuses what is not finite, for the whole batch


def _as_map(projection: Tensor, positions: Tensor, finite: Tensor, values: Activations) -> Cams:
    """A projection (n, h*w) as maps, its sign that of the sum over channels; NaN where the activations were
    not finite.

    Where that sum is but rounding, as after a norm over channels that has not learnt yet, the largest value
    is made positive.
    """
    along = (projection * positions.sum(dim=2)).sum(dim=1, keepdim=True)
    possible = (projection.abs() * positions.abs().sum(dim=2)).sum(dim=1, keepdim=True)
    largest = projection.gather(1, projection.abs().argmax(dim=1, keepdim=True))
    projection = torch.where(
        torch.where(along.abs() > ROUNDING * possible, along, largest) < 0, -projection, projection
    )
    projection = torch.where(finite[:, 0], projection, torch.nan)
    return projection.reshape(values[:, 0].shape).to(values.dtype)


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    return torch.where(below != 0, above / below, 0.0)
