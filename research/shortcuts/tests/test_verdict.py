"""What the study says of runs: on judgements made up by hand."""

from typing import Any

import pytest

from lightning_cam.shortcuts.cues import CUES
from research.shortcuts.artefacts import FAMILIES
from research.shortcuts.right_cues import RIGHT_CUES
from research.shortcuts.verdict import bounds, interval, verdict

NAMES = ["a", "b", "c"]


def finding(
    cue: str, level: str = "warning", classes: tuple[str, ...] = (), label: int | None = None
) -> dict[str, Any]:
    return {"cue": cue, "level": level, "classes": list(classes), "label": label}


def measured(
    cue: str, donor: int = 0, host: int = 60, p_value: float = 1.0, label: int | None = None
) -> dict[str, Any]:
    counted = {"donor": donor, "host": host, "swaps": 64, "p_value": p_value}
    return {
        "cue": cue,
        "label": label,
        "predictivity": 1.0,
        "points": 0.0,
        "z": 0.0,
        "excess": 0.0,
        **counted,
    }


def look(
    *findings: dict[str, Any],
    relies: float = 0.5,
    tests: tuple[dict[str, Any], ...] = (),
    passes: float = 8.0,
) -> dict[str, Any]:
    return {
        "findings": list(findings), "results": list(tests), "passes": passes, "seconds": 0.5, "val_images": 0.9, "aligned": 0.9,
        "removed": 0.5, "shuffled": 0.9 - relies, "baselines": {},
    }  # fmt: skip


def run(*looks: dict[str, Any], carrier: int | None = None, **setup: Any) -> dict[str, Any]:
    known = {
        "domain": "digits",
        "family": "tint",
        "kind": "coded",
        "seed": 0,
        "correlation": 1.0,
        "strength": 1.0,
    }
    rows = [{"epoch": epoch, **row} for epoch, row in enumerate(looks)]
    return {"setup": known | setup, "carrier": carrier, "class_names": NAMES, "epochs": rows, "seconds": 2.0}


def test_intervals_by_hand() -> None:
    assert bounds(0, 138) == pytest.approx((0.0, 1 - 0.025 ** (1 / 138)))
    assert bounds(5, 5) == pytest.approx((0.025 ** (1 / 5), 1.0))
    assert interval(1, 2) == "1/2 0.50 [0.01, 0.99]"
    assert interval(0, 0) == "-"


def test_warned_at_the_first_look_that_could_warn() -> None:
    found = verdict(run(look(finding("colour", "notice"), relies=0.1), look(), look(finding("colour"))))
    assert (found.relies, found.settled, found.warned, found.first, found.lead) == (True, 2, 2, 2, 0)
    assert found.noticed
    assert found.right_cue
    assert found.cues == ("colour",)


def test_a_warning_counts_only_where_the_network_relies() -> None:
    early = verdict(run(look(relies=0.1), look(finding("colour"), relies=0.15), look(), look()))
    assert (early.warned, early.first, early.settled, early.lead) == (None, 1, 3, -2)
    assert not early.noticed
    late = verdict(
        run(look(relies=0.1), look(finding("colour"), relies=0.15), look(finding("colour")), look())
    )
    assert (late.warned, late.first) == (2, 1)
    nothing = verdict(run(look(finding("colour"), relies=0.15)))
    assert (nothing.relies, nothing.counts, nothing.warned, nothing.first) == (False, False, None, 0)


def test_every_warning_of_an_honest_run_is_false() -> None:
    clean = verdict(run(look(finding("colour"), relies=0.0), kind="clean", family=None))
    assert (clean.counts, clean.warned, clean.right_cue, clean.right_class) == (True, 0, None, None)
    noticed = verdict(run(look(finding("detail", "notice"), relies=0.0), kind="decoy"))
    assert (noticed.warned, noticed.noticed, noticed.cues) == (None, True, ("detail",))


def test_reliance_must_hold_two_epochs_in_a_row_to_settle() -> None:
    assert verdict(run(look(), look(relies=0.1), look(), look())).settled == 3
    alone = verdict(run(look(finding("colour")), look(relies=0.1), look()))
    assert (alone.settled, alone.warned, alone.lead) == (None, 0, None)


def test_names_are_right() -> None:
    assert not verdict(
        run(look(finding("border_8"), finding("tones", "notice")))
    ).right_cue  # only warnings name
    assert verdict(run(look(finding("border_8"), finding("tones")))).right_cue
    own = verdict(run(look(finding("tones", classes=("c",), label=2)), kind="one", carrier=2))
    assert (own.right_cue, own.right_class) == (True, True)
    other = verdict(run(look(finding("tones", classes=("a", "c"))), kind="one", carrier=2))
    assert other.right_class is False  # it names the carrier, but another one first
    assert verdict(run(look(finding("colour", "notice", ("c",))), kind="one", carrier=2)).right_class is None


def test_the_rule_of_before_needs_the_same_cue_twice_in_a_row() -> None:
    most, few = measured("colour", 50, 4, 1e-9), measured("tones", 50, 4, 1e-9)
    assert verdict(run(look(tests=(most,)), look(tests=(most,)))).dominated
    assert not verdict(run(look(tests=(most,)), look(tests=(few,)))).dominated
    assert not verdict(run(look(tests=(most,)), look(), look(tests=(most,)))).dominated
    assert not verdict(run(look(tests=(most,)), look(tests=(most,), relies=0.1))).dominated
    # 0.006 of one test, 0.012 of two: Bonferroni.
    near = measured("colour", 40, 20, 0.006)
    assert verdict(run(look(tests=(near,)), look(tests=(near,)))).dominated
    assert not verdict(
        run(look(tests=(near, measured("tones"))), look(tests=(near, measured("tones"))))
    ).dominated


def test_costs() -> None:
    found = verdict(
        run(
            look(tests=(measured("colour"),), passes=20.0),
            look(tests=(measured("colour", label=1),), passes=4.0),
        )
    )
    assert (found.passes, found.idle, found.seconds, found.preparation) == (
        (20.0, 4.0),
        (4.0,),
        (0.5, 0.5),
        2.0,
    )


def test_every_family_says_what_names_it() -> None:
    assert set(RIGHT_CUES) == {*FAMILIES, "background"}
    assert len(FAMILIES) == 28
    for family, cues in RIGHT_CUES.items():
        assert cues, family
        assert set(cues) <= set(CUES), family
    assert {cue for cues in RIGHT_CUES.values() for cue in cues} == set(CUES)
