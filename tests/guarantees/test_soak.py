"""Many looks: what grows, grows as stated; what should not, does not."""

import itertools
import os
import statistics
from pathlib import Path

import pytest
from support.many_looks import many_looks

from lightning_cam.data.history import MOST_LOOKS


def slope(x: list[float], y: list[float]) -> float:
    """The median of the slopes between any two points: one reading that is off does not move it."""
    points = list(zip(x, y, strict=True))
    return statistics.median((d - b) / (c - a) for (a, b), (c, d) in itertools.combinations(points, 2))


@pytest.mark.skipif(
    not os.path.exists("/proc/self/statm"), reason="this system does not tell what a process holds"
)
@pytest.mark.parametrize(
    # Bytes a look, of a process that holds some 900 MB. A sheet is a megabyte as pixels; what is in use at a time differs by
    # six megabytes from look to look, with and without tests for shortcuts, which over 50 looks is 100 kB a look at most.
    ("looks", "most_growth"),
    [(60, 300e3), pytest.param(1000, 20e3, marks=pytest.mark.full)],
)
def test_many_looks(looks: int, most_growth: float, tmp_path: Path) -> None:
    run = many_looks(tmp_path, looks)
    found = run["found"]
    assert run["epochs"] == looks
    assert run["remembered"][-1] == looks - 1
    assert len(run["remembered"]) <= MOST_LOOKS
    assert run["remembered"][0] == -1
    half, last = found[len(found) // 2 - 1], found[-1]
    assert {name: last[name] for name in ("files", "hooks", "threads")} == {
        name: half[name] for name in ("files", "hooks", "threads")
    }
    assert last["hooks"] == 0
    warm = run["memory"][looks // 6 :: looks // 60]  # the first looks load what all later ones use
    growth = slope([float(i * (looks // 60)) for i in range(len(warm))], warm)
    assert growth < most_growth, (
        f"each look keeps {growth / 1e3:.0f} kB; history, film strip and tests are bounded"
    )
    sizes = [0, *(at["events"] for at in found)]
    each = [(after - before) / (looks / 10) for before, after in itertools.pairwise(sizes[5:])]
    assert 10e3 < min(each) < max(each) < 1e6, (
        "an overlay, a film strip of at most ten columns, the evidence of a finding, scalars"
    )
    before = sizes[5] / (looks / 2)
    assert sum(each) / len(each) < 1.5 * before, "looks of the second half are no larger than those before"


def test_a_slope_is_that_of_most_points() -> None:
    assert slope([0, 1, 2, 3, 4], [5, 7, 9, 11, 13]) == 2
    assert slope([0, 1, 2, 3, 4], [5, 5, 900, 5, 5]) == 0
