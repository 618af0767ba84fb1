"""CAMs from activations and the gradients of the target score: one look gives all of them.

The code is the equation; METHODS names it. ``A`` are the activations, ``g`` the gradients, ``S`` the sum of a
channel's activations over its positions, ``Z`` their number.
"""

import torch
from torch import Tensor

from lightning_cam.attribution.evidence import Evidence
from lightning_cam.typing import Activations, Cams, Gradients

EVEN = 1e-3  # of the largest gradient: what rounding leaves of gradients that are equal over positions


def cam(evidence: Evidence) -> Cams:
    """``sum_k w A`` with the head's weights ``w = Z g``, signed, without the bias; for global average pooling
    and one linear layer.

    Raises:
        ValueError: The gradient varies over positions, so the head is another.

    Source: Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016, eq. 2.
        https://arxiv.org/abs/1512.04150
    """
    uneven = (evidence.gradients - _mean(evidence.gradients)).abs().flatten(1).amax(dim=1)
    if bool((uneven > EVEN * evidence.gradients.abs().flatten(1).amax(dim=1)).any()):
        raise ValueError(
            "method: 'cam' needs global average pooling and one linear layer after the target layer, but the "
            "gradient varies over positions; use 'gradcam', which is the same where the head is so."
        )
    head_weights = _sum(evidence.gradients)
    return (head_weights * evidence.activations).sum(dim=1)


def grad_cam(evidence: Evidence) -> Cams:
    """``relu(sum_k mean(g) A)``, in [0, inf), in units of the target score.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017, eq. 1 and 2. https://arxiv.org/abs/1610.02391
    """
    return weighted_sum(_mean(evidence.gradients), evidence.activations)


def grad_cam_plus_plus(evidence: Evidence) -> Cams:
    """``relu(sum_k w A)`` with ``w = sum_ij relu(g) / (2 + g S)``, in [0, inf).

    This is eq. 19 with ``Y = exp(score)``, divided by ``g**2`` above and below, so that no epsilon is needed;
    the factor ``exp(score)`` is left out, which scaling by the maximum cancels. Positions with ``2 + g S <=
    0``, where the equation has no meaning, weigh nothing.

    Source: Chattopadhay et al., Grad-CAM++, WACV 2018, eq. 19. https://arxiv.org/abs/1710.11063
    """
    denominator = 2 + evidence.gradients * _sum(evidence.activations)
    shares = torch.where(denominator > 0, evidence.gradients.relu() / denominator, 0.0)
    return weighted_sum(_sum(shares), evidence.activations)


def xgrad_cam(evidence: Evidence) -> Cams:
    """``relu(sum_k w A)`` with ``w = sum_ij g A / S``, in [0, inf); channels with ``S = 0`` weigh nothing.

    Source: Fu et al., Axiom-based Grad-CAM, BMVC 2020, eq. 8. https://arxiv.org/abs/2008.02312
    """
    channel_sums = _sum(evidence.activations)
    products = _sum(evidence.gradients * evidence.activations)
    return weighted_sum(torch.where(channel_sums != 0, products / channel_sums, 0.0), evidence.activations)


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


def weighted_sum(channel_weights: Tensor, activations: Activations) -> Cams:
    """``relu(sum_k w A)`` for channel weights (n, k, 1, ...)."""
    return (channel_weights * activations).sum(dim=1).relu()


def _sum(values: Gradients) -> Tensor:
    """Over positions, (n, k, 1, ...)."""
    return values.sum(dim=tuple(range(2, values.ndim)), keepdim=True)


def _mean(values: Gradients) -> Tensor:
    return values.mean(dim=tuple(range(2, values.ndim)), keepdim=True)
