"""Models that take batches of one size only."""

import pytest
import torch
from support.odd_networks import OfFixedBatch, figures
from torch import nn

from lightning_cam import explain
from lightning_cam.attribution.fixed_batch import BatchSize, RowsError

IMAGES = figures(12)[0]


def pair() -> tuple[OfFixedBatch, OfFixedBatch]:
    """The same network with eight rows written in, and with as many as there are images."""
    torch.manual_seed(0)
    fixed, free = OfFixedBatch(8), OfFixedBatch(None)
    free.load_state_dict(fixed.state_dict())
    return fixed.eval(), free.eval()


@pytest.mark.parametrize("layer", [None, "features"])
@pytest.mark.parametrize(
    "method", ["gradcam", "layercam", "ablationcam", "scorecam", "dff", "shapleycam", "eigencam"]
)
def test_maps_are_those_of_a_model_that_takes_any_batch(method: str, layer: str | None) -> None:
    fixed, free = pair()
    found = explain(fixed, IMAGES, method=method, target=1, target_layer=layer, max_batch=8)
    expected = explain(free, IMAGES, method=method, target=1, target_layer=layer, max_batch=8)
    assert found.target_layer == expected.target_layer
    torch.testing.assert_close(found.cams, expected.cams, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-6)


def test_several_layers_of_such_a_model() -> None:
    fixed, free = pair()
    layers = ["features.2", "features"]
    found, expected = (
        explain(model, IMAGES, target=1, target_layer=layers, max_batch=8).cams for model in (fixed, free)
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_fewer_images_than_the_batch_are_repeated() -> None:
    fixed, free = pair()
    found = explain(fixed, IMAGES[:3], target=1, max_batch=8)
    assert found.cams.shape[0] == len(found.scores) == 3
    torch.testing.assert_close(found.cams, explain(free, IMAGES[:3], target=1).cams, rtol=1e-4, atol=1e-6)


def test_a_batch_that_is_not_the_models_says_what_to_do() -> None:
    fixed, _ = pair()
    with pytest.raises(RuntimeError, match="hidden") as raised:
        explain(fixed, IMAGES[:3])
    assert "say max_batch= that size" in "".join(raised.value.__notes__)


def test_one_image_that_is_squeezed() -> None:
    """A head whose output loses all its sides of length one."""
    torch.manual_seed(0)

    class Squeezed(OfFixedBatch):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images).squeeze()

    for classes in (1, 2):
        squeezed, plain = Squeezed(None, classes).eval(), OfFixedBatch(None, classes).eval()
        plain.load_state_dict(squeezed.state_dict())
        for count in (1, 4):
            task = "binary" if classes == 1 else "multiclass"
            found, expected = (explain(one, IMAGES[:count], task=task) for one in (squeezed, plain))
            torch.testing.assert_close(found.scores, expected.scores)
            torch.testing.assert_close(found.cams, expected.cams)


class Counts(nn.Module):
    """Notes how many images it is given, and takes batches of one size alone."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.seen = size, []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(images))
        if len(images) != self.size:
            raise RuntimeError("another size")
        return images


def ask(model: Counts, batch: BatchSize, count: int) -> torch.Tensor:
    images, index = torch.arange(count)[:, None].float(), torch.arange(count)
    return batch.ask(count, lambda: model(batch.filled(images, index)[0])[:, 0])


def test_a_full_batch_from_the_first_failure_on() -> None:
    model, batch = Counts(4), BatchSize(4)
    assert ask(model, batch, 3).tolist() == [0, 1, 2, 0]
    assert ask(model, batch, 1).tolist() == [0, 0, 0, 0]
    assert ask(model, batch, 4).tolist() == [0, 1, 2, 3]
    assert model.seen == [3, 4, 4, 4]
    assert batch.rows(2) == 4


def test_another_error_is_not_hidden() -> None:
    model, batch = Counts(7), BatchSize(4)
    with pytest.raises(RuntimeError, match="another size"):
        ask(model, batch, 3)
    assert (model.seen, batch.is_fixed, batch.rows(2)) == ([3, 4], False, 2)


def test_too_many_rows_are_a_reason_to_ask_again() -> None:
    batch, seen = BatchSize(4), []

    def run() -> int:
        seen.append(batch.rows(1))
        if len(seen) == 1:
            raise RowsError("scores: the model gave 4 rows for 1 images")
        return seen[-1]

    assert batch.ask(1, run) == 4
    assert seen == [1, 4]
