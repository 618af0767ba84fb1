"""The rule: each of its lines, and which cues the model is asked about."""

from itertools import product

import pytest
import torch

from lightning_cam.shortcuts.cues import CUES
from lightning_cam.shortcuts.predictivity import Predictivity
from lightning_cam.shortcuts.reliance import Reliance
from lightning_cam.shortcuts.rule import (
    BACKGROUND_TELLS,
    DECIDES,
    FURTHER,
    LEAST_Z,
    MOST_CELLS,
    MOST_CUES,
    MOST_SINGLE,
    ONE,
    ONE_BORDER,
    SEVERAL,
    TWO,
    holds,
    holds_of_one,
    may_warn,
    may_warn_of_one,
    worth_asking,
    worth_asking_alone,
)


def measured(points: float, z: float = 10.0, excess: float = 1.0) -> Reliance:
    return Reliance(points, 0.0, z, excess, 64)


def told(kappa: float, f1: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Predictivity:
    return Predictivity(kappa, 0.0, torch.tensor(f1), 500, torch.zeros(0, dtype=torch.int64))


@pytest.mark.parametrize("line", SEVERAL, ids=str)
def test_each_line_holds_and_fails_below_any_of_its_numbers(line: tuple[float, float, float]) -> None:
    least, points, excess = line
    assert holds("border_8", least, measured(points, LEAST_Z, excess), 3)
    assert not holds("border_8", least, measured(points, LEAST_Z - 0.01, excess), 3)
    # Just below one number no other line holds either, or that line would make this one useless.
    for low in (
        (least - 0.01, points, excess),
        (least, points - 0.01, excess),
        (least, points, excess - 0.01),
    ):
        expected = any(all(have >= need for have, need in zip(low, other, strict=True)) for other in SEVERAL)
        assert holds("border_8", low[0], measured(low[1], LEAST_Z, low[2]), 3) == expected


def test_the_rule_of_several_equals_any_of_its_lines() -> None:
    steps = [0.0, 0.03, 0.05, 0.12, 0.16, 0.22, 0.32, 0.4, 0.65, 0.8, 0.9]
    for kappa, points, excess in product(steps, steps, steps):
        found = False
        for least, needed, drawn in SEVERAL:
            if kappa >= least and points >= needed and excess >= drawn:
                found = True
        assert holds("border_8", kappa, measured(points, excess=excess), 10) == found


def test_two_classes_have_a_line_of_their_own() -> None:
    assert holds("border_8", TWO[0], measured(TWO[1], LEAST_Z, 0.0), 2)
    assert not holds("border_8", TWO[0] - 0.01, measured(1.0), 2)
    assert not holds("border_8", 1.0, measured(TWO[1] - 0.01), 2)
    assert not holds("border_8", 1.0, measured(1.0, LEAST_Z - 0.01), 2)


def test_one_class_needs_all_three() -> None:
    for line in ONE:
        assert holds_of_one("cell_0_0", *line)
    for place in range(3):
        assert not holds_of_one("cell_0_0", *(value - 0.01 * (i == place) for i, value in enumerate(ONE[0])))


def test_a_class_whose_object_fills_the_frame_has_a_border() -> None:
    assert not holds_of_one("border_8", ONE_BORDER - 0.01, 1.0, 1.0)
    assert holds_of_one("border_8", ONE_BORDER, *ONE[0][1:])


def test_numbers_that_are_none_hold_nothing() -> None:
    nan = float("nan")
    assert not holds("border_8", nan, measured(1.0), 3)
    assert not holds("border_8", nan, measured(1.0), 2)
    assert not holds("border_8", 1.0, measured(nan, nan), 3)
    assert not holds_of_one("border_8", nan, 1.0, 1.0)


def test_appearance_is_noticed_only() -> None:
    for name, row in CUES.items():
        assert may_warn(name, row, {}) == row.may_warn
        for lost, drawn in ((DECIDES, DECIDES), (DECIDES, 0.3), (0.3, DECIDES)):
            decides = row.one_class == "warn" or min(lost, drawn) >= DECIDES
            assert may_warn_of_one(name, row, {}, lost, drawn) == (decides and row.may_warn)
    assert not may_warn("cell_1_2", CUES["cell_1_2"], {})  # inside lie organs and faces
    assert may_warn("cell_0_2", CUES["cell_0_2"], {})


@pytest.mark.parametrize("name", ["colour", "tones", "detail"])
def test_with_masks_a_cue_of_the_whole_image_warns_if_the_background_tells_too(name: str) -> None:
    for kappa, warns in ((BACKGROUND_TELLS, True), (BACKGROUND_TELLS - 0.01, False)):
        assert may_warn(name, CUES[name], {"background": told(kappa)}) == warns
        assert may_warn("border_8", CUES["border_8"], {"background": told(kappa)})


def test_the_model_is_asked_about_the_most_predictive() -> None:
    without_masks = [name for name in CUES if name != "background"]
    kappas = {name: 0.99 - 0.01 * place for place, name in enumerate(without_masks)}
    found = worth_asking({name: told(kappa) for name, kappa in kappas.items()}, 3)
    assert len(found) == MOST_CUES
    assert len([name for name in found if name.startswith("cell")]) == MOST_CELLS
    assert found == sorted(found, key=lambda name: -kappas[name])
    assert worth_asking({"border_8": told(0.7)}, 3) == ["border_8"]
    assert worth_asking({"border_8": told(0.7)}, 2) == []
    assert worth_asking({"border_8": told(float("nan"))}, 3) == []


def test_single_classes_are_asked_about() -> None:
    given = {
        "border_8": told(0.2, (0.99, 0.1, 0.98)),
        "colour": told(0.9, (0.1, 0.2, 0.97)),
        "sharpness": told(0.2, (1.0, 0.94, 0.0)),  # of its classes the clearest alone
        "fringes": told(0.2, (1.0, 0.0, 0.0)),  # a single class' fringes are its object's shape
    }
    expected = [("sharpness", 0), ("border_8", 0), ("border_8", 2), ("colour", 2)]
    assert worth_asking_alone(given, CUES, [0, 1, 2]) == expected
    assert worth_asking_alone(given, CUES, [2, 7]) == expected[2:]
    many = {name: told(0.1, (0.9, 0.9, 0.9)) for name in CUES}
    assert len(worth_asking_alone(many, CUES, [0, 1, 2])) == MOST_SINGLE


@pytest.mark.parametrize("name", FURTHER)
def test_some_cues_have_a_line_of_their_own(name: str) -> None:
    for least, points, excess in FURTHER[name]:
        assert holds(name, least, measured(points, LEAST_Z, excess), 3)
        assert not holds("border_8", least, measured(points, LEAST_Z, excess), 3)
        assert not holds(name, least - 0.01, measured(points, LEAST_Z, excess), 3)
        assert not holds(name, least, measured(points, LEAST_Z - 0.01, excess), 3)


def test_the_background_is_asked_about_wherever_it_tells_the_label() -> None:
    """Colours and borders of the background tell it as well, and would take all places."""
    given = {name: told(1.0 if name != "background" else 0.8) for name in CUES}
    for classes in (2, 3):
        tells = {**given, "background": told(0.95)}
        assert worth_asking(tells, classes)[0] == "background"
        assert len(worth_asking(tells, classes)) == MOST_CUES
    assert "background" not in worth_asking(given, 2)
