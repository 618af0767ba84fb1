"""What a figure of an explanation is made of."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_cam.attribution.maps import BLANK_REASONS, NO_EVIDENCE
from lightning_cam.explanation import Explanation
from lightning_cam.visualization.explained import (
    class_and_share,
    input_panels,
    marks,
    with_overlays,
    written_class,
)

NAMES = ("tabby", "", "\U0002fa20")  # the last in letters that the font lacks


def images() -> Tensor:
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def cams() -> Tensor:
    found = torch.zeros(2, 4, 4)
    found[0, 1, 1] = 1
    return found


def test_nothing_lies_over_the_image_at_opacity_zero() -> None:
    plain, over = with_overlays(images(), cams(), opacity=0)
    assert_close(plain, over)
    assert plain.shape == (2, 8, 8, 3)
    shown, _ = with_overlays(images(), cams(), most=1)
    assert_close(shown, plain[:1])


def test_the_map_lies_over_the_image() -> None:
    plain, over = with_overlays(images(), cams())
    assert (plain[0] != over[0]).any()


@pytest.mark.parametrize("opacity", [-0.1, 1.1])
def test_an_opacity_out_of_range(opacity: float) -> None:
    with pytest.raises(
        ValueError, match=f"opacity: got {opacity}; give 'evidence', 'constant' or a value in"
    ):
        with_overlays(images(), cams(), opacity=opacity)


def test_marks() -> None:
    (mask, box), (none, no_box) = marks(images(), cams(), 0.5)
    x1, y1, x2, y2 = box[0].tolist()
    assert mask[y1:y2, x1:x2].any()
    assert mask.sum() == mask[y1:y2, x1:x2].sum()
    assert not none.any()
    assert len(no_box) == 0
    assert marks(images(), cams(), None) == [(None, None)] * 2
    signals = torch.rand(1, 2, 30)
    assert marks(signals, torch.rand(1, 10), 0.5)[0][1] is None


@pytest.mark.parametrize(
    ("number", "written"), [(0, "tabby"), (1, "class 1"), (2, "class 2"), (7, "class 7")]
)
def test_what_a_class_is_called(number: int, written: str) -> None:
    assert written_class(NAMES, number) == written
    assert written_class(None, number) == f"class {number}"


def test_shares() -> None:
    assert class_and_share(NAMES, 0, 0.934) == "tabby, 93 %"
    assert class_and_share(None, 4, 0.004) == "class 4, <1 %"


def test_the_likeliest_classes_stand_above_an_input() -> None:
    pictures, _ = with_overlays(images(), cams())
    scores = torch.tensor([[0.0, 5.0, 1.0], [9.0, 0.0, 0.0]])
    first, second = input_panels(pictures, scores, ("a", "b", "c"), top=2)
    assert first.title == ["b, 98 %", "c, 2 %"]
    assert second.title == ["a, 100 %", "b, <1 %"]
    assert len(input_panels(pictures, scores, None, top=9)[0].title) == 3


def explanation(reason: str) -> Explanation:
    return Explanation(
        images=images(),
        cams=torch.zeros(2, 4, 4),
        scores=torch.tensor([[3.0, 0.0, 0.0]] * 2),
        target_classes=torch.tensor([0, 1]),
        target_layer="body",
        method="gradcam",
        reasons=torch.full((2,), BLANK_REASONS.index(reason)),
    )


def titles(found: Explanation, **options: object) -> list[str]:
    figure = found.figure(class_names=("astronaut", "coffee", "cat"), **options)
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_no_evidence_is_said_of_the_class_where_it_is_known() -> None:
    blank = explanation(NO_EVIDENCE)
    shown = titles(blank)
    assert "no evidence for astronaut" in shown
    assert any("no evidence for coffee" in title for title in shown)
    assert blank.blank == (NO_EVIDENCE,) * 2
    assert "blank: no evidence for the class" in titles(replace(blank, target_classes=None))


def test_other_reasons_are_said_as_they_are() -> None:
    assert "blank: the gradient is zero" in titles(explanation("the gradient is zero"))
