"""How numbers are written in pictures."""

import math

import pytest
import torch

from lightning_cam.visualization.captions import number_and_truth, number_words, percent_words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (45.23, "45.2"),
        (-51.0, "-51.0"),
        (0.01234, "0.0123"),
        (1.0, "1.00"),
        (1840.4, "1840"),
        (123456.0, "123456"),
        (2.5e7, "2.50e+07"),
        (3e-5, "3.00e-05"),
        (0.0, "0"),
        (math.nan, "not finite"),
        (-math.inf, "not finite"),
    ],
)
def test_a_number_has_three_digits(value: float, words: str) -> None:
    assert number_words(value) == words


def test_a_share_in_percent() -> None:
    assert (percent_words(0.834), percent_words(0.0), percent_words(math.nan)) == (
        "83 %",
        "0 %",
        "not finite",
    )


def test_what_a_regression_yields_and_should() -> None:
    outputs = torch.tensor([45.2, 3.0])
    assert number_and_truth(outputs, torch.tensor(51.0)) == "45.2 (true 51.0)"
    assert number_and_truth(outputs, torch.tensor([51.0, 2.0])) == "45.2 (true 51.0)"
    assert number_and_truth(outputs, torch.tensor(torch.nan)) == "45.2"
    assert number_and_truth(outputs, None) == "45.2"
