"""The rows of the table, and the picture, of judgements made up by hand."""

from dataclasses import asdict
from typing import Any

import pytest

from research.shortcuts.groups import ALL, MARKS, Group, groups_of, ordered, part_of
from research.shortcuts.picture import draw
from research.shortcuts.plans import PLANS
from research.shortcuts.setups import Setup
from research.shortcuts.table import HEAD, costs, gathered, table
from research.shortcuts.tests.test_verdict import finding, look, measured, run
from research.shortcuts.verdict import Verdict, verdict

MOST = measured("colour", 50, 4, 1e-9)
COLOUR = look(finding("colour"), tests=(MOST,), passes=20.0)
RUNS = [
    run(look(), look(), COLOUR),  # warned one epoch after the first look that could
    run(look(), COLOUR, COLOUR, seed=1),
    run(look(finding("detail", "notice")), look(), family="frame"),
    run(look(finding("tones"), relies=0.1), family="blur"),  # relies on nothing, and is warned
    run(COLOUR, COLOUR, family="gamma"),
    run(look(finding("border_8", classes=("c",))), look(), family="frame", kind="one", carrier=2),
    run(look(relies=0.0), kind="clean", family=None),
    run(look(finding("detail"), relies=0.0), kind="broken"),
    run(look(finding("detail", "notice"), relies=0.0), kind="clean", family=None, domain="honest_texture"),
]


def rows(
    verdicts: dict[str, list[Verdict]], planned: dict[str, list[Setup]] | None = None
) -> dict[str, dict[str, str]]:
    lines = table(verdicts, planned or {part: setups(some) for part, some in verdicts.items()}).splitlines()
    assert lines[1] == f"|{' --- |' * len(HEAD)}"
    cells = [dict(zip(HEAD, line.strip("| ").split(" | "), strict=True)) for line in lines[2:]]
    return {f"{row['plans']} / {row['data']} / {row['runs']}": row for row in cells}


def setups(verdicts: list[Verdict]) -> list[Setup]:
    return [Setup(**one.setup) for one in verdicts]


def test_the_rows_of_a_part() -> None:
    found = rows({"confirmation": [verdict(one) for one in RUNS]})
    assert list(found) == [
        "confirmation / digits / class-coded",
        "confirmation / digits / class-coded: seven families",
        "confirmation / digits / class-coded: five that no cue was made for",
        "confirmation / digits / one class: seven families",
        "confirmation / digits / clean",
        "confirmation / digits / broken",
        "confirmation / digits and shapes, all / honest",
        "confirmation / honest texture / clean",
    ]
    seven = found["confirmation / digits / class-coded: seven families"]
    assert (seven["there"], seven["rely"], seven["noticed only"]) == ("4", "3", "1")
    assert seven["warned"] == "2/3 0.67 [0.09, 0.99]"
    assert seven["rule of before"] == "1/3 0.33 [0.01, 0.91]"
    assert (seven["right cue"], seven["right class"], seven["others warned"]) == ("2/2", "-", "1/1")
    assert seven["lead"] == "+0.5"
    assert (seven["cues"], seven["mark"]) == ("colour 2, detail 1", "0.95: missed")
    # nine looks: three of 20 passes, six of 8 at which no cue told all classes apart
    assert (seven["passes"], seven["idle passes"], seven["seconds"]) == ("12.0", "8.0", "0.50")
    five = found["confirmation / digits / class-coded: five that no cue was made for"]
    assert (five["right cue"], five["mark"], five["idle passes"]) == ("1/1", "0.8: reached", "-")
    one = found["confirmation / digits / one class: seven families"]
    assert (one["right cue"], one["right class"], one["mark"]) == ("1/1", "1/1", "0.7: reached")
    assert found["confirmation / digits / broken"]["right cue"] == "-"  # nothing was to be found
    honest = found["confirmation / digits and shapes, all / honest"]
    assert honest["warned"] == "1/2 0.50 [0.01, 0.99]"
    assert honest["mark"] == "at most 0 false: missed"
    texture = found["confirmation / honest texture / clean"]
    assert (texture["warned"][:3], texture["noticed only"], texture["cues"], texture["mark"]) == (
        "0/1",
        "1",
        "detail 1",
        "-",
    )


def test_honest_runs_of_real_data_have_two_marks() -> None:
    clean = {"kind": "clean", "family": None, "domain": "fashion"}
    noticed = verdict(run(look(finding("detail", "notice"), relies=0.0), **clean))
    silent = verdict(run(look(relies=0.0), **clean))
    few = rows({"confirmation": [noticed, *[silent] * 9]})["confirmation / real data, all / honest"]
    assert few["mark"] == "at most 1 false: reached; at most 10 % noticed: reached"
    more = rows({"confirmation": [noticed, *[silent] * 8]})["confirmation / real data, all / honest"]
    assert more["mark"] == "at most 1 false: reached; at most 10 % noticed: missed"


def test_tuning_and_confirmation_share_no_row() -> None:
    found = rows({"tuning": [verdict(RUNS[0])], "confirmation": [verdict(RUNS[1])]})
    assert list(found) == [
        "tuning / digits / class-coded: seven families",
        "confirmation / digits / class-coded: seven families",
    ]
    assert [row["rely"] for row in found.values()] == ["1", "1"]


def test_runs_that_are_planned_and_not_there() -> None:
    missing = [Setup("digits", "tint", "coded", seed) for seed in range(5)]
    found = rows({"confirmation": [verdict(RUNS[0])]}, {"confirmation": missing})
    assert found["confirmation / digits / class-coded: seven families"]["there"] == "1 of 5"


def test_every_planned_run_has_a_row_and_every_mark_is_asked_for() -> None:
    found = {
        group
        for plan, make in PLANS.items()
        for setup in make()
        for group in groups_of(part_of(plan), asdict(setup))
    }
    assert {part_of(plan) for plan in PLANS} == {group.part for group in found} == {"tuning", "confirmation"}
    names = {(group.data, group.kind, group.families) for group in found}
    assert set(MARKS) <= names
    kept = ordered(found)
    assert len(set(kept)) == len(kept)
    for group in found - set(kept):  # a sum of one row
        beside = [
            other
            for other in kept
            if (other.part, other.data, other.kind) == (group.part, group.data, group.kind)
        ]
        assert group.families == ALL
        assert len(beside) == 1
    shares = {
        group.kind for group in kept if group.data == "Fashion-MNIST" and group.kind.startswith("one class")
    }
    assert shares == {"one class", *(f"one class, on {share} % of its images" for share in (20, 50, 80))}
    assert Group("confirmation", "composites", "planted", ALL) in kept


def test_families_apart() -> None:
    found = gathered({"confirmation": [verdict(one) for one in RUNS[:4]]}, by_family=True)
    assert [group.families for group in found] == [ALL, "blur", "frame", "tint"]


def test_passes_of_all() -> None:
    assert costs({"confirmation": [verdict(RUNS[1])]}) == (
        "confirmation: 16.0 passes of the probe a look by the mean over 3 looks of 1 runs, 8.0 over the 1 at which no cue told "
        "all classes apart."
    )


def test_the_picture_shows_every_row_with_runs_that_count() -> None:
    above, below = draw({"tuning": [verdict(RUNS[0])], "confirmation": [verdict(one) for one in RUNS]}).axes

    def labels(panel: Any) -> list[str]:
        return [text.get_text() for text in panel.get_yticklabels()]

    assert labels(above) == [
        "digits, class-coded  (4)",
        "digits, class-coded: seven families  (3)",
        "digits, class-coded: five that no cue was made for  (1)",
        "digits, one class: seven families  (1)",
    ]
    assert labels(below)[-1] == "honest texture, clean  (1)"
    shares = above.containers[0].lines[0].get_xdata()
    assert list(shares) == pytest.approx([3 / 4, 2 / 3, 1, 1])
    with pytest.raises(ValueError, match="there is no run"):
        draw({})
