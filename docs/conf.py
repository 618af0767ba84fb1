"""The documentation: ``python -m sphinx -W docs BUILD``; DOCS_ONLINE=1 adds links to torch and Lightning."""

import os
import posixpath
import re
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

from lightning_cam import __version__

project = "lightning_cam"
author = "The lightning_cam maintainers"
copyright = f"2026, {author}"
release = __version__
REPOSITORY = "https://github.com/lightning-cam/lightning-cam"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "error_messages",
]
exclude_patterns = ["_build", "_ext", "jupyter_execute"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"lightning_cam {release}"
html_theme_options = {"source_repository": REPOSITORY, "source_branch": "main", "source_directory": "docs/"}
StandaloneHTMLBuilder.supported_image_types = [*StandaloneHTMLBuilder.supported_image_types, "image/webp"]
highlight_language = "none"

myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # the changelog begins at its second level
nb_execution_mode = "off"  # notebooks are committed with what they printed; a test runs them

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Source", "notes")]

# A build without a network is the same build, without links to other projects.
intersphinx_mapping = {}
if os.environ.get("DOCS_ONLINE"):
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "lightning": ("https://lightning.ai/docs/pytorch/stable", None),
    }


def point_outside(app: Sphinx, name: str, source: list[str]) -> None:
    """Links from a page to a file outside of docs/ lead to the repository; a forge takes them as they are."""

    def absolute(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(name), found[1]))
        return found[0] if path.startswith("docs/") else f"]({REPOSITORY}/blob/main/{path})"

    source[0] = re.sub(r"\]\((\.\./[^)]*)\)", absolute, source[0])


def show_changelog(app: Sphinx, name: str, source: list[str]) -> None:
    """The page ``changelog`` is the file at the root, with its links as seen from docs/."""
    if name == "changelog":
        text = (HERE.parent / "CHANGELOG.md").read_text(encoding="utf-8")
        source[0] = re.sub(r"\]\((?!https?:|#)", "](../", text).replace("](../docs/", "](")


def setup(app: Sphinx) -> None:
    """Sphinx calls it."""
    app.connect("source-read", show_changelog)
    app.connect("source-read", point_outside, priority=600)
