"""Parts by key, index, function and a function's import path."""

from pathlib import Path

import pytest
import torch
from support.batches import IMAGES, LABELS, MASKS, check
from torch import Tensor

from lightning_cam.data.batch import read_batch
from lightning_cam.selectors import check_selector, describe, imported


@pytest.mark.parametrize("how", [1.5, True, [1]])
def test_how_is_a_key_an_index_or_a_function(how: object) -> None:
    with pytest.raises(TypeError, match=r"labels: got .*; give a key, an index, a function, or None"):
        check_selector("labels", how)


def second(batch: tuple) -> Tensor:
    return batch[1]


class Last:
    def __call__(self, batch: tuple) -> Tensor:
        return batch[-1]


def test_functions_by_import_path() -> None:
    batch = (LABELS, IMAGES, torch.zeros(4, 8, 6, dtype=torch.bool), MASKS)
    check(batch, images=f"{__name__}.second", masks=f"{__name__}.Last")
    assert imported(f"{__name__}.second") is second
    assert isinstance(imported(f"{__name__}.Last"), Last)  # of a class an instance
    assert imported(f"{__name__}.Last") is imported(f"{__name__}.Last")  # one for all batches
    for other in (
        "layercam",
        "reading.nothing",
        f"{__name__}.LABELS",
        f"{__name__}.third",
        "a..b",
        ".",
        "no_module.f",
        "",
        1,
        second,
    ):
        assert imported(other) is other


def test_a_key_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_script.py").write_text("raise AssertionError('a training begins')")
    monkeypatch.syspath_prepend(tmp_path)
    check({"a_script.image": IMAGES, "label": LABELS}, images="a_script.image", has_masks=False)
    with pytest.raises(AssertionError, match="a training begins"):  # what an import raises is told
        read_batch({"image": IMAGES, "label": LABELS}, images="a_script.image")


def test_describe_names_eight_parts_and_no_more() -> None:
    words = describe({f"key{i}": i for i in range(100)})
    assert "'key7'" in words
    assert "'key8'" not in words
