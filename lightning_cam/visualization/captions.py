"""What stands below an image, and words for numbers: how outputs, labels and confidences are written."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from lightning_cam.typing import Truth
from lightning_cam.visualization.canvas import PAPER, answer_color
from lightning_cam.visualization.letters import Color


@dataclass(frozen=True)
class Caption:
    """What stands below an image.

    Args:
        right: Whether the prediction is the label; None where there is no label.
        label: The true class; None where nobody knows.
        predicted: The predicted class.
        confidence: Its probability, in [0, 1]; NaN where the scores are not finite.
        blank: Why the map is blank, and the name of the class that it lacks evidence for; both empty where
            the map is not blank, the name also where the reason is another one.
        weak: How weak the map is beside the strongest one; empty where it is not.
        words: Lines that stand in place of label and prediction, for several labels and for numbers.
        is_judged: Whether an answer can be right: else there is no frame and no symbol.
    """

    right: bool | None
    label: str | None
    predicted: str
    confidence: float
    blank: tuple[str, str] = ("", "")
    weak: str = ""
    words: tuple[str, ...] = ()
    is_judged: bool = True

    @property
    def color(self) -> Color:
        """Of the frame."""
        return answer_color(self.right) if self.is_judged else PAPER

    @property
    def percent(self) -> str:
        """The probability in words, after a space."""
        return f" {percent_words(self.confidence)}"


def number_words(value: float) -> str:
    """A number to three digits, whole where it is large: 45.2, 0.0123, 1840; "not finite" where it is not."""
    if not math.isfinite(value):
        return "not finite"
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-3:
        return f"{value:.2e}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(size)))}f}" if size else "0"


def percent_words(share: float) -> str:
    """A share in [0, 1] in percent."""
    return f"{100 * share:.0f} %" if math.isfinite(share) else "not finite"


def number_and_truth(outputs: Tensor, truth: Tensor | None) -> str:
    """What a regression yields for an image and, in brackets, what it should: "45.2 (true 51.0)". Of several
    outputs the first.
    """
    known = math.nan if truth is None else truth.flatten()[0].item()
    true = f" (true {number_words(known)})" if math.isfinite(known) else ""
    return number_words(outputs[0].item()) + true


def truth_words(labels: Truth | None, row: int, name: Callable[[int], str]) -> str:
    """What is known of an image, in words: its class, its labels, its number; empty where nothing is.

    Args:
        name: What a class is called.
    """
    if labels is None:
        return ""
    if labels.ndim == 1:
        label = labels[row].item()
        known = number_words(label) if math.isfinite(label) else ""
        return known if labels.is_floating_point() else name(int(label))
    return ", ".join(name(label) for label in present_labels(labels, row)) or "none of the labels"


def present_labels(labels: Truth, row: int) -> list[int]:
    """Those of several labels (n, C) that an image has."""
    return (labels[row] > 0.5).nonzero()[:, 0].tolist()


def likeliest_absent(labels: Truth, row: int, shares: Sequence[float]) -> int | None:
    """The likeliest of several labels (n, C) that an image has not; None where there is none."""
    absent = [i for i, label in enumerate(labels[row].tolist()) if label == 0]
    return max(absent, key=lambda label: shares[label], default=None)


def is_right(share: float) -> bool | None:
    """Whether an image is answered rightly, all its labels where it has several, by the share of them that
    is; None where nobody knows.
    """
    return share == 1 if math.isfinite(share) else None
