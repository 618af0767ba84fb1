"""The command as a whole: its verbs, its help, and how it refuses."""

import subprocess
import sys
from pathlib import Path

import pytest

from lightning_cam import __version__
from lightning_cam.command.main import VERBS, main


def test_python_m_lightning_cam_is_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lightning_cam", "explain", "none.jpg"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stderr == "lightning-cam explain: image: there is no file none.jpg.\n"
    assert done.stdout == ""


@pytest.mark.parametrize("verb", VERBS)
def test_help_says_what_each_verb_does(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    assert VERBS[verb].SUMMARY in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit) as left:
        main([verb, "--help"])
    assert left.value.code == 0
    printed = capsys.readouterr().out
    assert f"    lightning-cam {verb} " in printed, "examples, line by line"


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"lightning-cam {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: VERB"),
        (["explian", "cat.jpg"], "invalid choice: 'explian'"),
        (["report"], "the following arguments are required: CHECKPOINT"),
        (["report", "none.ckpt"], "lightning-cam report: CHECKPOINT: there is no file none.ckpt."),
        (["shortcuts", "none"], "lightning-cam shortcuts: FOLDER: there is no folder none."),
    ],
)
def test_what_is_wrong_is_told_with_status_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    told = capsys.readouterr()
    assert message in told.err
    assert told.out == ""
