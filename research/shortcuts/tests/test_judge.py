"""The judge: whose sources name the rule, and that it finds what a monitor in a Trainer finds."""

import subprocess
import sys
from pathlib import Path

from research.shortcuts.judge import STUDY, rule, sources


def test_every_file_that_the_judge_needs_names_the_rule() -> None:
    """But for the list of runs: it does not change what is found in one."""
    script = (
        "import sys, research.shortcuts.judge; "
        "print(*(name for name in sys.modules if name.startswith('research.shortcuts.')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603
    needed = {name.removeprefix("research.shortcuts.") for name in done.stdout.split()}
    assert needed - set(STUDY) == {"plans"}
    assert set(STUDY) <= needed
    assert all(path.is_file() for path in sources())


def test_another_source_is_another_rule(tmp_path: Path) -> None:
    files = [tmp_path / "a.py", tmp_path / "b.py"]
    for path in files:
        path.write_text("LEAST = 1\n")
    before = rule(files)
    assert rule(files) == before
    files[1].write_text("LEAST = 2\n")
    assert rule(files) != before
