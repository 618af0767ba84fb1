"""``.ci/gpu`` does on the CPU, in small, what it does on a GPU; a part that fails does not keep the others."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def gpu(*options: str, limit: int = 60, **environment: str) -> tuple[int, str]:
    """How ``.ci/gpu`` ends and what it prints."""
    done = subprocess.run(  # noqa: S603 - our own file
        ["bash", str(ROOT / ".ci" / "gpu"), *options],  # noqa: S607
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    return done.returncode, done.stdout + done.stderr


def ends(printed: str) -> dict[str, str]:
    """How each part ended, as the last lines say."""
    lines = printed.rsplit("\n--- ", 1)[1].splitlines()[1:]
    return {name: " ".join(end) for name, *end in (line.split() for line in lines if line)}


def python(folder: Path, does: str) -> str:
    """Something to run in place of Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return str(path)


def test_everything_for_the_gpu_runs_on_the_cpu(tmp_path: Path) -> None:
    code, printed = gpu("--smoke", "--out", str(tmp_path / "out"), limit=590)
    assert code == 0, printed[-6000:]
    found = ends(printed)
    assert list(found) == ["tests", "figures"]
    assert all(end.startswith("passed in") for end in found.values())
    log = (tmp_path / "out" / "tests.log").read_text()
    skipped = [line for line in log.splitlines() if line.startswith("SKIPPED")]
    assert len(skipped) == 2, "what the CPU has not is named"
    assert all("FullyShardedDataParallel" in line or "memory_allocated" in line for line in skipped)
    page = (tmp_path / "out" / "benchmark_gpu.md").read_text()
    assert "A trial in small on a CPU" in page
    for words in (
        "vit_b_16, 1, bf16",
        "scorecam, resnet18",
        "a frame tells the class",
        "the loop waits",
        "share: first look",
    ):
        assert words in page


def test_parts_that_fail_do_not_keep_the_others(tmp_path: Path) -> None:
    # It ends well where it is asked for figures, and there alone.
    code, printed = gpu(
        "--smoke", PYTHON=python(tmp_path, 'case "$1" in benchmarks/gpu.py) ;; *) exit 3 ;; esac')
    )
    assert code == 1
    found = ends(printed)
    assert found["tests"].startswith("FAILED with 3")
    assert found["figures"].startswith("passed")


@pytest.mark.parametrize(("seconds", "end"), [("1", "TIMED OUT"), ("0", "not begun")])
def test_parts_that_have_no_time_left_are_named(seconds: str, end: str, tmp_path: Path) -> None:
    code, printed = gpu("--smoke", PYTHON=python(tmp_path, "exec sleep 100"), TOTAL=seconds)
    assert code == 1
    assert [words.startswith(end) for words in ends(printed).values()] == [True, True]


def test_without_a_gpu_it_says_what_to_do(tmp_path: Path) -> None:
    code, printed = gpu(PYTHON=python(tmp_path, "exit 1"))
    assert code == 2
    assert "no CUDA device; --smoke does without" in printed
