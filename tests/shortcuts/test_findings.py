"""Findings over several looks."""

from dataclasses import replace

from support.findings import finding

from lightning_cam.shortcuts.findings import UNTESTED, FindingTracker, follow, tracker_from, tracker_state


def test_one_look_is_a_notice_two_are_a_warning() -> None:
    first = follow((), [finding(), finding("mean_image", "B")], {"border_8", "mean_image"}, 3)
    assert [known.level for known in first] == ["notice", "notice"]
    second = follow(first, [finding(), finding("mean_image", "B")], {"border_8", "mean_image"}, 4)
    assert [known.level for known in second] == ["warning", "notice"]
    assert (
        second[0].statement
        == "cue 'border_8' decides 97 % of conflicts (donor 121, host 4; 2 looks in a row, since epoch 3)"
    )
    assert follow(second, [], {"mean_image"}, 5) == second[:1]
    assert not follow(second, [], {"border_8", "mean_image"}, 5)
    assert follow(first, [finding()], {"border_8"}, 4, expected=["border"])[0].level == "expected"
    assert (
        follow(first, [finding("mean_image", "B")], {"mean_image"}, 4, alarming=["mean"])[0].level
        == "warning"
    )


def test_stage_two_rests_where_it_would_tell_nothing_new() -> None:
    once, twice = follow((), [finding()], {"border_8"}, 0), follow((finding(),), [finding()], {"border_8"}, 1)
    assert not UNTESTED.is_thorough
    assert UNTESTED.after((), False, None).after((), False, None).is_thorough  # every third look
    found = UNTESTED.after(once, True, ("mean_image", None))
    assert found.is_thorough  # to be confirmed
    confirmed = found.after(twice, True, ("mean_image", None))
    assert not confirmed.is_thorough
    assert confirmed.pointed == ("mean_image", None)
    assert tracker_from(tracker_state(confirmed)) == confirmed
    assert tracker_from(tracker_state(UNTESTED)) == UNTESTED


def test_a_label_is_named_before_its_cue() -> None:
    found = replace(finding(label=4), of="Pneumonia", classes=("with Pneumonia",))
    assert found.statement == "Pneumonia: cue 'border_8' decides 97 % of conflicts (donor 121, host 4)"
    other = replace(found, label=5, of="Edema")
    assert not found.same(other)
    before = follow((), [found, other], ["border_8"], epoch=0)
    after = follow(before, [found], ["border_8"], epoch=1)
    assert [(one.of, one.level, one.looks) for one in after] == [("Pneumonia", "warning", 2)]
    kept = tracker_from(tracker_state(FindingTracker(after)))
    assert kept.findings == after
