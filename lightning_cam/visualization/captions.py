"""Words for numbers: how outputs, labels and confidences are written in pictures."""

import math

from torch import Tensor


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
