"""The examples run as a user runs them, shortened."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("options", [[], ["--clean"]], ids=["tag", "clean"])
def test_digits(options: list[str], tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "digits.py"), "--epochs", "2", "--root", str(tmp_path), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    table = done.stdout.partition("epoch   aligned   removed   shuffled      border    corners\n")[2].splitlines()
    assert [line.split()[0] for line in table[:2]] == ["0", "1"]
    assert f"tensorboard --logdir {tmp_path}/lightning_logs --samples_per_plugin images=1000" in done.stdout
    assert list(tmp_path.rglob("events.out.tfevents.*"))
    assert "switched itself off" not in done.stderr
