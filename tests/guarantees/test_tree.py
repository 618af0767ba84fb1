"""The tree: tests mirror the package, no test file imports another one, and no object writes into another one's fields."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PACKAGE = TESTS.parent / "lightning_cam"
MODULES = sorted(
    path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"
)

# Modules without a test file of their own, and what tests them instead.
ELSEWHERE = {
    "__main__.py": "python -m lightning_cam is run in command/test_main.py",
    "attribution/connection.py": "every look goes through it: attribution/test_capture.py, and no trace in test_preserve.py",
    "attribution/evidence.py": "holds one look; what it holds is compared in attribution/test_capture.py and test_network.py",
    "attribution/methods/activation.py": "every row of METHODS is tested in attribution/methods/test_table.py",
    "attribution/methods/gradient.py": "every row of METHODS is tested in attribution/methods/test_table.py",
    "attribution/methods/perturbation.py": "every row of METHODS is tested in attribution/methods/test_table.py",
    "callbacks/rehearsal.py": "the sanity check of every fit holds it; what it refuses is in callbacks/test_monitor.py",
    "callbacks/seen.py": "what a monitor has seen is read in callbacks/test_monitor.py, test_report.py and test_mailbox.py",
    "callbacks/session.py": "every fit of callbacks/test_monitor.py, test_collection.py and guarantees/ runs through it",
    "data/derivation.py": "a part of observing a step, which data/test_observed_step.py try as a whole, step by step",
    "data/losses.py": "a part of observing a step, which data/test_observed_call.py try as a whole, step by step",
    "data/nested.py": "a part of observing a step, which data/test_observed_call.py and test_replay.py try as a whole, step by step",
    "data/observed_choice.py": "a part of observing a step, which data/test_observed_call.py try as a whole, step by step",
    "data/observed_facts.py": "a part of observing a step, which data/test_observed_call.py try as a whole, step by step",
    "data/observed_normalization.py": "a part of observing a step, which data/test_replay.py try as a whole, step by step",
    "data/observed_task.py": "a part of observing a step, which data/test_observed_call.py try as a whole, step by step",
    "data/observed_words.py": "a part of observing a step, which data/test_observed_call.py try as a whole, step by step",
    "data/recorded_calls.py": "a part of observing a step, which data/test_observed_step.py try as a whole, step by step",
    "data/recorded_parts.py": "a part of observing a step, which data/test_observed_step.py try as a whole, step by step",
    "explanation_figure.py": "its figures are what Explanation.figure returns, in test_explanation.py",
    "report/encode.py": "what a page holds is decoded and compared in report/test_page.py",
    "report/settings.py": "what a page says of settings is read in report/test_page.py",
    "report/template.py": "the page is read in report/test_page.py and used in report/test_browser.py",
    "shortcuts/result.py": "what a test counts and holds is compared in shortcuts/test_examine.py and test_report.py",
    "typing.py": "names of shapes, which are checked at every call in every test",
    "visualization/prepared.py": "images under maps are compared pixel by pixel in visualization/test_overlay.py",
    "visualization/canvas.py": "its constants and letters are found again in the pixels of every sheet",
}


def mirrored(module: str) -> Path:
    path = TESTS / module
    return path.with_name(f"test_{path.stem.strip('_')}.py")


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_its_test_file_or_a_reason(module: str) -> None:
    assert mirrored(module).exists() != (module in ELSEWHERE), (
        f"write {mirrored(module).relative_to(TESTS.parent)}, or say in ELSEWHERE what tests {module}; not both"
    )


def test_reasons_are_of_modules_that_exist() -> None:
    assert not set(ELSEWHERE) - set(MODULES)


def test_no_test_file_imports_another_one() -> None:
    names = {path.stem for path in TESTS.rglob("test_*.py")}
    found = [
        f"{path.relative_to(TESTS)}:{node.lineno}"
        for path in sorted(TESTS.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").rpartition(".")[2] in names
    ]
    assert not found, f"move what they share to tests/support: {found}"


# --- who writes into whose fields


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node


def own(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """The nodes of a function, without those of functions and classes inside it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            waiting.extend(ast.iter_child_nodes(node))


def made(function: ast.FunctionDef) -> set[str]:
    """Names that the function binds to an object that it makes: ``x = Class(...)``, ``x = copy.copy(...)``."""
    names = set()
    for node in own(function):
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)):
            continue
        called = ast.unparse(node.value.func).rpartition(".")[2]
        if called[:1].isupper() or called in ("cls", "copy", "deepcopy", "__new__"):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def written(node: ast.AST) -> Iterator[ast.Attribute]:
    """The fields that a statement assigns to or deletes, those in tuples too."""
    if isinstance(node, ast.Assign | ast.Delete):
        targets = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign | ast.For):
        targets = [node.target]
    else:
        return
    for target in targets:
        for inner in ast.walk(target):
            if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store | ast.Del):
                yield inner


def foreign(source: str) -> list[tuple[int, str]]:
    """Line and field of each assignment to a field of an object that is neither one's own nor just made."""
    found = []
    for function in functions(ast.parse(source)):
        mine = {"self", "cls"} | made(function)
        for node in own(function):
            for field in written(node):
                if not (isinstance(field.value, ast.Name) and field.value.id in mine):
                    found.append((field.lineno, ast.unparse(field)))
            # setattr(x, name, value) is the same by another name; a frozen dataclass sets its own fields so.
            sets = isinstance(node, ast.Call) and ast.unparse(node.func) in ("setattr", "object.__setattr__")
            if sets and ast.unparse(node.args[0]) not in mine:
                found.append((node.lineno, ast.unparse(node)))
    return sorted(found)


# Fields of objects that are not ours, which have no other way.
ALLOWED = {
    (
        "attribution/preserve.py",
        "module.training",
    ): "train() may be overridden by the user; the mode is put back",
    (
        "attribution/preserve.py",
        "setattr(module, name, buffer)",
    ): "the buffer of a scripted module, which has no table of Python's; it is put back",
    ("attribution/preserve.py", "torch.backends.cudnn.enabled"): "the switch is torch's, and is put back",
    (
        "report/evidence_images.py",
        "sheet.jpeg",
    ): "a cell of this file alone, filled as a whole by the thread that draws",
    ("callbacks/shortcut_watch.py", "self._trainer.should_stop"): "this is how Lightning is told to stop",
    ("callbacks/lightning.py", "rank_zero.log"): "Lightning's own import wrote it, and is put right",
    (
        "callbacks/lightning.py",
        "rank_zero.rank_zero_deprecation_category",
    ): "Lightning's own import wrote it, and is put right",
}


@pytest.mark.parametrize("module", MODULES)
def test_nobody_writes_into_fields_of_another_object(module: str) -> None:
    found = [place for place in foreign((PACKAGE / module).read_text()) if (module, place[1]) not in ALLOWED]
    assert not found, (
        f"{module} writes into other objects: {found}; give the object a method, or make a new one"
    )


def test_what_is_allowed_is_still_done() -> None:
    for module, field in ALLOWED:
        assert field in [place[1] for place in foreign((PACKAGE / module).read_text())]


@pytest.mark.parametrize(
    ("line", "is_foreign"),
    [
        ("other.field = 1", True),
        ("other.field += 1", True),
        ("other.field: int = 1", True),
        ("self.part.field = 1", True),
        ("self.count, other.field = 1, 2", True),
        ("for other.field in range(3): pass", True),
        ("del other.field", True),
        ("setattr(other, 'field', 1)", True),
        ("object.__setattr__(other, 'field', 1)", True),
        ("other = find(); other.field = 1", True),
        ("other = Thing(); other.field = 1", False),
        ("self.field = 1", False),
        ("object.__setattr__(self, 'field', 1)", False),
        ("other[0] = self.field", False),
    ],
)
def test_what_counts_as_another_objects_field(line: str, is_foreign: bool) -> None:
    assert bool(foreign(f"def method(self, other):\n    {line}")) == is_foreign
