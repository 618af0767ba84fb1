"""What methods make of evidence."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_cam.attribution import maps
from lightning_cam.attribution.capture import capture_layers
from lightning_cam.attribution.mapping import Confusions, confused, fused, mapped, together
from lightning_cam.attribution.methods.table import METHODS
from lightning_cam.attribution.target_layer import named_layer

LABELS = torch.tensor([0, 1, 2, 0])


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        features = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.ReLU()]
        return nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def images() -> Tensor:
    return torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def evidences(*layers: str, several: bool = False, labels: Tensor = LABELS) -> Any:
    model = network()
    layers_of = [named_layer(model, name) for name in layers]
    return capture_layers(model, images(), target_layers=layers_of, labels=labels, several_targets=several)


def test_maps_of_several_layers_are_fused() -> None:
    with evidences("1", "4") as found:
        both, _ = mapped("layercam", METHODS["layercam"], found, (12, 12))
        early, late = (METHODS["layercam"](evidence) for evidence in found)
    assert_close(both, maps.fuse([early, late]))
    assert_close(fused([early]), early)


@pytest.mark.parametrize(
    ("made", "got"), [(None, "a NoneType"), (torch.zeros(3, 2, 2), r"a float32 tensor \(3, 2, 2\)")]
)
def test_what_is_no_map(made: Any, got: str) -> None:
    message = rf"method: 'mine' returned {got} for 4 images; return one map per image, \(n, h, w\)"
    with evidences("4") as found, pytest.raises(ValueError, match=message):
        mapped("mine", lambda evidence: made, found, (12, 12))


def test_the_gradient_counts_where_a_method_asked_for_it() -> None:
    with evidences("4") as found:
        zero = torch.zeros(4, 4, 4)
        _, asked = mapped("mine", lambda evidence: evidence.gradients[:, 0] * 0 - 1, found, (12, 12))
        _, not_asked = mapped("mine", lambda evidence: zero - 1, found, (12, 12))
    assert [maps.BLANK_REASONS[reason] for reason in asked.tolist()] == [maps.NO_EVIDENCE] * 4
    assert [maps.BLANK_REASONS[reason] for reason in not_asked.tolist()] == [
        "the map is nowhere positive"
    ] * 4


def test_maps_of_confusions() -> None:
    with evidences("4", several=True) as found:
        scores = found[0].scores
        both = confused("gradcam", METHODS["gradcam"], found, (12, 12))
    predicted = scores.argmax(dim=1)
    with evidences("4", labels=predicted) as others:
        assert_close(both.predicted, METHODS["gradcam"](others[0]))
    right = predicted == LABELS
    assert right.any()
    assert not right.all()
    assert_close(both.contrast[right], torch.zeros_like(both.contrast[right])), "no difference, no evidence"
    assert (both.contrast[~right] != 0).any()


def test_confusions_of_several_batches() -> None:
    batches = [
        Confusions(torch.full((2, 3, 3), float(i)), torch.full((2, 3, 3), -float(i))) for i in range(3)
    ]
    whole = together(batches, 5)
    assert whole.predicted[:, 0, 0].tolist() == [0, 0, 1, 1, 2]
    assert whole.contrast[:, 0, 0].tolist() == [0, 0, -1, -1, -2]
    assert together([], 5) is None
