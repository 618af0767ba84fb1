"""README is short and keeps what others read of it; the pages in docs/ say what the tables hold."""

import re
from pathlib import Path

import pytest
from support.configurations import CONFIGURATIONS

from lightning_cam import CUES, METHODS, PICTURES, STATISTICS, TARGETS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_readme_begins_with_a_picture_the_line_of_code_and_the_two_commands() -> None:
    first = "\n".join(README.splitlines()[:30])
    for needed in (
        '<img src="docs/',
        "CAMMonitor()",
        "<!-- the main job -->\n```bash",
        "<!-- the test command -->\n```bash",
    ):
        assert needed in first


def test_readme_leads_to_every_page_of_the_docs() -> None:
    contents = page("index.md").partition("```{toctree}")[2].partition("```")[0]
    pages = [line for line in contents.split() if "/" in line or line.isidentifier()]
    assert len(pages) > 10
    missing = [name for name in pages if name != "changelog" and f"](docs/{name}." not in README]
    assert not missing


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_its_row(name: str) -> None:
    row = METHODS[name]
    assert (
        f"| `{name}` | {row.source} | {'yes' if row.gradients else 'no'} | {row.passes} | {row.use} |"
        in page("which_method.md")
    )


@pytest.mark.parametrize(
    ("name", "where"),
    [
        *((name, "howto/arguments.md") for name in TARGETS),
        *((name, "what_you_see.md") for name in STATISTICS),
    ],
)
def test_every_target_and_statistic_is_explained(name: str, where: str) -> None:
    assert re.search(rf"^\|[^|]*`{name}`[^|]*\|", page(where), re.MULTILINE)


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_shown(name: str) -> None:
    assert f"`cam/{name}`" in page("what_you_see.md")


@pytest.mark.parametrize("name", [name for name in CUES if not name.startswith("cell_")])
def test_every_cue_has_its_row(name: str) -> None:
    """The places of the grid share one."""
    assert (
        f"| `{name}` | {CUES[name].meaning} | {'warns' if CUES[name].may_warn else 'a notice only'}"
        in page("howto/shortcuts.md")
    )


def test_the_configurations_are_counted() -> None:
    assert f"in {len(CONFIGURATIONS)} configurations" in page("training.md")


def test_the_figures_in_readme_are_those_of_the_pages() -> None:
    row = re.search(
        r"^\| gradcam \| 1.06 / 1.06 / \S+ \| 3.29 / 9.90 / \S+ \|.* 1.06 / 7.70 / ",
        page("what_it_costs.md"),
        re.MULTILINE,
    )
    assert row
    assert (
        "takes 1.06 of an inference forward and 1.06 of its memory; pytorch-grad-cam takes 3.29 and 9.90, captum 1.06 and\n  7.70"
        in README
    )
    assert "0.12 MB a look at 64 pixels, 0.18 MB at 224" in README
    assert re.search(
        r"^\| 64 x 64 \| 115 kB \|.*\n\| 224 x 224 \| 180 kB \|", page("what_it_costs.md"), re.MULTILINE
    )
    assert "**1.08** | 6593 ms: **3.81**" in page("what_it_costs.md")
    assert "waits 1.08 forwards for a look, and 3.81" in README
    assert "**2 of 166, falsely**" in page("how_the_tests_decide.md")
    assert (
        "in 7 of 18 of a fine-tuned ImageNet network; falsely in 2 of 166\n  honest runs on drawn images"
        in README
    )
    assert "in 0 of 114 on Fashion-MNIST and composites, in 7 of 20 on crops of eight photographs" in README
    assert "| honest runs, Fashion-MNIST and composites | 0 of 114 |" in page("how_the_tests_decide.md")
    assert "**7 of 20, falsely**" in page("how_the_tests_decide.md")
    table = page("benchmark_shortcuts.md")
    for data, rows, found in (
        ("digits and shapes, all", "honest", "2/166"),
        ("real data, all", "honest", "7/134"),
        ("digits", "class-coded: seven families", "28/28"),
        ("shapes", "class-coded: seven families", "21/21"),
        ("Fashion-MNIST", "class-coded: families of tuning", "11/12"),
        ("Fashion-MNIST", "class-coded: families seen since the first confirmation", "10/19"),
        ("composites", "planted", "7/18"),
        ("composites", "class-coded", "6/13"),
        ("photographs", "class-coded", "20/23"),
    ):
        row = rf"^\| confirmation \| {re.escape(data)} \| {re.escape(rows)} \|.* {found} "
        assert re.search(row, table, re.MULTILINE), (data, rows)
