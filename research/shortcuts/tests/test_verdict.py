"""What the benchmark of shortcuts says of runs: on runs made up by hand, and on small networks trained for it."""

from typing import Any

import pytest
import torch

from lightning_cam.shortcuts.cues import CUES
from research.shortcuts.__main__ import judge
from research.shortcuts.artefacts import FAMILIES, KNOWN
from research.shortcuts.bank import Setup, train
from research.shortcuts.verdict import (
    RIGHT_CUES,
    bounds,
    counts,
    draw,
    interval,
    named,
    onset,
    seen,
    summary,
    table,
)


def finding(cue: str, looks: int, label: int | None = None) -> dict[str, Any]:
    return {"cue": cue, "looks": looks, "label": label, "tier": CUES[cue].tier}


def run(
    *found: list[dict[str, Any]],
    kind: str = "coded",
    family: str | None = "tint",
    shuffled: float = 0.1,
    carrier: int | None = None,
) -> dict[str, Any]:
    setup = {
        "domain": "digits",
        "family": family,
        "kind": kind,
        "seed": 0,
        "correlation": 1.0,
        "strength": 1.0,
    }
    rows = [
        {
            "findings": findings,
            "passes": 8.0,
            "hosts": 60,
            "val_images": 0.9,
            "aligned": 0.9,
            "removed": 0.5,
            "shuffled": shuffled,
        }
        for findings in found
    ]
    return {"setup": setup, "carrier": carrier, "class_names": ["a", "b"], "epochs": rows}


def test_intervals_by_hand() -> None:
    assert bounds(0, 138) == pytest.approx((0.0, 1 - 0.025 ** (1 / 138)))
    assert bounds(5, 5) == pytest.approx((0.025 ** (1 / 5), 1.0))
    assert interval(1, 2) == "  1/2   0.50 [0.01, 0.99]"


def test_found_once_twice_and_by_tier() -> None:
    notices = run([], [finding("mean_image", 1)], [finding("mean_image", 2)], [])
    assert (seen(notices, 1), seen(notices, 2), seen(notices, 2, tiers="A"), seen(notices, 2, (2,))) == (
        1,
        2,
        None,
        None,
    )
    warned = run([finding("border_8", 1)], [finding("border_8", 2)])
    assert (seen(warned, 2, tiers="A"), seen(warned, 2, (1,)), seen(warned, 2, (2,))) == (1, None, 1)


def test_only_verified_reliance_counts() -> None:
    assert counts(run([]))
    assert onset(run([])) == 0
    assert not counts(run([], shuffled=0.75))
    assert counts(run([], shuffled=0.9, kind="clean", family=None))


def test_names_are_right() -> None:
    assert named(run([finding("colour_mean", 2)])) == (True, False)
    assert named(run([finding("colour_mean", 1)])) == (False, False)  # only what held twice names
    assert named(run([finding("border_8", 2)])) == (False, False)
    assert named(run([finding("colour_mean", 2, 3)], kind="one", carrier=3)) == (True, True)
    assert named(run([finding("colour_mean", 2, 3), finding("mean_tone", 2, 1)], kind="one", carrier=3)) == (
        True,
        False,
    )


def test_every_family_says_what_names_it() -> None:
    assert set(RIGHT_CUES) == set(FAMILIES)
    assert all(
        cue.startswith(keys)
        for keys in RIGHT_CUES.values()
        for key in keys
        for cue in CUES
        if cue.startswith(key)
    )
    assert all(any(cue.startswith(key) for cue in CUES) for keys in RIGHT_CUES.values() for key in keys)


def test_table_and_picture() -> None:
    runs = [
        run([finding("colour_mean", 1)], [finding("colour_mean", 2)]),
        run([], []),
        run([], [], kind="clean", family=None),
    ]
    lines = table(runs).splitlines()
    assert lines[1].startswith("digits coded known")
    assert "1/2   0.50" in lines[1]
    assert lines[2].startswith("digits clean")
    assert "0/1   0.00" in lines[2]
    rows = summary(runs).splitlines()
    assert rows[0] == "| | digits |"
    assert rows[2] == "| class-coded, 7 families | 1/2   0.50 [0.01, 0.99], 1 |"
    assert rows[-1].startswith("| healthy: clean, broken, decoy | 0/1 ")
    (panel,) = draw(runs).axes
    assert panel.get_title() == "digits"


@pytest.mark.full
def test_planted_shortcuts_are_found_and_healthy_models_left_in_peace() -> None:
    """Digits, seven families, five epochs, seeds that the rule was not tuned on."""
    torch.set_num_threads(1)

    def judged(family: str | None, kind: str) -> dict[str, Any]:
        setup = Setup("digits", family, kind, 30)
        return judge(setup, train(setup, epochs=5))

    planted = [judged(family, "coded") for family in KNOWN]
    assert sum(seen(one, 1) is not None for one in planted) >= 6
    healthy = [
        judged(None, "clean"),
        *(judged(family, kind) for family in KNOWN for kind in ("broken", "decoy")),
    ]
    assert not [one["setup"] for one in healthy if seen(one, 2) is not None]
