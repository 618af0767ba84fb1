"""Images that may become part of the probe."""

import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_cam.data.batch import Batch
from lightning_cam.data.candidate import NOTHING, candidates, groups_of, probe_of


def images(count: int) -> Tensor:
    """Image i is i everywhere."""
    return torch.arange(count, dtype=torch.float32)[:, None, None, None].expand(count, 1, 2, 2).clone()


def test_candidates_of_a_batch() -> None:
    found = candidates(Batch(images(2), torch.tensor([1, 0]), images(2)[:, 0] > 0), [7, 8])
    assert [(one.serial, one.label) for one in found] == [(7, 1), (8, 0)]
    assert found[1].mask.all()
    plain = candidates(Batch(images(2), None, None), [7, 8])
    assert plain[0].label is None
    assert plain[0].mask is None
    assert not plain[0].fits(found[0])
    assert_close(probe_of(found, None)[0].images, images(2))


def test_a_copy_has_tensors_of_its_own() -> None:
    batch = Batch(images(2), torch.tensor([1, 0]), images(2)[:, 0] > 0)
    copied = candidates(batch, [7, 8])[1].copy()
    batch.images.zero_()
    batch.masks.zero_()
    assert (copied.image == 1).all()
    assert copied.mask.all()


def test_serials_may_be_fewer_than_images() -> None:
    assert [one.serial for one in candidates(Batch(images(3), None, None), range(-1, -3, -1))] == [-1, -2]


def test_several_labels_and_numbers_go_through() -> None:
    nan = torch.nan
    for labels in (
        torch.tensor([[1.0, nan, 0.0], [0.0, 0.0, 1.0]]),
        torch.tensor([0.5, 31.0]),
        torch.tensor([[0.5, 31.0], [1.0, 2.0]]),
    ):
        found = candidates(Batch(images(2), labels, None), [7, 8])
        assert_close(probe_of(found, None)[0].labels, labels, equal_nan=True)
        assert found[0].fits(found[1])


def test_what_an_image_counts_for() -> None:
    nan = torch.nan
    assert groups_of([3, 0]) == [(3,), (0,)]
    assert groups_of([(1.0, 0.0, 1.0), (0.0, nan, -1.0), (0.0, 1.0, 0.0)]) == [(0, 2), (NOTHING,), (1,)]
    assert groups_of([None, None]) == [(), ()]
    assert groups_of([0.5, 1.0]) == [(), ()]
    assert groups_of([(0.5, 1.0), (1.0, 0.0)]) == [(), ()]
