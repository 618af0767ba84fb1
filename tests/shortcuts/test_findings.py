"""Findings over several looks."""

from dataclasses import replace

import pytest
from support.findings import finding

from lightning_cam.shortcuts.findings import findings_from, findings_state, follow, is_among


def test_one_look_is_a_notice_two_are_a_warning() -> None:
    first = follow((), [finding(), finding("tones", may_warn=False)], 3)
    assert [(known.level, known.since) for known in first] == [("notice", 3)] * 2
    second = follow(first, [finding(), finding("tones", may_warn=False)], 4)
    assert [(known.level, known.looks, known.since) for known in second] == [
        ("warning", 2, 3),
        ("notice", 2, 3),
    ]
    assert "(2 looks in a row, since epoch 3)" in second[0].statement
    assert follow(second, [], 5) == ()
    again = follow(follow(second, [], 5), [finding()], 6)
    assert [(known.level, known.looks, known.since) for known in again] == [("notice", 1, 6)]


def test_what_is_expected_or_shall_alarm() -> None:
    first = follow((), [finding()], 0)
    assert follow(first, [finding()], 1, expected=["border"])[0].level == "expected"
    assert follow(first, [finding()], 1, expected=["cell"])[0].level == "warning"
    tones = finding("tones", may_warn=False)
    assert follow(follow((), [tones], 0), [tones], 1, alarming=["tone"])[0].level == "warning"
    assert is_among("cell_0_0", ["border", "cell_0"])
    assert not is_among("cell_0_0", ["border"])


def test_warnings_come_first_then_the_strongest() -> None:
    known = follow((), [finding("cell_0_0")], 0)
    now = [
        finding("tones", may_warn=False, reliance=1.0),
        finding("border_8", reliance=0.3),
        finding("border_16", reliance=0.5),
        finding("cell_0_0", reliance=0.2),
    ]
    assert [one.cue for one in follow(known, now, 1)] == ["cell_0_0", "border_16", "border_8", "tones"]


def test_statements_say_what_was_measured() -> None:
    assert finding().statement == (
        "The border. It alone, without the model, tells the class in 99 % of the validation images. Accuracy on 64 "
        "probe images falls by 89 points when it comes from an image of another class rather than of its own."
    )
    assert "damage and preference cannot be told apart" in replace(finding(), is_binary=True).statement
    assert finding(label=0, told=0.97).statement == (
        "The border of class 'a'. It alone, without the model, tells this class from the others with an F1 of 0.97. "
        "Its images lose 89 points of accuracy when it comes from another class, and 40 % of other images are drawn "
        "to it."
    )
    assert (
        "without the model, tells whether 'Edema' is there in 99 %" in finding(label=2, of="Edema").statement
    )


@pytest.mark.parametrize("one", [finding(), finding(label=4, of="Edema"), finding(label=1)], ids=str)
def test_findings_are_told_apart_by_cue_and_label(one) -> None:
    other = replace(one, label=5)
    assert one.key != other.key
    after = follow(follow((), [one, other], 0), [one], 1)
    assert [(found.key, found.level, found.looks) for found in after] == [(one.key, "warning", 2)]


def test_findings_are_saved_and_read() -> None:
    found = follow((), [finding(), finding(label=4, of="Edema", classes=("with", "without"))], 0)
    state = findings_state(found)
    assert all(isinstance(one, dict) for one in state)
    assert findings_from(state) == found
    assert findings_from([{**one, "classes": list(one["classes"])} for one in state]) == found
    assert findings_from([]) == ()
