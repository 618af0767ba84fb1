"""Images, labels, masks and scores in plain batches, and the check that a batch was read right."""

from typing import Any

import torch
from torch.testing import assert_close

from lightning_cam.data.batch import read_batch

IMAGES = torch.rand(4, 3, 8, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([2, 0, 1, 2])
MASKS = torch.rand(4, 8, 6, generator=torch.Generator().manual_seed(1)) > 0.5
SCORES = torch.rand(4, 5, generator=torch.Generator().manual_seed(2))
FEATURES = torch.rand(4, 7)


def check(batch: Any, has_labels: bool = True, has_masks: bool = True, **how: Any) -> None:
    found = read_batch(batch, **how)
    assert_close(found.images, IMAGES)
    assert (found.labels is not None, found.masks is not None) == (has_labels, has_masks)
    if has_labels:
        assert_close(found.labels, LABELS)
    if has_masks:
        assert_close(found.masks, MASKS)
