"""The documentation is whole: it builds without a warning, has every public name, no misspelt word, and every message that it explains exists."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.docs_code import ROOT, pages

import lightning_cam
from lightning_cam import metrics

API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
NOTEBOOK = ROOT / "docs" / "is_it_a_shortcut.ipynb"
SPELT = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs",
    "lightning_cam",
    "examples",
    "benchmarks",
    ".ci",
)
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)|<img src=\"([^\"]+)\"")


@pytest.mark.parametrize("name", lightning_cam.__all__)
def test_every_public_name_has_an_entry(name: str) -> None:
    assert re.search(rf"^\.\. (auto|py:)\w+:: lightning_cam\.{name}$", API, re.MULTILINE)


@pytest.mark.parametrize("name", sorted({*metrics.__all__} - {*lightning_cam.__all__}))
def test_every_measure_has_an_entry(name: str) -> None:
    assert f".. autofunction:: lightning_cam.metrics.{name}\n" in API


@pytest.mark.full
@pytest.mark.needs("sphinx", "myst_nb", "furo", "sphinx_copybutton")
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """A link to a page, a heading or a file that is not there is a warning, too."""
    options = ["-q", "-E", "-W", "--keep-going", "-b", "html"]
    build = [sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), str(tmp_path)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=600, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr[-6000:]
    api = (tmp_path / "api.html").read_text(encoding="utf-8")
    assert all(f'id="lightning_cam.{name}"' in api for name in lightning_cam.__all__)
    assert "give a share of the map" in (tmp_path / "troubleshooting.html").read_text(encoding="utf-8")


@pytest.mark.needs("codespell_lib")
def test_no_word_is_misspelt() -> None:
    check = [sys.executable, "-m", "codespell_lib", *SPELT]
    found = subprocess.run(check, capture_output=True, text=True, cwd=ROOT, check=False)  # noqa: S603
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("page", pages())
def test_pictures_are_there_and_load_quickly(page: str) -> None:
    for found in PICTURE.finditer((ROOT / page).read_text(encoding="utf-8")):
        place = (ROOT / page).parent / (found[1] or found[2])
        assert place.stat().st_size < 300_000, place


def texts() -> str:
    """All texts of the package, ``...`` for what is filled in."""
    sys.path.insert(0, str(ROOT / "docs" / "_ext"))
    try:
        from error_messages import text_of
    finally:
        sys.path.pop(0)
    found = []
    for path in (ROOT / "lightning_cam").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr | ast.BinOp) or (
                isinstance(node, ast.Constant) and isinstance(node.value, str)
            ):
                found.append(text_of(node))
    return "\n".join(found)


def explained() -> list[str]:
    """The parts, between dots, of the messages in the first column of the page's tables."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    return [quoted for cell in cells for quoted in re.findall(r"`([^`]+)`", cell)]


@pytest.fixture(scope="module")
def known() -> str:
    return texts()


@pytest.mark.parametrize("message", explained())
def test_a_message_that_is_explained_exists(message: str, known: str) -> None:
    """Word for word, but for what is filled in: dots in the page, and figures."""
    parts = [part.strip(" ;:,%") for part in re.split(r"\.\.\.|\b\d+\b(?: x \d+)?", message)]
    assert any(parts)
    assert not [part for part in parts if part not in known]


def test_many_messages_are_explained() -> None:
    assert len(explained()) > 50


def shown(notebook: dict[str, Any], start: str) -> str:
    """What the cell that begins so shows, as text: printed lines, and HTML."""
    (cell,) = [cell for cell in notebook["cells"] if "".join(cell["source"]).startswith(start)]
    assert not [output for output in cell["outputs"] if output["output_type"] == "error"]
    parts = [output.get("text") or output["data"].get("text/html", "") for output in cell["outputs"]]
    return "\n".join("".join(part) for part in parts)


def check_tutorial(notebook: dict[str, Any]) -> None:
    """The corner with the tag is warned of, colours of photographs are found, and without them there is no finding."""
    assert "CAMMonitor: Possible shortcut: the top-left corner." in shown(notebook, "tagged, tagged_loader")
    assert "CAMMonitor: Possible" not in shown(notebook, "clean, clean_loader")
    assert "Possible shortcut.</b> The top-left corner" in shown(
        notebook, "shown, classes = next(iter(tagged"
    )
    assert "No finding" in shown(notebook, "shown, classes = next(iter(clean")
    assert "Possible shortcut.</b> Brightness and contrast" in shown(notebook, "coloured, loader, probe")
    assert "No finding" in shown(notebook, "grey, loader, probe")


def test_the_tutorial_is_committed_with_what_it_showed() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    check_tutorial(json.loads(text))
    assert not re.search(r"/(tmp|home|root|work)/", text)  # of the machine that ran it
    assert len(text) < 1_000_000


@pytest.mark.full
@pytest.mark.needs("nbclient", "ipykernel", "sklearn", "skimage")
def test_the_tutorial_runs(tmp_path: Path) -> None:
    import nbclient
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "examples")]))
        nbclient.NotebookClient(notebook, timeout=900, resources=where).execute()
    check_tutorial(notebook)
