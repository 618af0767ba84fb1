"""What users read needs no word that only the code's authors know: pages, the report, the console."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.docs_code import ROOT, pages

AUTHORS_WORDS = re.compile(
    r"\b(hosts?|donors?|tiers?|stages?|offer(s|ed|ing)?|transplant\w*)\b", re.IGNORECASE
)
NAMES = re.compile(r"stages? \d( and \d)?")  # DeepSpeed numbers its own
SPEAKS = "callbacks", "shortcuts", "report", "visualization", "loggers", "command"


def prose(page: str) -> str:
    """A page without its code, whose names stand in the API, and without links."""
    text = (ROOT / page).read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return NAMES.sub("", re.sub(r"`[^`]*`|\]\([^)]*\)|https?://\S+", "", text))


@pytest.mark.parametrize("page", [*pages(), "CHANGELOG.md", "lightning_cam/report/template.html"])
def test_a_page_needs_none_of_them(page: str) -> None:
    found = [line for line in prose(page).splitlines() if AUTHORS_WORDS.search(line)]
    assert not found


def sentences(path: Path) -> Iterator[str]:
    """Texts with a space in a module: what may reach a user; docstrings do not."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    docstrings |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
            and " " in node.value
        ):
            yield node.value


@pytest.mark.parametrize("folder", [name for name in SPEAKS if (ROOT / "lightning_cam" / name).is_dir()])
def test_a_message_needs_none_of_them(folder: str) -> None:
    texts = [
        text for path in sorted((ROOT / "lightning_cam" / folder).rglob("*.py")) for text in sentences(path)
    ]
    assert len(texts) > 5
    assert not [text for text in texts if AUTHORS_WORDS.search(NAMES.sub("", text))]


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    assert AUTHORS_WORDS.search("8 donors of another class")
    assert not AUTHORS_WORDS.search(NAMES.sub("", "DeepSpeed's ZeRO stage 3 has no whole parameter"))
    (tmp_path / "said.py").write_text(
        'def f(x):\n    """The host, for authors."""\n    raise ValueError(f"no host in {x}")\n'
    )
    assert list(sentences(tmp_path / "said.py")) == ["no host in "]
