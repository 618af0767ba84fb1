"""Lines and numbers of a command line."""

import argparse

import pytest

from lightning_cam.command.console import count, say


def test_a_line_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    say("猫, 39.28 %")
    assert capsys.readouterr().out == "猫, 39.28 %\n"


def test_counts_are_whole_numbers_of_at_least_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert count("12") == 12
    with pytest.raises(argparse.ArgumentTypeError, match="got 0; give at least 1"):
        count("0")
    parser = argparse.ArgumentParser()
    parser.add_argument("--top", type=count)
    with pytest.raises(SystemExit):
        parser.parse_args(["--top", "some"])
    assert "argument --top: invalid count value: 'some'" in capsys.readouterr().err
