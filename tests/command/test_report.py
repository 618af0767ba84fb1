"""The report page from a checkpoint, by the command."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from support.modules import Classifier, loader, trainer
from support.pages import pages, written

from lightning_cam import CAMMonitor
from lightning_cam.command.main import main
from lightning_cam.command.report import find_record


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a fit with two monitors."""
    directory = tmp_path_factory.mktemp("run")
    saved = ModelCheckpoint(directory, save_last=True)
    monitors = [
        CAMMonitor(probe=6, shortcuts=None),
        CAMMonitor(probe=6, method="layercam", name="it's mine", shortcuts=None),
    ]
    trainer(directory, callbacks=[*monitors, saved], enable_checkpointing=True).fit(
        Classifier(), loader(), loader(seed=1)
    )
    return Path(saved.last_model_path)


def test_the_command(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    run = [
        sys.executable,
        "-W",
        "error::RuntimeWarning",
        "-m",
        "lightning_cam",
        "report",
        checkpoint,
        "-o",
        out,
        "--name",
        "it's mine",
    ]
    said = subprocess.run(run, capture_output=True, text=True, check=True).stdout  # noqa: S603
    assert str(out) in said
    assert dict(written(out)["settings"])["method"] == "layercam"


def test_the_page_lies_beside_the_checkpoint_unless_told(checkpoint: Path) -> None:
    main(["report", str(checkpoint), "--name", "cam"])
    assert dict(written(checkpoint.with_suffix(".html"))["settings"])["method"] == "gradcam"


@pytest.mark.parametrize(
    ("change", "name", "message"),
    [
        (lambda kept: kept, None, "--name: the checkpoint holds 2 monitors; choose one of 'cam', \"it's mine\""),
        (lambda kept: kept, "can", "--name: no monitor 'can' in the checkpoint; there are 'cam'"),
        (lambda kept: {"callbacks": {"EarlyStopping": {"wait": 1}}}, None, "CHECKPOINT: it holds no look .* EarlyStopping; "),
        (lambda kept: {"state_dict": {}}, None, "CHECKPOINT: it holds no look of a CAMMonitor; give one"),
        (lambda kept: [1, 2], None, "CHECKPOINT: it holds no look of a CAMMonitor"),
        (
            lambda kept: kept | {"callbacks": {key: state | {"history": []} for key, state in kept["callbacks"].items()
                                               if "version" in state}},
            "cam",
            "CHECKPOINT: its monitor has made no look yet",
        ),
        (
            lambda kept: kept | {"callbacks": {key: state | {"version": 99} for key, state in kept["callbacks"].items()
                                               if "version" in state}},
            "cam",
            "CHECKPOINT: the checkpoint's state has version 99, not 5",
        ),
    ],
)  # fmt: skip
def test_checkpoints_that_will_not_do(change: Any, name: str | None, message: str, checkpoint: Path) -> None:
    kept = torch.load(checkpoint, weights_only=True)
    with pytest.raises(ValueError, match=message):
        find_record(change(kept), name)


class Anything:
    """What a careful reader does not load."""


def test_files_that_cannot_be_read(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def refused(*arguments: str) -> str:
        with pytest.raises(SystemExit) as left:
            main(["report", *arguments])
        assert left.value.code == 2
        return capsys.readouterr().err

    assert "CHECKPOINT: there is no file" in refused(str(tmp_path / "none.ckpt"))
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    assert "CHECKPOINT: " in refused(str(tmp_path / "text.ckpt"))
    kept = torch.load(checkpoint, weights_only=True)
    torch.save(kept | {"hyper_parameters": Anything()}, tmp_path / "own.ckpt")
    assert "add --trust" in refused(str(tmp_path / "own.ckpt"), "--name", "cam")
    assert not pages(tmp_path)
    main(["report", str(tmp_path / "own.ckpt"), "--name", "cam", "--trust"])
    assert pages(tmp_path) == ["own.html"]


def test_a_checkpoint_of_an_earlier_version_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = torch.load(checkpoint, weights_only=True)
    for key, state in kept["callbacks"].items():
        if "version" in state:
            first = {"version": 1, "question": "gradcam at the last layer, target label"}
            kept["callbacks"][key] = {
                **{name: state[name] for name in ("history", "scalars", "probe")},
                **first,
            }
    torch.save(kept, tmp_path / "old.ckpt")
    with pytest.raises(SystemExit):
        main(["report", str(tmp_path / "old.ckpt"), "--name", "cam"])
    assert (
        "state has version 1, not 5; make the report with the lightning_cam that wrote it"
        in capsys.readouterr().err
    )
    assert not pages(tmp_path)
