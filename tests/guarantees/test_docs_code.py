"""All code in README and in docs/ runs, page by page, as a reader would copy it; commands know their options."""

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.docs_code import ROOT, blocks, commands, names, pages

from lightning_cam import CUES, LOGGERS, METHODS, PICTURES, SAMPLERS, STATISTICS, TARGETS

TABLES = (CUES, LOGGERS, METHODS, PICTURES, SAMPLERS, STATISTICS, TARGETS)
WITH_PYTHON = [page for page in pages() if any(block.language == "python" for block in blocks(page))]
RUN_BY_CI = "the main job", "the test command"  # notes above the blocks that .ci reads
# Commands of other packages, and ours that need more than a look at their options.
OTHERS = "pip", "pre-commit", "tensorboard", "ruff", "mypy", "lint-imports", "pytest"


@pytest.fixture
def tables() -> Iterator[None]:
    """Rows that a page adds are gone after it."""
    before = [dict(table) for table in TABLES]
    yield
    for table, rows in zip(TABLES, before, strict=True):
        table.clear()
        table.update(rows)


@pytest.mark.needs("captum")
@pytest.mark.parametrize("page", WITH_PYTHON)
def test_the_code_of_a_page_runs(
    page: str, tables: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    known = names()
    for block in blocks(page):
        if block.language == "python" and not block.reason:
            exec(compile(block.code, page, "exec"), known)  # noqa: S102


@pytest.mark.parametrize("page", pages())
def test_every_block_is_of_a_kind_that_is_tested(page: str) -> None:
    for block in blocks(page):
        if block.language == "text":  # what the console says
            continue
        assert block.language in ("python", "yaml", "bash", "toml"), block.code
        if block.language == "python":
            ast.parse(block.code)
        elif block.language == "yaml":
            assert yaml.safe_load(block.code)
        elif block.language == "toml":
            assert tomllib.loads(block.code)
        if block.note and block.note not in RUN_BY_CI:
            assert len(block.reason) > 10, f"{page}: {block.note}"


def test_few_blocks_are_not_run() -> None:
    not_run = [block for page in pages() for block in blocks(page) if block.reason]
    assert all("is in no extra of this package" in block.reason for block in not_run)
    assert len(not_run) <= 2


def test_every_page_with_python_is_run() -> None:
    assert len(WITH_PYTHON) >= 10


def wanted() -> list[str]:
    return sorted({line for page in pages() for line in commands(page) if line.split()[0] not in OTHERS})


def test_commands_were_found() -> None:
    assert any(line.startswith("python examples/digits.py") for line in wanted())
    assert len(wanted()) > 15


@pytest.mark.parametrize("line", wanted())
def test_a_script_that_a_page_names_exists(line: str) -> None:
    program, *rest = shlex.split(line)
    assert program in ("python", "lightning-cam")
    if program == "python" and rest[0] != "-m" and not rest[0].startswith("train"):  # the reader's own
        assert (ROOT / rest[0].rstrip(",")).is_file()


@pytest.mark.full
@pytest.mark.needs("sklearn", "jsonargparse", "captum")
@pytest.mark.parametrize("line", [line for line in wanted() if " train.py" not in line])
def test_a_command_knows_its_options(line: str) -> None:
    program, *rest = shlex.split(line)
    run = [sys.executable, "-m", "lightning_cam"] if program == "lightning-cam" else [sys.executable]
    start = {"python": 2 if rest[0] == "-m" else 1, "lightning-cam": 1}[program]
    show = [*run, *rest[:start], "--help"]
    asked = subprocess.run(show, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT)  # noqa: S603
    assert asked.returncode == 0, asked.stderr[-2000:]
    missing = [
        word
        for word in rest[start:]
        if re.fullmatch(r"--[a-z-]+(=.*)?", word) and word.partition("=")[0] not in asked.stdout
    ]
    assert not missing
