"""The figures of README can still be had, and the bounds that they stand for hold."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "look.py"


def ratios(*options: str) -> tuple[float, float]:
    """Time and memory of a look as ratios to the inference forward."""
    command = [sys.executable, str(SCRIPT), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)  # noqa: S603
    row = next(line for line in done.stdout.splitlines() if line.startswith("| look |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    return float(cells[2]), float(cells[4])


def test_a_look_needs_the_memory_of_inference() -> None:
    _, memory = ratios("--rounds", "1", "--images", "4")
    assert memory <= 1.1  # counted, not timed: the same on every machine


@pytest.mark.full
def test_a_look_costs_an_inference_forward() -> None:
    time, memory = ratios()
    assert time <= 1.05
    assert memory <= 1.1
