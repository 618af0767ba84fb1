"""What tasks make of scores and labels, a second time: float64, one image at a time, plain loops."""

from math import exp, isnan, log, nan


def softmax(scores: list[float]) -> list[float]:
    """``exp(y_c) / sum_t exp(y_t)``."""
    total = 0.0
    for score in scores:
        total += exp(score)
    return [exp(score) / total for score in scores]


def sigmoid(score: float) -> float:
    return 1 / (1 + exp(-score))


def logit(probability: float) -> float:
    return log(probability / (1 - probability))


def share_right(scores: list[float], labels: list[float]) -> float:
    """Of the labels that are known, the share whose score has the right sign."""
    known, right = 0, 0
    for score, label in zip(scores, labels, strict=True):
        if isnan(label) or label < 0:
            continue
        known += 1
        says, is_there = score > 0, label == 1
        if says == is_there:
            right += 1
    return right / known if known else nan
