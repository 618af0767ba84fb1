"""CAM methods: each a function ``(evidence) -> cams`` and a row in ``METHODS``.

The code is the equation; METHODS names it. ``A`` are the activations, ``g`` the gradients of the target score, ``S`` the sum of
a channel's activations over positions.
"""

from collections.abc import Callable

import torch

from lightning_cam.evidence import Evidence
from lightning_cam.typing import Cams


def grad_cam(evidence: Evidence) -> Cams:
    """``relu(sum_k mean(g) A)``, in [0, inf), in units of the target score.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017, eq. 1 and 2. https://arxiv.org/abs/1610.02391
    """
    channel_weights = evidence.gradients.mean(dim=(2, 3), keepdim=True)
    return (channel_weights * evidence.activations).sum(dim=1).relu()


def grad_cam_plus_plus(evidence: Evidence) -> Cams:
    """``relu(sum_k w A)`` with ``w = sum_ij relu(g) / (2 + g S)``, in [0, inf).

    This is eq. 19 with ``Y = exp(score)``, divided by ``g**2`` above and below, so that no epsilon is needed; the factor
    ``exp(score)`` is left out, which scaling by the maximum cancels. Positions with ``2 + g S <= 0``, where the equation has no
    meaning, weigh nothing.

    Source: Chattopadhay et al., Grad-CAM++, WACV 2018, eq. 19. https://arxiv.org/abs/1710.11063
    """
    channel_sums = evidence.activations.sum(dim=(2, 3), keepdim=True)
    denominator = 2 + evidence.gradients * channel_sums
    shares = torch.where(denominator > 0, evidence.gradients.relu() / denominator, 0.0)
    channel_weights = shares.sum(dim=(2, 3), keepdim=True)
    return (channel_weights * evidence.activations).sum(dim=1).relu()


def xgrad_cam(evidence: Evidence) -> Cams:
    """``relu(sum_k w A)`` with ``w = sum_ij g A / S``, in [0, inf); channels with ``S = 0`` weigh nothing.

    Source: Fu et al., Axiom-based Grad-CAM, BMVC 2020, eq. 8. https://arxiv.org/abs/2008.02312
    """
    channel_sums = evidence.activations.sum(dim=(2, 3), keepdim=True)
    products = (evidence.gradients * evidence.activations).sum(dim=(2, 3), keepdim=True)
    channel_weights = torch.where(channel_sums != 0, products / channel_sums, 0.0)
    return (channel_weights * evidence.activations).sum(dim=1).relu()


def hires_cam(evidence: Evidence) -> Cams:
    """``sum_k g A``, signed; for a bias-free piecewise-linear tail it sums to the target score.

    Source: Draelos and Carin, Use HiResCAM instead of Grad-CAM, 2020, eq. 4. https://arxiv.org/abs/2011.08891
    """
    return (evidence.gradients * evidence.activations).sum(dim=1)


def grad_cam_elementwise(evidence: Evidence) -> Cams:
    """``sum_k relu(g A)``, in [0, inf).

    Source: Pillai and Pirsiavash, Explainable Models with Consistent Interpretations, AAAI 2021.
    https://doi.org/10.1609/aaai.v35i3.16344
    """
    return (evidence.gradients * evidence.activations).relu().sum(dim=1)


def layer_cam(evidence: Evidence) -> Cams:
    """``relu(sum_k relu(g) A)``, in [0, inf).

    Source: Jiang et al., LayerCAM, IEEE TIP 2021, eq. 6 and 7. https://doi.org/10.1109/TIP.2021.3089943
    """
    return (evidence.gradients.relu() * evidence.activations).sum(dim=1).relu()


def eigen_cam(evidence: Evidence) -> Cams:
    """Projection of the activations on their first right singular vector, not centred; signed, in units of the activations.

    The sign, which the decomposition leaves open, makes the map's product with the sum over channels positive. The vector comes
    from the Gram matrix over positions or over channels, whichever is smaller, in float64 where the device has it.

    Source: Muhammad and Yeasin, Eigen-CAM, IJCNN 2020, eq. 3 and 4. https://arxiv.org/abs/2008.00299
    """
    precise = torch.float32 if evidence.activations.device.type == "mps" else torch.float64
    activations = evidence.activations.flatten(2).transpose(1, 2).to(precise)  # (n, h*w, k)
    finite = activations.isfinite().all(dim=2).all(dim=1)[:, None, None]
    positions = torch.where(finite, activations, 0.0)  # the decomposition refuses what is not finite, for the whole batch
    if positions.shape[1] <= positions.shape[2]:
        values, vectors = torch.linalg.eigh(positions @ positions.transpose(1, 2))
        projection = vectors[:, :, -1] * values[:, -1:].clamp(min=0).sqrt()
    else:
        _, vectors = torch.linalg.eigh(positions.transpose(1, 2) @ positions)
        projection = (positions @ vectors[:, :, -1:])[:, :, 0]
    along = (projection * positions.sum(dim=2)).sum(dim=1, keepdim=True)
    projection = torch.where(along < 0, -projection, projection)
    projection = torch.where(finite[:, 0], projection, torch.nan)
    return projection.reshape(evidence.activations[:, 0].shape).to(evidence.activations.dtype)


def random_cam(evidence: Evidence) -> Cams:
    """Uniform noise in [0, 1): the baseline that a method has to beat. The same noise for the same place in a batch."""
    maps = evidence.activations[:, 0]
    generator = torch.Generator(device=maps.device).manual_seed(0)
    return torch.rand(maps.shape, generator=generator, device=maps.device, dtype=maps.dtype)


METHODS: dict[str, Callable[[Evidence], Cams]] = {
    "gradcam": grad_cam,
    "gradcam++": grad_cam_plus_plus,
    "xgradcam": xgrad_cam,
    "hirescam": hires_cam,
    "gradcam-elementwise": grad_cam_elementwise,
    "layercam": layer_cam,
    "eigencam": eigen_cam,
    "random": random_cam,
}
