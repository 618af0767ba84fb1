"""What the accuracy rests on, pixel by pixel: lines at their points, gaps, findings, and what is said without any."""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from lightning_cam.visualization.reliance import (
    BAND,
    COLORS,
    LABELS,
    LEFT,
    MOST_LINES,
    PLOT,
    TOP,
    WIDTH,
    _paler,
    draw_reliance,
)

Looks = Sequence[tuple[int, Mapping[str, float]]]
Pixels = np.ndarray
MEANINGS = {"border_8": "the border", "cell_0_0": "the top-left corner"}
NAMED = {"cell_0_0": 1.0, "border_8": 0.97}
TWO = [(0, {"cell_0_0": 0.1, "border_8": 0.3}), (1, {"cell_0_0": 0.9, "border_8": 0.5})]


def picture(
    looks: Looks = TWO,
    predictivities: Mapping[str, float] = NAMED,
    findings: Collection[str] = ("cell_0_0",),
    **options: Any,
) -> Pixels:
    drawn = draw_reliance(looks, predictivities, MEANINGS, findings, **{"least": 0.2, **options})()
    assert drawn.mode == "RGB"
    assert drawn.width == WIDTH
    return np.asarray(drawn)


def pale(number: int) -> tuple[int, ...]:
    return tuple(map(_paler, COLORS[number]))


def place(epochs: Sequence[int], epoch: float, points: float, low: float = 0.0) -> tuple[int, int]:
    """Column and row of a point, computed anew."""
    share = (epoch - epochs[0]) / (epochs[-1] - epochs[0]) if len(epochs) > 1 else 0.5
    x = LEFT + 10 + share * (PLOT[0] - 20)
    return round(x), round(TOP + PLOT[1] * (1 - points) / (1 - low))


def at(pixels: Pixels, where: tuple[int, int]) -> tuple[int, ...]:
    return tuple(map(int, pixels[where[1], where[0]]))


def thickness(pixels: Pixels, where: tuple[int, int], color: tuple[int, ...]) -> int:
    """How many pixels of a column around a place have this colour, nearly."""
    x, y = where
    column = pixels[y - 12 : y + 13, x].astype(int)
    return int((np.abs(column - np.array(color)).max(axis=1) < 30).sum())


# --- lines


def test_lines_go_through_their_points_findings_strong() -> None:
    looks = [
        (2, {"cell_0_0": 0.1, "border_8": 0.5}),
        (3, {"cell_0_0": 0.3, "border_8": 0.5}),
        (6, {"cell_0_0": 0.9, "border_8": 0.55}),
    ]
    pixels = picture(looks)
    epochs = [epoch for epoch, _ in looks]
    for epoch, by_cue in looks:
        assert at(pixels, place(epochs, epoch, by_cue["cell_0_0"])) == COLORS[0]
        assert at(pixels, place(epochs, epoch, by_cue["border_8"])) == pale(1)
    between = place(epochs, 4.5, 0.6), place(epochs, 2.5, 0.5)
    strong, thin = thickness(pixels, between[0], COLORS[0]), thickness(pixels, between[1], pale(1))
    assert strong > thin >= 1


def test_what_is_a_finding_changes_its_line_alone() -> None:
    one, other = picture(findings=["cell_0_0"]), picture(findings=["border_8"])
    where = place([0, 1], 0.5, 0.4)
    assert thickness(other, where, COLORS[1]) > thickness(one, where, pale(1)) >= 1
    assert thickness(one, where, COLORS[1]) == 0


def test_a_look_without_a_test_is_a_gap() -> None:
    looks = [(i, {"cell_0_0": 0.5} if i != 2 else {}) for i in range(6)]
    pixels, epochs = picture(looks), range(6)
    assert thickness(pixels, place(epochs, 0.5, 0.5), COLORS[0]) > 0
    assert thickness(pixels, place(epochs, 4.5, 0.5), COLORS[0]) > 0
    for epoch in (1.5, 2, 2.5):
        assert thickness(pixels, place(epochs, epoch, 0.5), COLORS[0]) == 0


def test_what_is_not_finite_is_no_point() -> None:
    looks = [(0, {"cell_0_0": 0.5}), (1, {"cell_0_0": float("nan")}), (2, {"cell_0_0": 0.5})]
    without = [(0, {"cell_0_0": 0.5}), (1, {}), (2, {"cell_0_0": 0.5})]
    np.testing.assert_array_equal(picture(looks), picture(without))


def test_a_loss_below_nothing_has_room() -> None:
    looks = [(0, {"cell_0_0": 0.0}), (1, {"cell_0_0": -0.3})]
    pixels = picture(looks)
    assert at(pixels, place([0, 1], 1, -0.3, low=-0.4)) == COLORS[0]
    assert at(picture([(0, {"cell_0_0": -0.01}), (1, {"cell_0_0": 1.0})]), place([0, 1], 1, 1.0)) == COLORS[0]


def test_several_looks_of_an_epoch_stand_side_by_side() -> None:
    looks = [(0, {"cell_0_0": 0.2}), (0, {"cell_0_0": 0.8}), (1, {"cell_0_0": 0.4})]
    pixels = picture(looks)
    for look, (_, by_cue) in enumerate(looks):
        assert at(pixels, place(range(3), look, by_cue["cell_0_0"])) == COLORS[0]


def test_a_single_look_stands_in_the_middle() -> None:
    assert at(picture([(3, {"cell_0_0": 0.7})]), place([3], 3, 0.7)) == COLORS[0]


def test_the_ground_is_grey_up_to_the_least_of_a_finding() -> None:
    for least in (0.15, 0.4):
        pixels = picture(least=least)
        x = LEFT + 3  # before the first look
        rows = np.flatnonzero((pixels[:, x] == BAND).all(axis=1))
        assert rows.min() == pytest.approx(TOP + PLOT[1] * (1 - least), abs=1)
        assert rows.max() == pytest.approx(TOP + PLOT[1], abs=2)


# --- words


def words_at(pixels: Pixels) -> Pixels:
    return pixels[:, LABELS - 2 :]


def test_each_cue_is_named_at_its_line_end_and_no_label_hides_another() -> None:
    cues = [f"cell_{i}_1" for i in range(MOST_LINES)]
    pixels = picture([(0, dict.fromkeys(cues, 0.01))], dict.fromkeys(cues, 0.9), findings=[])
    bars = [
        np.flatnonzero((pixels[:, LABELS - 9] == pale(number)).all(axis=1)) for number in range(MOST_LINES)
    ]
    assert all(len(bar) > 20 for bar in bars)
    ordered = sorted((int(bar.min()), int(bar.max())) for bar in bars)
    assert all(first[1] < second[0] for first, second in pairwise(ordered))
    assert ordered[-1][1] < pixels.shape[0] - 12


@pytest.mark.parametrize("position", ["first", "last", "together"])
def test_labels_stay_inside_the_picture(position: str) -> None:
    value = {"first": 1.0, "last": -1.0, "together": 0.5}[position]
    cues = [f"cell_{i}_1" for i in range(MOST_LINES)]
    pixels = picture([(0, dict.fromkeys(cues, value))], dict.fromkeys(cues, 0.9), findings=cues)
    for edge in (pixels[:10], pixels[-10:], pixels[:, :10], pixels[:, -10:]):
        assert (edge == 255).all()
    assert all((pixels[:, LABELS - 9] == color).all(axis=1).sum() > 20 for color in COLORS)


def test_labels_say_meaning_points_and_predictivity() -> None:
    base = words_at(picture())
    told = words_at(picture(predictivities={**NAMED, "cell_0_0": 0.55}))
    assert (base != told).any(), "the predictivity"
    keyed = np.asarray(draw_reliance(TWO, NAMED, {}, ["cell_0_0"], least=0.2)())
    assert (base != words_at(keyed)).any(), "the meaning"
    stopped = words_at(picture([*TWO[:1], (1, {"border_8": 0.5})]))
    shorter = words_at(picture([(1, {"cell_0_0": 0.1, "border_8": 0.5})]))
    assert (stopped != shorter).any(), "when it was last tested"


def test_a_meaning_that_the_font_lacks_gives_way_to_its_key() -> None:
    looks = [(0, {"mine": 0.5})]
    lacking = draw_reliance(looks, {"mine": 0.9}, {"mine": "背景"}, [])()
    keyed = draw_reliance(looks, {"mine": 0.9}, {}, [])()
    np.testing.assert_array_equal(np.asarray(lacking), np.asarray(keyed))


def test_the_strongest_six_are_shown_and_findings_come_first() -> None:
    cues = {f"cell_{i // 4}_{i % 4}": 0.9 - 0.05 * i for i in range(9)}
    eight = dict(list(cues.items())[:8])
    told = dict.fromkeys(cues, 0.9)
    for shown in (eight, cues):
        pixels = picture([(0, shown)], told, findings=[])
        for number, value in enumerate(list(shown.values())[:MOST_LINES]):
            assert at(pixels, place([0], 0, value)) == pale(number)
        assert thickness(pixels, place([0], 0, list(shown.values())[MOST_LINES]), pale(5)) == 0
    last = list(cues)[-1]
    found = picture([(0, cues)], told, findings=[last])
    assert at(found, place([0], 0, cues[last])) == COLORS[5], "the weakest, as it is a finding"
    foot = slice(TOP + PLOT[1] + 20, None)
    assert (
        picture([(0, eight)], told, findings=[])[foot] != picture([(0, cues)], told, findings=[])[foot]
    ).any()


def test_without_tests_it_says_why() -> None:
    none = picture([(0, {}), (1, {})], {"border_8": 0.4}, findings=[])
    other = picture([(0, {}), (1, {})], {"border_8": 0.3}, findings=[])
    unknown = picture([], {}, findings=[])
    assert none.shape == other.shape == unknown.shape
    assert none.shape[0] < 200, "no empty axes"
    assert (none != other).any(), "how well the best cue tells the label"
    assert (unknown != none).any(), "not measured is not: nothing to test"
    assert (none[40:] < 128).any()


def test_it_keeps_nothing_of_what_it_was_given() -> None:
    looks = [(0, {"cell_0_0": 0.1}), (1, {"cell_0_0": 0.9})]
    told = dict(NAMED)
    draw = draw_reliance(looks, told, MEANINGS, ["cell_0_0"])
    before = np.asarray(draw())
    looks.append((2, {"cell_0_0": 0.0}))
    looks[0][1]["cell_0_0"] = 1.0
    told["cell_0_0"] = 0.0
    np.testing.assert_array_equal(np.asarray(draw()), before)
