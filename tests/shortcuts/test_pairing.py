"""Which images are shown with which cues."""

import torch

from lightning_cam.shortcuts import pairing
from lightning_cam.shortcuts.class_means import ClassMeans


def test_hosts_are_right_and_donors_even() -> None:
    labels = torch.arange(40) % 4
    predicted = torch.where(torch.arange(40) < 8, (labels + 1) % 4, labels)
    subjects = pairing.TestedProbe(
        torch.rand(40, 3, 8, 8), labels, predicted, None, None, ClassMeans(()), among=True
    )
    pairs = pairing.plan(subjects, range(4), 3)
    assert (predicted[pairs.hosts] == labels[pairs.hosts]).all()
    assert (labels[pairs.hosts] != labels[pairs.donors]).all()
    assert labels[pairs.donors].bincount().tolist() == [24] * 4
    assert set(labels[pairing.plan(subjects, range(4), 3, only=2).donors].tolist()) == {2}
