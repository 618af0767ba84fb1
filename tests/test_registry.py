"""How to choose from a table."""

import re
from collections.abc import Callable, Iterator

import pytest

from lightning_cam.attribution.methods.table import METHODS
from lightning_cam.attribution.targets import TARGETS
from lightning_cam.metrics.statistics import STATISTICS
from lightning_cam.registry import choose, did_you_mean

TABLE = {"gradcam": 1, "layercam": 2, "eigencam": 3}


def test_a_name_chooses_its_row() -> None:
    assert [choose(TABLE, key, "method") for key in TABLE] == [1, 2, 3]


@pytest.mark.parametrize(
    "function", [len, lambda evidence: evidence, Iterator, type("Own", (), {"__call__": len})()]
)
def test_a_function_is_its_own_row(function: Callable) -> None:
    assert choose(TABLE, function, "method") is function


def test_an_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"^method: no method 'gradcan'; did you mean 'gradcam'\?$"):
        choose(TABLE, "gradcan", "method")
    with pytest.raises(
        ValueError, match=r"^statistic: no statistic 'xyzzy'; there are gradcam, layercam, eigencam\.$"
    ):
        choose(TABLE, "xyzzy", "statistic")
    with pytest.raises(ValueError, match=r"^target: no target 'label'; there are none\.$"):
        choose({}, "label", "target")
    with pytest.raises(ValueError, match=r"no method ''; there are"):
        choose(TABLE, "", "method")
    with pytest.raises(ValueError, match=r"no method 'GradCAM'"):
        choose(TABLE, "GradCAM", "method")


@pytest.mark.parametrize("key", [3, None, 1.5, ["gradcam"]])
@pytest.mark.usefixtures("unchecked")
def test_neither_a_name_nor_a_function(key: object) -> None:
    with pytest.raises(TypeError, match=r"^method: got .*; give a name or a function\.$"):
        choose(TABLE, key, "method")


@pytest.mark.parametrize(
    ("table", "argument"), [(METHODS, "method"), (TARGETS, "target"), (STATISTICS, "statistic")]
)
def test_a_slip_in_a_real_name_is_understood(table: dict[str, Callable], argument: str) -> None:
    for name in table:
        with pytest.raises(ValueError, match=re.escape(f"no {argument} '{name}_x'; did you mean '{name}'?")):
            choose(table, f"{name}_x", argument)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("layer5", "; did you mean 'layer4'?"),
        ("laier4", "; did you mean 'layer4'?"),
        ("block", "; did you mean 'net.block'?"),
        ("conv2", "; did you mean 'net.block.conv2'?"),
        ("block.conv2", "; did you mean 'net.block.conv2'?"),
        ("entirely different", ""),
        ("", ""),
    ],
)
def test_did_you_mean(name: str, meant: str) -> None:
    assert did_you_mean(name, (known for known in ["layer4", "net.block", "net.block.conv2"])) == meant


def test_did_you_mean_among_nothing() -> None:
    assert did_you_mean("layer4", []) == ""
