"""Which class is meant."""

from pathlib import Path

import pytest
from support.command import NAMES

from lightning_cam.command.classes import class_of, read_names


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        ("tabby", 2),
        ("TABBY", 2),
        ("tabby cat", 2),
        ("tiger_cat", 3),
        ("persian", 4),
        ("garden spider", 5),
        ("1", 1),
        ("7", 7),
    ],
)
def test_classes_by_name_and_number(wanted: str, number: int) -> None:
    assert class_of(wanted, NAMES) == number


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("dalia", "--class: no class 'dalia'; did you mean 1 'dahlia'?"),
        ("cat", "--class: 'cat' may be 3 'tiger cat', 4 'Persian cat'; say which, by number."),
        ("crane", "--class: 'crane' may be 6 'crane', 7 'Crane'; say which, by number."),
        ("zzzz", "--class: no class 'zzzz'; none is close: give a number."),
        ("8", "--class: 8 is outside the model's 8 classes; use 0 to 7."),
        ("-1", "--class: -1 is outside the model's 8 classes; use 0 to 7."),
    ],
)
def test_what_is_no_class(wanted: str, message: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        class_of(wanted, NAMES)
    assert str(refused.value) == message


def test_the_remedies_lead_to_a_class() -> None:
    assert class_of("1", NAMES) == class_of("dahlia", NAMES) == 1
    assert class_of("6", NAMES) == 6


def test_names_are_a_files_lines(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("猫\n\nbird, small\n\n", encoding="utf-8")
    assert read_names(tmp_path / "names.txt") == ["猫", "", "bird, small"]
    (tmp_path / "latin.txt").write_bytes("Käfer\n".encode("latin-1"))
    for name in ("none.txt", "latin.txt"):
        with pytest.raises(ValueError, match=rf"--class-names: .*{name} cannot be read"):
            read_names(tmp_path / name)
