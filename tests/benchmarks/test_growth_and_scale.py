"""What is said of growth and of many nodes: the arithmetic on made-up figures, and the measurements in small."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import growth
import pytest
import scale
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def printed(script: str, *options: str) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=True).stdout  # noqa: S603


def a_point(size: int, **figures: Any) -> growth.Point:
    return growth.Point(
        "images",
        size,
        **{
            "look": 1,
            "tested": 1,
            "first": 1,
            "look_peak": 1,
            "tested_peak": 1,
            "probe": 1,
            "state": 1,
            **figures,
        },
    )


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_the_power_that_a_figure_grows_with(power: float) -> None:
    points = [a_point(size, look=3 * size**power) for size in (16, 64, 256, 1024)]
    assert growth.exponent(points, "look") == pytest.approx(power)


def test_the_power_is_that_of_the_larger_half() -> None:
    points = [a_point(size, look=max(100.0, size)) for size in (1, 10, 100, 200, 400, 800)]
    assert growth.exponent(points, "look") == pytest.approx(1.0)


def test_tables_and_picture(tmp_path: Path) -> None:
    points = [a_point(size, look=0.001 * size) for size in (16, 32, 64)]
    looks = growth.Looks([0.01] * 20, [10**8] * 20, {2: 10**5, 20: 2 * 10**5})
    for text in (growth.table(points), growth.looks_table(looks), scale.counts_table({2: {"a look": SAID}})):
        columns = {line.count("|") for line in text.splitlines() if line.startswith("|")}
        assert len(columns) == 1
    assert "| 64 | 64.0 ms |" in growth.table(points)
    growth.plot(points, points, looks, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


SAID = scale.Sequence(gathers=3, reduces=2, barriers=2, broadcasts=1, own_bytes=8, broadcast_bytes=1000)
NETWORK = scale.Cluster(latency_within=1, latency_between=10, bandwidth=1e6)


@pytest.mark.parametrize(
    ("nodes", "each", "ring", "expected"),
    [
        (1, 1, True, 0),
        (1, 8, True, 7),  # steps from one to the next
        (1, 8, False, 6),  # three up, three down
        (2, 8, True, 2 * 7 + 2 * 10),
        (64, 8, True, 64 * 7 + 64 * 10),
        (64, 8, False, 2 * (3 + 6 * 10)),
    ],
)
def test_steps_of_a_collective(nodes: int, each: int, ring: bool, expected: float) -> None:
    assert scale.steps(nodes, each, NETWORK, ring) == expected


def test_what_a_sequence_takes() -> None:
    carried = (8 * 16 + 1000) / 1e6 * 1e6
    assert scale.talk(SAID, 2, 8, NETWORK) == 3 * 34 + (2 + 2 + 1) * 2 * (3 + 10) + carried
    assert scale.talk(SAID, 1, 1, NETWORK) == 0


def test_one_process_says_nothing_and_many_share_the_tests() -> None:
    said = {"a look": SAID, "all tests, beyond a look": SAID}
    rows = [
        [float(cell.split()[0]) for cell in line.strip("| ").split(" | ")[1:]]
        for line in scale.paper(said, scale.Cluster(), 3072, 30).splitlines()
        if re.match(r"\| \d", line)
    ]
    network, talk = ([row[column] for row in rows] for column in (4, 5))
    assert talk[0] == 0 < talk[1] < talk[2] < talk[3]
    # Until a rank has a single image, which takes as long as launching its kernels.
    assert network[0] > network[1] >= network[2] == network[3] == 30 * scale.Cluster().least_forward / 1e3


@pytest.mark.full
def test_growth_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    options = [
        "--parts",
        "growth",
        "--growth-sizes",
        "small",
        "--plot",
        str(tmp_path / "growth.png"),
        "--json",
        str(path),
    ]
    assert printed("overhead.py", *options).count("grows with the power") == 2
    *points, looks = json.loads(path.read_text())["growth"]
    assert [(one["along"], one["size"]) for one in points] == [
        ("images", 16),
        ("images", 32),
        ("classes", 2),
        ("classes", 4),
    ]
    assert all(one["look"] > 0 and one["tested"] > 0 for one in points)
    assert all(0 < one["look_peak"] <= one["tested_peak"] for one in points)
    assert len(looks["times"]) == len(looks["held"]) == 12
    assert (tmp_path / "growth.png").exists()


@pytest.mark.full
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without torch.distributed")
def test_counts_do_not_depend_on_how_many_processes_there_are() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in printed("scale.py", "--processes", "2", "3").splitlines()
        if re.match(r"\| .* \| [23] \|", line)
    ]
    assert len(rows) == 6
    for two, three in zip(rows[::2], rows[1::2], strict=True):
        assert two[0] == three[0]
        # At first each rank tells its candidates for the probe, three objects of two calls each.
        more = 6 if two[0].startswith("the first look") else 0
        assert [*map(int, three[2:6])] == [*map(int, two[2:5]), int(two[5]) + more]  # calls
        assert int(two[2]) > 0
