"""README says what the tables hold."""

import re
from pathlib import Path

import pytest
from support.configurations import CONFIGURATIONS

from lightning_cam import METHODS, STATISTICS, TARGETS

README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_its_row(name: str) -> None:
    row = METHODS[name]
    assert (
        f"| `{name}` | {row.source} | {'yes' if row.gradients else 'no'} | {row.passes} | {row.use} |"
        in README
    )


@pytest.mark.parametrize("name", [*TARGETS, *STATISTICS])
def test_every_target_and_statistic_is_explained(name: str) -> None:
    assert re.search(rf"^\|[^|]*`{name}`[^|]*\|", README, re.MULTILINE)


def test_the_configurations_are_counted() -> None:
    assert f"in {len(CONFIGURATIONS)} configurations" in README
