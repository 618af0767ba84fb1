"""What an import does to the process: nothing that is not needed, and nothing to Lightning's messages."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import lightning_cam

NAMESPACES = ["lightning.pytorch", "pytorch_lightning"]
OURS = "from lightning_cam import CAMMonitor"


@cache
def run(*lines: str) -> str:
    """The standard output of these lines in a process of their own."""
    command = [sys.executable, "-W", "ignore", "-c", "\n".join(lines)]
    root = Path(__file__).parents[2]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=root)  # noqa: S603
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def messages(namespace: str, *imports: str) -> str:
    """What a Trainer of ``namespace`` says and what a handler of the user's hears: as it comes, after its log was
    silenced, and after it was set to speak again while the other namespace's is silent.
    """
    other = next(name for name in NAMESPACES if name != namespace)
    return run(
        *imports,
        f"from {namespace} import Trainer",
        "import logging, sys",
        "sys.stderr = sys.stdout",
        f"mine, other = logging.getLogger({namespace!r}), logging.getLogger({other!r})",
        "for handler in mine.handlers: handler.setStream(sys.stdout)",
        "class Heard(logging.Handler):",
        "    def emit(self, record): print('heard', record.name, record.levelname, record.getMessage()[:20])",
        "mine.addHandler(Heard())",
        "def speak(title):",
        "    print(title)",
        "    Trainer(accelerator='cpu', logger=False, enable_checkpointing=False)",
        "speak('as it comes')",
        "mine.setLevel(logging.ERROR)",
        "speak('silenced')",
        "mine.setLevel(logging.INFO)",
        "other.setLevel(logging.ERROR)",
        "speak('other silenced')",
    )


@pytest.mark.needs("lightning")
@pytest.mark.parametrize("namespace", NAMESPACES)
def test_lightning_speaks_and_is_silenced_as_without_us_whoever_is_imported_first(namespace):
    plain = messages(namespace)
    title, first, silent, again = "as it comes", *plain.partition("silenced\n")[::2], plain
    assert f"heard {namespace}.utilities.rank_zero INFO GPU available" in first.removeprefix(title)
    assert silent.partition("other silenced")[0] == ""
    assert again.count("GPU available") == 4  # said and heard, twice
    assert messages(namespace, OURS) == plain
    assert messages(namespace, f"import {namespace}", OURS) == plain


@pytest.mark.needs("lightning")
@pytest.mark.parametrize("namespace", NAMESPACES)
def test_where_one_namespace_is_installed_alone_nothing_stands_between(namespace):
    hidden = next(name for name in NAMESPACES if name != namespace).partition(".")[0]
    hide = f"import sys; sys.modules[{hidden!r}] = None"
    log = "from lightning_utilities.core import rank_zero; print(type(rank_zero.log).__name__, rank_zero.log.name)"
    assert run(hide, OURS, log) == f"Logger {namespace}.utilities.rank_zero\n"


@pytest.mark.needs("lightning")
@pytest.mark.parametrize("namespace", NAMESPACES)
def test_what_the_users_import_wrote_is_there_after_ours(namespace):
    seen = run(
        f"import {namespace}",
        "from lightning_utilities.core import rank_zero",
        "before = vars(rank_zero).copy()",
        OURS,
        "changed = [name for name, value in vars(rank_zero).items() if value is not before.get(name)]",
        "print(changed, rank_zero.rank_zero_only.rank)",
    )
    assert seen == "[] 0\n"


@pytest.mark.needs("lightning")
def test_a_filter_for_either_namespaces_deprecations_fits_where_ours_came_first():
    seen = run(
        OURS,
        "import warnings",
        "from lightning_utilities.core.rank_zero import rank_zero_deprecation",
        "import lightning.fabric.utilities.rank_zero as one, lightning_fabric.utilities.rank_zero as two",
        "for category in (one.LightningDeprecationWarning, two.LightningDeprecationWarning):",
        "    with warnings.catch_warnings(record=True) as caught:",
        "        warnings.simplefilter('always')",
        "        warnings.simplefilter('ignore', category)",
        "        rank_zero_deprecation('old')",
        "        warnings.simplefilter('always', category)",
        "        rank_zero_deprecation('older')",
        "    print([str(warning.message) for warning in caught])",
    )
    assert seen == "['older']\n['older']\n"


@pytest.mark.needs("lightning")
@pytest.mark.parametrize("first", [OURS, "import pytorch_lightning"])
def test_the_monitor_is_a_callback_of_both_namespaces_also_of_the_one_imported_last(first):
    seen = run(
        first,
        OURS,
        "import lightning.pytorch, pytorch_lightning",
        "monitor = CAMMonitor()",
        "print(*[isinstance(monitor, space.Callback) for space in (lightning.pytorch, pytorch_lightning)])",
        "print(*[space.Trainer(callbacks=monitor, logger=False, enable_progress_bar=False, accelerator='cpu',",
        "    enable_model_summary=False, enable_checkpointing=False).callbacks == [monitor]",
        "    for space in (lightning.pytorch, pytorch_lightning)])",
    )
    assert seen == "True True\nTrue True\n"


HEAVY = (
    "pytorch_lightning",
    "lightning",
    "lightning_fabric",
    "lightning_utilities",
    "torchmetrics",
    "tensorboard",
)


@pytest.mark.parametrize(
    "names", [["explain"], sorted(set(lightning_cam.__all__) - {"CAMMonitor", "LOGGERS"})]
)
def test_names_other_than_the_monitors_load_neither_lightning_nor_tensorboard(names):
    seen = run(
        f"from lightning_cam import {', '.join(names)}",
        "import sys",
        f"print([module for module in {HEAVY} if module in sys.modules])",
    )
    assert seen == "[]\n"


def test_explain_runs_where_lightning_and_tensorboard_are_missing():
    seen = run(
        "import sys",
        *(f"sys.modules[{module!r}] = None" for module in HEAVY),
        "import torch",
        "from lightning_cam import explain",
        "net = torch.nn.Sequential(",
        "    torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(),",
        "    torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2))",
        "print(tuple(explain(net, torch.rand(2, 3, 16, 16)).saliency.shape))",
    )
    assert seen == "(2, 16, 16)\n"


def test_the_package_alone_loads_nothing_else_of_ours():
    seen = run(
        "import lightning_cam, sys",
        "print([name for name in sys.modules if name.startswith('lightning_cam.')], 'torch' in sys.modules)",
    )
    assert seen == "[] False\n"


def test_type_checkers_star_imports_and_dir_see_the_same_names():
    tree = ast.parse(Path(lightning_cam.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    declared = {
        alias.name: statement.module.removeprefix("lightning_cam.")
        for statement in block.body
        for alias in statement.names
    }
    assert declared == lightning_cam._HOME
    assert sorted(declared) == sorted(lightning_cam.__all__)
    assert set(lightning_cam.__all__) <= set(dir(lightning_cam))
    for name in lightning_cam.__all__:
        assert getattr(lightning_cam, name) is not None


def test_modules_are_found_by_attribute_and_unknown_names_are_refused():
    seen = run(
        "import lightning_cam",
        "print(lightning_cam.metrics.deletion.__name__, lightning_cam.explainer.__name__)",
    )
    assert seen == "deletion lightning_cam.explainer\n"
    with pytest.raises(AttributeError, match="module 'lightning_cam' has no attribute 'explains'"):
        lightning_cam.explains  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'explains'"):
        from lightning_cam import explains  # noqa: F401
