"""``{error-messages}``: every error that the package raises with an argument's name, read from its code."""

import ast
import re
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

PACKAGE = Path(__file__).parents[2] / "lightning_cam"


def text_of(node: ast.expr) -> str:
    """A message as written, ``...`` for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) if isinstance(part, ast.Constant) else "..." for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text_of(node.left) + text_of(node.right)
    return "..."


def messages() -> dict[str, list[str]]:
    """By argument, the texts that follow its name in errors."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                message = text_of(node.exc.args[0]).replace("......", "...").replace("....", "...")
                argument, colon, said = message.partition(": ")
                if colon and re.fullmatch(r"-*[A-Za-z_]+", argument) and said != "...":
                    found.setdefault(argument, set()).add(said)
    return {argument: sorted(said) for argument, said in sorted(found.items())}


class ErrorMessages(Directive):
    """A list by argument."""

    def run(self) -> list[nodes.Node]:
        """Definitions: the argument, and its messages as bullets."""
        found = nodes.definition_list()
        for argument, texts in messages().items():
            bullets = nodes.bullet_list()
            for text in texts:
                bullets += nodes.list_item("", nodes.paragraph(text=text))
            term = nodes.term("", "", nodes.literal(text=argument))
            found += nodes.definition_list_item("", term, nodes.definition("", bullets))
        return [found]


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls it."""
    app.add_directive("error-messages", ErrorMessages)
    return {"parallel_read_safe": True}
