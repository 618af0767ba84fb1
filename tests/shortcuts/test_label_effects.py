"""What labels add to averages: equal to a fit without the host, made anew in plain loops."""

import numpy as np
import pytest
import torch
from reference import labels as book
from torch import Tensor
from torch.testing import assert_close

from lightning_cam.shortcuts.features import FEATURES
from lightning_cam.shortcuts.label_effects import LabelEffects, label_effects


def parts(unknown: float = 0.0, count: int = 14, labels: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 2, 10, 9, generator=generator, dtype=torch.float64)
    flags = (torch.rand(count, labels, generator=generator) < 0.5).long()
    return images, torch.where(torch.rand(count, labels, generator=generator) < unknown, -1, flags)


def every_pair(count: int) -> tuple[Tensor, Tensor]:
    pairs = torch.cartesian_prod(torch.arange(count), torch.arange(count))
    return pairs[:, 0], pairs[:, 1]


def equal_to_the_book(found: LabelEffects, feature: str) -> None:
    hosts, donors = every_pair(len(found.labels))
    own, given = found.of(feature, hosts, donors)
    values = found.features[feature].flatten(1).numpy()
    for row, (host, donor) in enumerate(zip(hosts.tolist(), donors.tolist(), strict=True)):
        expected = book.expected(values, found.labels.numpy(), host, donor)
        for part, other in zip((own, given), expected, strict=True):
            np.testing.assert_allclose(part[row].flatten().numpy(), other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_expectations_equal_the_book(feature: str, unknown: float) -> None:
    images, flags = parts(unknown)
    equal_to_the_book(label_effects([feature], images, flags, None), feature)


def test_each_label_has_what_it_adds_however_often_another_comes_with_it() -> None:
    images, flags = parts(count=40, labels=2)
    flags[:, 1] = torch.where(torch.arange(40) % 4 == 0, 1 - flags[:, 0], flags[:, 0])
    images = 0.01 * images
    images[:, :, 0, 0] += 3.0 * flags[:, :1]  # the second label adds nothing, but comes with the first
    found = label_effects(["image"], images, flags, None)
    assert found.effect("image", 0)[0, :, 0, 0].tolist() == pytest.approx([3.0, 3.0], abs=0.02)
    assert found.effect("image", 1)[0, :, 0, 0].tolist() == pytest.approx([0.0, 0.0], abs=0.02)


def test_labels_that_always_come_together_share_what_they_add() -> None:
    images, flags = parts(labels=1)
    flags, images = flags.repeat(1, 2), 0.0 * images
    images[:, :, 0, 0] += 3.0 * flags[:, :1]
    found = label_effects(["image"], images, flags, None)
    for place in (0, 1):
        assert found.effect("image", place)[0, 0, 0, 0] == pytest.approx(1.5)
    own, given = found.of("image", *(torch.tensor([(flags[:, 0] == value).nonzero()[0]]) for value in (0, 1)))
    assert (given - own)[0, 0, 0, 0] == pytest.approx(3.0)


def test_a_label_that_one_image_alone_has_is_not_fitted_without_it() -> None:
    images, flags = parts()
    flags[:, 0] = (torch.arange(len(flags)) == 4).long()
    own, given = label_effects(["image"], images, flags, None).of("image", *every_pair(len(flags)))
    assert own.isfinite().all()
    assert given.isfinite().all()


def test_what_objects_hide_is_as_in_the_other_images() -> None:
    images, flags = parts()
    images = images + 5 * (torch.arange(9) < 3)
    masks = torch.zeros(14, 10, 9, dtype=torch.bool)
    masks[0, :, :4] = True
    (filled,) = label_effects(["image"], images, flags, masks).features.values()
    assert_close(filled[1:], images[1:])
    assert_close(filled[0, :, :, :4], images[1:, :, :, :4].mean(dim=0))  # and one column more, as masks grow
    assert_close(filled[0, :, :, 5:], images[0, :, :, 5:])
    everywhere = torch.ones_like(masks)
    (hidden,) = label_effects(["image"], images, flags, everywhere).features.values()
    assert hidden.isnan().all()
