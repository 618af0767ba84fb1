"""Targets: each a function ``(scores, labels) -> (n,)`` score to explain and a row in ``TARGETS``.

Where a row speaks of the class, that is the label, and the predicted class where there are no labels. Which
classes a row weighs is decided once, on the images as they are, and stays when their pixels change (noise,
masks): the question does not follow the answer.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_cam.attribution.task import class_probabilities
from lightning_cam.typing import Labels, Outputs, PerImage, Scores, Truth

Target = Callable[..., PerImage]  # (scores, labels) -> score; labels are None where nobody knows them
SIMILAR_CLASSES, FINER_GAMMA = 3, 0.6


def label_score(scores: Scores, labels: Truth) -> PerImage:
    """Score of each image's label; of several labels (n, C) the sum of the scores of those that are present,
    which excludes what is not known (NaN, or -1).
    """
    if labels.ndim == 2:
        return torch.where(labels > 0.5, scores, 0.0).sum(dim=1)
    return scores.gather(1, labels[:, None])[:, 0]


def predicted_score(scores: Scores, labels: Labels | None = None) -> PerImage:
    """Score of each image's predicted class."""
    return scores.amax(dim=1)


def output_score(scores: Scores, labels: Truth | None = None) -> PerImage:
    """The number itself, which a regression yields, in its unit; of several outputs the first."""
    return scores[:, 0]


def finer_score(scores: Scores, labels: Labels | None = None, gamma: float = FINER_GAMMA) -> PerImage:
    """``y_c - gamma mean_t y_t`` over the three classes t whose scores are closest to that of the class c:
    why c, and not they.

    Source: Zhang et al., FinerCAM, CVPR 2025, eq. 4, with the similar classes found by their scores.
        https://arxiv.org/abs/2501.11309
    """
    own = label_score(scores, class_of(scores, labels))[:, None]
    apart = (scores - own).abs().scatter(1, class_of(scores, labels)[:, None], torch.inf)
    others = apart.topk(min(SIMILAR_CLASSES, scores.shape[1] - 1), dim=1, largest=False).indices
    return own[:, 0] - gamma * scores.gather(1, others).mean(dim=1)


def contrast_score(scores: Scores, labels: Labels | None = None) -> PerImage:
    """Score of the class minus that of the strongest other one: why this class, and not the next best.

    Source: Prabhushankar et al., Contrastive Explanations in Neural Networks, ICIP 2020.
        https://arxiv.org/abs/2008.00178
    """
    own = class_of(scores, labels)
    others = scores.scatter(1, own[:, None], -torch.inf)
    return label_score(scores, own) - others.amax(dim=1)


def counterfactual_score(scores: Scores, labels: Labels | None = None) -> PerImage:
    """Minus the score of the class: what speaks against it.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017, eq. 3. https://arxiv.org/abs/1610.02391
    """
    return -label_score(scores, class_of(scores, labels))


def probability_score(scores: Scores, labels: Labels | None = None) -> PerImage:
    """Softmax probability of the class, in [0, 1]; of one logit the sigmoid."""
    return label_score(class_probabilities(scores), class_of(scores, labels))


def contrast(one: int, other: int) -> Target:
    """A target: the score of one class minus that of another, for every image."""

    def contrast_of_two(scores: Scores, labels: Labels | None = None) -> PerImage:
        return scores[:, one] - scores[:, other]

    return contrast_of_two


def region(channel: int, where: Tensor | None = None) -> Target:
    """A target for segmentation: the sum of one class' scores over a region, of outputs (n, C, H, W).

    Args:
        channel: Which class.
        where: (H, W) truth values; None takes all positions that the network gives to that class, image by
            image.

    Source: Vinogradova et al., Towards Interpretable Semantic Segmentation via Gradient-weighted CAM, AAAI
    2020. https://arxiv.org/abs/2002.11434
    """

    def region_score(scores: Outputs, labels: Labels | None = None) -> PerImage:
        inside = (
            scores.argmax(dim=1) == channel
            if where is None
            else where.to(scores.device).bool().expand_as(scores[:, 0])
        )
        return torch.where(inside, scores[:, channel], 0.0).flatten(1).sum(dim=1)

    return region_score


def similarity(reference: Tensor) -> Target:
    """A target for embeddings: cosine similarity of outputs (n, d) to a reference (d,), in [-1, 1]."""

    def similarity_score(scores: Scores, labels: Labels | None = None) -> PerImage:
        return torch.cosine_similarity(scores, reference.to(scores).reshape(1, -1), dim=1)

    return similarity_score


TARGETS: dict[str, Target] = {
    "label": label_score,
    "predicted": predicted_score,
    "output": output_score,
    "finer": finer_score,
    "contrast": contrast_score,
    "counterfactual": counterfactual_score,
    "probability": probability_score,
}


# Rows that are weighted sums of scores.
WEIGHS_CLASSES = ("label", "predicted", "output", "finer", "contrast", "counterfactual")


def class_of(scores: Scores, labels: Labels | None) -> Labels:
    """The class (n,) that a target speaks of: the label, and the predicted class where there are none."""
    return scores.argmax(dim=1) if labels is None else labels
