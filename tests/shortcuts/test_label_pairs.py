"""Which images with several labels are shown with which cues."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from lightning_cam.shortcuts import pairing
from lightning_cam.shortcuts.class_means import ClassMeans
from lightning_cam.shortcuts.counts import conflicts
from lightning_cam.shortcuts.label_pairs import plan_for_labels, shams_for_labels


def probe(labels: Tensor, wrong: Tensor | None = None) -> pairing.TestedProbe:
    predicted = labels.clamp(min=0) if wrong is None else torch.where(wrong, 1 - labels, labels)
    columns = tuple(range(labels.shape[1]))
    images = torch.rand(len(labels), 1, 8, 8)
    return pairing.TestedProbe(images, labels, predicted, None, None, ClassMeans(()), True, columns=columns)


def flags(count: int, labels: int, share: float = 0.5, seed: int = 0) -> Tensor:
    return (torch.rand(count, labels, generator=torch.Generator().manual_seed(seed)) < share).long()


@pytest.mark.parametrize("share", [0.15, 0.5])
def test_each_host_has_donors_that_differ_and_labels_share_the_conflicts(share: float) -> None:
    subjects = probe(flags(64, 5, share))
    pairs = plan_for_labels(subjects, 2)
    differ = conflicts(subjects.labels, subjects.right, pairs.hosts, pairs.donors)
    assert differ.any(dim=1).all()
    assert set(Counter(pairs.hosts.tolist()).values()) == {2}
    assert len(set(zip(pairs.hosts.tolist(), pairs.donors.tolist(), strict=True))) == len(pairs.hosts)
    used = torch.bincount(pairs.donors, minlength=64)
    assert used.max() <= (12 if share < 0.2 else 5)  # on average two
    # Of every label enough to tell something, and of every label as many as of others.
    assert differ.sum(dim=0).min() > 0.75 * differ.sum(dim=0).max()
    voters = [len(pairs.hosts[own].unique()) for own in differ.T]
    assert min(voters) >= (30 if share < 0.2 else 48)


def test_hosts_are_right_for_a_label_in_which_both_are_known() -> None:
    labels = torch.where(flags(30, 3, 0.2, seed=2).bool(), -1, flags(30, 3))
    wrong = flags(30, 3, 0.4, seed=1).bool()
    wrong[:4] = True
    subjects = probe(labels, wrong)
    pairs = plan_for_labels(subjects, 3)
    assert not set(pairs.hosts.tolist()) & set(range(4))
    for host, donor in zip(pairs.hosts.tolist(), pairs.donors.tolist(), strict=True):
        assert any(
            not wrong[host, place] and {int(labels[host, place]), int(labels[donor, place])} == {0, 1}
            for place in range(3)
        )


def test_the_same_plan_each_time() -> None:
    first, second = (plan_for_labels(probe(flags(40, 4)), 2) for _ in range(2))
    assert torch.equal(first.hosts, second.hosts)
    assert torch.equal(first.donors, second.donors)


@pytest.mark.parametrize("labels", [torch.zeros(6, 2).long(), torch.full((6, 2), -1)])
def test_no_conflict_no_pairs(labels: Tensor) -> None:
    assert len(plan_for_labels(probe(labels), 2).hosts) == 0


def test_shams_are_alike_in_the_labels_that_are_asked() -> None:
    subjects = probe(flags(40, 4))
    shams = shams_for_labels(subjects, range(0, 40, 2), [0, 2])
    assert shams.hosts.tolist() == list(range(0, 40, 2))
    assert (shams.hosts != shams.donors).all()
    assert torch.equal(subjects.labels[shams.hosts][:, [0, 2]], subjects.labels[shams.donors][:, [0, 2]])
    assert torch.bincount(shams.donors).max() <= 3  # no donor stands for all


def test_no_sham_where_no_other_image_is_alike() -> None:
    shams = shams_for_labels(probe(torch.tensor([[1], [0], [0], [-1]])), [0, 1, 3], [0])
    assert (shams.hosts.tolist(), shams.donors.tolist()) == ([1], [2])
