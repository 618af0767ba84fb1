"""A small study from end to end, and the page that takes its table."""

from pathlib import Path

import pytest

from research.shortcuts.__main__ import BEGIN, END, main, put
from research.shortcuts.judge import THE_RULE, judgement
from research.shortcuts.plans import PLANS
from research.shortcuts.setups import Setup

TINY = [Setup("fashion", "frame", "coded", 30), Setup("fashion", None, "clean", 30)]


def test_a_table_goes_between_the_marks_of_a_page(tmp_path: Path) -> None:
    page, alone = tmp_path / "page.md", tmp_path / "alone.md"
    page.write_text(f"# Before\n{BEGIN}\nold\n{END}\nafter\n")
    for text in ("first", "second"):
        put(page, text)
        put(alone, text)
        assert page.read_text() == f"# Before\n{BEGIN}\n{text}\n{END}\nafter\n"
        assert alone.read_text() == f"{text}\n"


def test_nothing_is_trained_where_only_judgements_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--folder", str(tmp_path), "--plan", "fashion_tuning", "--judge-only"])
    assert "leave out --judge-only to train them" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.full
def test_a_small_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PLANS, "tiny", lambda: TINY)
    folder, page, picture = tmp_path / "bank", tmp_path / "table.md", tmp_path / "picture.png"
    asked = ["--folder", str(folder), "--plan", "tiny", "--table", str(page), "--picture", str(picture)]
    main(asked)
    text = page.read_text()
    assert THE_RULE.removeprefix("judged-") in text
    assert "![Share of runs warned, by group, with 95 % intervals](picture.png)" in text
    assert (
        "| confirmation | Fashion-MNIST | class-coded: families of tuning | 1 | 1 | 1/1 1.00 [0.03, 1.00] |"
        in text
    )
    assert "| confirmation | Fashion-MNIST | clean | 1 | 0 | 0/1 0.00 [0.00, 0.97] |" in text
    assert picture.stat().st_size > 10_000

    files = [judgement(folder, setup) for setup in TINY] + sorted(folder.glob("*.pt"))
    before = [path.stat().st_mtime_ns for path in files]
    capsys.readouterr()
    main([*asked, "--judge-only"])
    assert [path.stat().st_mtime_ns for path in files] == before
    assert page.read_text() == text
    assert text.splitlines()[-1] in capsys.readouterr().out
