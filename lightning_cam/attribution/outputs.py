"""Class scores in a model's output."""

from typing import Any

from torch import Tensor

from lightning_cam.attribution.task import AUTO, TASKS, single_logit
from lightning_cam.selectors import Selector, describe, first_fitting, parts_of, pick

SCORE_KEYS = ("logits", "scores", "out")


def read_scores(output: Any, scores: Selector = None, any_shape: bool = False, task: str = AUTO) -> Tensor:
    """Scores (n, C) of a model's output: the output itself, or its first floating (n, C), ``logits`` first.

    What one score per image, (n,) or (n, 1), becomes, the task says: a binary head's logit is (n, 2), its
    negative for class 0 and itself for 1; a number is (n, 1). "auto" takes it as a logit.

    Args:
        scores: A key, an index or a function of the output; None finds them.
        any_shape: Whether (n, C, ...) will do, as segmentation yields it.
        task: A key of ``TASKS``, or "auto".

    Raises:
        ValueError: No scores; the message says what the output holds. Or there are not as many columns as the
            task needs.
    """
    found = find_scores(output, scores, any_shape)
    return single_logit(found) if task == AUTO else TASKS[task].columns(found)


def find_scores(output: Any, scores: Selector = None, any_shape: bool = False) -> Tensor:
    """As ``read_scores``, one score per image left as it is, (n,) or (n, 1).

    Raises:
        ValueError: No scores; the message says what the output holds.
    """
    if scores is None:
        parts = parts_of(output) or [
            (name, getattr(output, name)) for name in SCORE_KEYS if hasattr(output, name)
        ]
        # Scores of several classes first, as a model may answer a loss or a regression beside them.
        kinds = [_are_scores, _is_one_score, *([_are_dense] if any_shape else [])]
        fitting = (first_fitting(parts, SCORE_KEYS, kind) for kind in kinds)
        found: Any = next((one for one in fitting if one is not None), None)
    else:
        found = pick(output, scores, "scores")
    if not (_is_one_score(found) or _are_scores(found) or (any_shape and _are_dense(found))):
        raise ValueError(
            f"scores: no class scores (n, C) found in the model's output, which is {describe(output)}; "
            "say where they are with scores=, a key, an index or a function of the output."
        )
    return found


def _are_scores(part: Any) -> bool:
    return isinstance(part, Tensor) and part.is_floating_point() and part.ndim == 2 and part.shape[1] > 1


def _is_one_score(part: Any) -> bool:
    return (
        isinstance(part, Tensor)
        and part.is_floating_point()
        and part.ndim in (1, 2)
        and part.shape[1:] in ((), (1,))
    )


def _are_dense(part: Any) -> bool:
    return isinstance(part, Tensor) and part.is_floating_point() and part.ndim > 2
