"""What the page says of shortcuts: never more than was tested."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.pages import finding

from lightning_cam.report.shortcut_section import (
    LEAST_POINTS,
    found_words,
    reliance_drawing,
    shortcut_section,
)
from lightning_cam.shortcuts.cues import CUES
from lightning_cam.shortcuts.findings import Finding
from lightning_cam.shortcuts.reliance import Reliance
from lightning_cam.shortcuts.rule import holds, holds_of_one
from lightning_cam.visualization.reliance import draw_reliance

LOOKS = [
    (-1, {"border_8": 0.0}),
    (0, {"border_8": 0.31, "detail": 0.02}),
    (2, {"border_8": 0.42, "tones": -0.002}),
]
TOLD = {"border_8": 0.97, "detail": 0.9, "tones": 0.95, "cell_1_1": 0.7, "spot": 0.45, "colour": -0.1}


def section(
    findings: tuple[Finding, ...] = (), told: dict[str, float] = TOLD, looks: Any = LOOKS, **options: Any
) -> dict[str, Any]:
    given = {"notes": (), "tested": (60, 64), "sheets": {}} | options
    return shortcut_section(findings, given["sheets"], told, looks, given["notes"], given["tested"])


def row(**changes: Any) -> dict[str, str]:
    (found,) = section((finding(**changes),))["findings"]
    return dict(found["row"])


def test_a_finding_is_a_row_of_words_and_figures() -> None:
    assert row() == {
        "cue": "the border",
        "tells the label": "0.97",
        "reliance": "42 points",
        "drawn to the cue's class": "31 %",
        "classes": "a",
        "holds": "2 looks in a row, since epoch 1",
        "level": "warning",
    }


@pytest.mark.parametrize(
    ("changes", "column", "words"),
    [
        ({"is_binary": True, "drawn": 0.0}, "drawn to the cue's class", "–"),
        ({"label": 3, "classes": ("cat",)}, "cue", "the border of class cat"),
        ({"label": 3, "predictivity": 0.93}, "tells the label", "F1 0.93"),
        ({"label": 3, "of": "edema"}, "cue", "the border, label edema"),
        ({"label": 3, "of": "edema"}, "tells the label", "0.97"),
        ({"looks": 1, "level": "notice"}, "holds", "1 look, epoch 1"),
        ({"looks": 1, "since": None}, "holds", "1 look"),
        ({"level": "notice", "may_warn": False}, "level", "notice (appearance cue: notice only)"),
        ({"level": "expected"}, "level", "expected"),
        ({"classes": ()}, "classes", "none by itself"),
        ({"classes": tuple("abcdefghijklmn")}, "classes", "a, b, c, d, e, f, g, h, i, j, k, l and 2 more"),
    ],
)
def test_other_findings_say_what_they_are(changes: dict, column: str, words: str) -> None:
    assert row(**changes)[column] == words


def test_every_cue_says_what_was_asked_of_the_model() -> None:
    cues = {cue["cue"]: cue for cue in section()["cues"]}
    assert list(cues) == ["border_8", "tones", "detail", "cell_1_1", "spot", "colour"], (
        "the most predictive first"
    )
    assert {name: cue["asked"] for name, cue in cues.items()} == {
        "border_8": "reliance 42 points at epoch 2",
        "tones": "reliance 0 points at epoch 2",
        "detail": "reliance 2 points at epoch 0, not tested since",
        "cell_1_1": "not tested: other cues tell the label at least as well",
        "spot": "not tested: does not tell the label well enough",
        "colour": "not tested: does not tell the label well enough",
    }
    assert cues["tones"]["meaning"] == "brightness and contrast"
    assert cues["colour"]["predictivity"] == -0.1


def test_reliance_below_nothing_and_before_training() -> None:
    (cue,) = section(told={"border_8": 0.9}, looks=[(-1, {"border_8": -0.12})])["cues"]
    assert cue["asked"] == "reliance −12 points untrained"


def test_where_no_cue_was_tested_none_is_said_to_tell_it_better() -> None:
    (cue,) = section(told={"border_8": 0.8}, looks=[(0, {})])["cues"]
    assert cue["asked"] == "not tested: does not tell the label well enough"


def test_a_cue_of_the_users_own_keeps_its_meaning() -> None:
    found = finding(cue="mine", meaning="the left half")
    told = section((found,), {"mine": 0.9, "other": 0.1}, [(0, {"mine": 0.4})])
    assert [cue["meaning"] for cue in told["cues"]] == ["the left half", "other"]


@pytest.mark.parametrize(
    ("tested", "result", "note"),
    [
        ((64, 64), "none found", "64 of 64 images tested"),
        ((8, 18), "none found", "8 of 18 images tested"),
        ((7, 18), "not possible yet", "7 of 18 images are answered rightly"),
        ((20, 100), "none found", "20 of 100 images tested"),
        ((19, 100), "not possible yet", "19 of 100 images are answered rightly"),
        (None, "none found", "as of the last tests"),
    ],
)
def test_none_found_says_how_much_was_tested(tested: tuple[int, int] | None, result: str, note: str) -> None:
    found = section(tested=tested)["tests"]
    assert (found["result"], found["note"]) == (result, note)
    assert result in found["sentence"]
    assert note in found["sentence"]


def test_nothing_to_test_and_not_tested_are_two_things() -> None:
    nothing = section(told={"border_8": 0.4}, looks=[(0, {})])
    unknown = section(told={}, looks=[])
    assert nothing["tests"]["note"] == "no cue alone tells the label well enough: nothing to test"
    assert unknown["tests"] == {"result": "not tested", "note": "", "sentence": "Shortcut tests: not tested."}
    assert nothing["reliance"] == unknown["reliance"] == "", "no empty picture"


def test_the_picture_is_that_of_the_run() -> None:
    found = finding()
    shown = Image.open(io.BytesIO(base64.b64decode(section((found,))["reliance"].partition(",")[2])))
    meanings = {"border_8": "the border", "detail": "fine detail", "tones": "brightness and contrast"}
    drawn = draw_reliance(LOOKS, TOLD, meanings, ["border_8"], least=LEAST_POINTS)()
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(drawn))
    other = draw_reliance(LOOKS, TOLD, meanings, [], least=LEAST_POINTS)()
    assert (np.asarray(shown) != np.asarray(other)).any(), "which cue is a finding"
    own = reliance_drawing(LOOKS, TOLD, [found])()
    np.testing.assert_array_equal(np.asarray(own), np.asarray(drawn))


def test_the_grey_ground_is_below_every_rule() -> None:
    strong = dict.fromkeys(CUES, Reliance(1.0, 1.0 - LEAST_POINTS + 0.001, 100.0, 1.0, 64))
    enough = Reliance(1.0, 1.0 - LEAST_POINTS - 0.001, 100.0, 1.0, 64)
    for classes in (2, 3):
        assert not any(holds(cue, 1.0, found, classes) for cue, found in strong.items())
        assert holds("border_8", 1.0, enough, classes)
    assert not any(holds_of_one(cue, 1.0, LEAST_POINTS - 0.001, 1.0) for cue in CUES)


def test_findings_stand_by_their_rank() -> None:
    expected, weak, strong = (
        finding(level="expected", reliance=0.9),
        finding(cue="spot", reliance=0.2),
        finding(),
    )
    told = section((expected, weak, strong))["findings"]
    assert [one["statement"] for one in told] == [strong.statement, weak.statement, expected.statement]


@pytest.mark.parametrize(
    ("findings", "told", "looks", "tested", "words"),
    [
        ([], {}, [], None, ""),
        ([], TOLD, LOOKS, (60, 64), "shortcut tests: none found, 60 of 64 images tested; "),
        ([], TOLD, LOOKS, (3, 64), "shortcut tests: not possible yet, 3 of 64 images are answered rightly; "),
        ([{"level": "expected"}], TOLD, LOOKS, (9, 9), "shortcut tests: none found, 9 of 9 images tested; "),
        ([{}], TOLD, LOOKS, (60, 64), "possible shortcut: the border (accuracy falls by 42 points); "),
        (
            [{"label": i, "classes": (f"class {i}",), "reliance": 0.1 * i} for i in range(1, 6)],
            TOLD,
            LOOKS,
            (60, 64),
            "possible shortcuts: the border of class class 5 (accuracy falls by 50 points), the border of class "
            "class 4 (accuracy falls by 40 points), the border of class class 3 (accuracy falls by 30 points) "
            "and 2 more; ",
        ),
    ],
)
def test_what_was_found_in_one_line(
    findings: list[dict], told: dict, looks: Any, tested: Any, words: str
) -> None:
    assert found_words([finding(**changes) for changes in findings], told, looks, tested) == words
