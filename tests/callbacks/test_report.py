"""The report page at the end of a fit."""

import base64
import html
import io
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from support.files import picture_at
from support.fits import events
from support.modules import CLASSES, Classifier, loader, trainer
from support.pages import fit, pages, written
from support.planted import ReadsTheTag, tagged
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_cam import CAMMonitor, Style
from lightning_cam.command.main import main


def test_a_fit_writes_it_beside_its_pictures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    monitor = CAMMonitor(probe=6, style=Style(shown=4))
    fit(tmp_path, monitor, max_epochs=3)
    path = tmp_path / "cam" / "report.html"
    assert f"; every look on one page: {path}; pictures are in {path.parent}" in caplog.text
    page = written(path)
    assert [look["epoch"] for look in page["looks"]] == [-1, 0, 1, 2]
    assert page["predicted"] == [look.predicted[:4].tolist() for look in monitor.history.looks]
    assert page["labels"] == monitor.probe.labels[:4].tolist()
    assert len(page["pictures"]) == 4
    settings = dict(page["settings"])
    assert (settings["method"], settings["target"], settings["epochs"]) == ("gradcam", "label", "3")
    assert settings["torch"] == torch.__version__
    assert settings["lightning_cam"]
    assert settings["what is explained"] == monitor.reading.line
    assert page["cues"], "the tests' scalars"


def test_with_a_logger_it_lies_in_the_logs_and_names_the_run(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="mine")
    fit(tmp_path, CAMMonitor(probe=6), logger=logger, max_epochs=2, log_every_n_steps=1)
    assert pages(Path(logger.log_dir)) == ["cam/report.html"]
    page = written(Path(logger.log_dir) / "cam" / "report.html")
    assert dict(page["settings"])["run"] == "Classifier · mine · 0"
    losses = {event.step: event.value for event in events(Path(logger.log_dir)).Scalars("val_loss")}
    found = {metric["name"]: metric["values"] for metric in page["metrics"]}
    steps = [look["step"] for look in page["looks"]]
    assert found["val_loss"] == [None, *[pytest.approx(losses[step], rel=1e-4) for step in steps[1:]]]
    assert not [name for name in found if name.startswith("cam/")]


def test_a_notebook_shows_the_page(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    assert monitor._repr_html_().startswith("<p>CAMMonitor: no look yet")
    fit(tmp_path, monitor, max_epochs=1)
    shown = monitor._repr_html_()
    assert shown.startswith("<iframe sandbox")
    page = html.unescape(shown.partition('srcdoc="')[2].removesuffix('"></iframe>'))
    (tmp_path / "shown.html").write_text(page, encoding="utf-8")
    again, kept = written(tmp_path / "shown.html"), written(tmp_path / "cam" / "report.html")
    assert {**again, "written": ""} == {**kept, "written": ""}


def test_two_monitors_write_two(tmp_path: Path) -> None:
    monitors = [CAMMonitor(probe=6), CAMMonitor(probe=6, method="layercam", name="layers")]
    fit(tmp_path, monitors[0], callbacks=monitors, max_epochs=1)
    assert pages(tmp_path) == ["cam/report.html", "layers/report.html"]
    assert dict(written(tmp_path / "layers" / "report.html")["settings"])["method"] == "layercam"
    for name in ("cam", "layers"):
        found = [metric["name"] for metric in written(tmp_path / name / "report.html")["metrics"]]
        assert found == ["val_accuracy", "val_loss"], "the user's own, and no monitor's scalars"


@pytest.mark.parametrize("arguments", [{"report": False}, {"report": True, "fast_dev_run": True}])
def test_no_page(arguments: dict, tmp_path: Path) -> None:
    fit(tmp_path, CAMMonitor(probe=6, report=arguments.pop("report")), **arguments)
    assert pages(tmp_path) == []


def test_no_page_of_a_validation_alone(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    trainer(tmp_path, callbacks=[monitor]).validate(Classifier(), loader(seed=1), verbose=False)
    fit(tmp_path / "fit", monitor, max_epochs=1)
    trainer(tmp_path, callbacks=[monitor]).validate(Classifier(), loader(seed=1), verbose=False)
    assert pages(tmp_path) == ["fit/cam/report.html"]


class Breaks(Classifier):
    """Raises in the training of an epoch."""

    def __init__(self, epoch: int, error: BaseException) -> None:
        super().__init__()
        self.epoch, self.error = epoch, error

    def training_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
        if self.current_epoch == self.epoch:
            raise self.error
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("error", [RuntimeError("the user's own"), KeyboardInterrupt()])
def test_after_an_exception(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises((RuntimeError, SystemExit)):
        fit(tmp_path, CAMMonitor(probe=6), Breaks(2, error), max_epochs=5)
    assert [look["epoch"] for look in written(tmp_path / "cam" / "report.html")["looks"]] == [-1, 0, 1]


def test_an_exception_before_the_first_look_leaves_none(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the user's own"):
        fit(tmp_path, CAMMonitor(probe=6), Breaks(0, RuntimeError("the user's own")))
    assert pages(tmp_path) == []


def test_a_page_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    class InTheWay(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            monitor.session.publisher.flush()
            (tmp_path / "cam" / "report.html").mkdir(exist_ok=True)

    monitor = CAMMonitor(probe=6)
    with pytest.warns(UserWarning, match="cam/report") as caught:
        fitted = fit(tmp_path, monitor, callbacks=[monitor, InTheWay()])
    told = [str(warning.message) for warning in caught if "report" in str(warning.message)]
    assert len(told) == 1
    assert "is lost (IsADirectoryError" in told[0]
    assert fitted.current_epoch == 2
    assert len(list((tmp_path / "cam" / "overlay").glob("*.jpg"))) == 2


def test_a_report_that_is_neither(unchecked: None) -> None:
    with pytest.raises(TypeError, match="report: got 'yes'; give True or False"):
        CAMMonitor(report="yes")


@pytest.mark.parametrize("persist_probe", [True, False])
def test_the_evidence_of_findings(persist_probe: bool, tmp_path: Path) -> None:
    val, monitor = DataLoader(tagged(), batch_size=12), CAMMonitor(probe=24, persist_probe=persist_probe)
    saved = ModelCheckpoint(tmp_path, save_last=True)
    options = {"callbacks": [monitor, saved], "enable_checkpointing": True, "max_epochs": 3}
    with pytest.warns(UserWarning, match="Possible shortcut: "):
        trainer(tmp_path, **options).fit(ReadsTheTag(), val, val)
    page = written(tmp_path / "cam" / "report.html")
    assert {found["statement"] for found in page["findings"]} == {
        found.statement for found in monitor.findings
    }
    first = page["findings"][0]
    assert first["level"] == "warning"
    sheet = Image.open(io.BytesIO(base64.b64decode(first["sheet"].partition(",")[2])))
    assert sheet.size == picture_at(max((tmp_path / "cam" / "alert").glob("*.jpg"))).size
    assert len(page["pictures"]) == 16, "the page lies beside the pictures, which hold images as well"

    main(["report", saved.last_model_path, "-o", str(tmp_path / "again.html")])
    again = written(tmp_path / "again.html")
    same = [
        "looks",
        "probe",
        "labels",
        "names",
        "predicted",
        "confidence",
        "statistics",
        "settings",
        "maps",
        "tops",
        "width",
    ]
    assert {name: again[name] for name in same} == {name: page[name] for name in same}
    state = torch.load(saved.last_model_path, weights_only=True)["callbacks"][monitor.state_key]
    if persist_probe:
        assert again["pictures"] == page["pictures"]
        assert any(found["sheet"] for found in again["findings"])
    else:
        assert again["pictures"] == []
        assert any("the images were not kept" in note for note in again["notes"])
        assert not any(found["sheet"] for found in again["findings"])
        assert (state["probe"], state["evidence"]) == (None, [])


def test_a_resumed_run_tells_the_whole_story(tmp_path: Path) -> None:
    def run(directory: Path, epochs: int, resume: str | None) -> str:
        saved = ModelCheckpoint(directory, save_last=True)
        seed_everything(0, verbose=False)
        options = {
            "callbacks": [CAMMonitor(probe=6), saved],
            "enable_checkpointing": True,
            "max_epochs": epochs,
        }
        trainer(directory, **options).fit(
            Classifier(), loader(shuffle=True), loader(seed=1), ckpt_path=resume
        )
        return saved.last_model_path

    run(tmp_path / "more", 3, run(tmp_path / "first", 1, None))
    assert [look["epoch"] for look in written(tmp_path / "more" / "cam" / "report.html")["looks"]] == [
        -1,
        0,
        1,
        2,
    ]


class Signals(Classifier):
    def __init__(self) -> None:
        super().__init__(
            torch.nn.Sequential(
                torch.nn.Conv1d(2, 4, 3, padding=1), torch.nn.ReLU(), Mean(), torch.nn.Linear(4, CLASSES)
            )
        )


class Volumes(Classifier):
    def __init__(self) -> None:
        super().__init__(
            torch.nn.Sequential(
                torch.nn.Conv3d(3, 4, 3, padding=1), torch.nn.ReLU(), Mean(), torch.nn.Linear(4, CLASSES)
            )
        )


class Mean(torch.nn.Module):
    def forward(self, activations: Tensor) -> Tensor:
        return activations.flatten(2).mean(dim=2)


@pytest.mark.parametrize(("model", "shape", "panels"), [(Signals, (2, 40), 1), (Volumes, (3, 8, 8, 8), 3)])
def test_signals_and_volumes_in_a_fit(
    model: type, shape: tuple[int, ...], panels: int, tmp_path: Path
) -> None:
    images = torch.randn(12, *shape, generator=torch.Generator().manual_seed(0))
    batches = DataLoader(torch.utils.data.TensorDataset(images, torch.arange(12) % CLASSES), batch_size=6)
    monitor = CAMMonitor(probe=6, target_layer="net.0")
    trainer(tmp_path, callbacks=[monitor]).fit(model(), batches, batches)
    page = written(tmp_path / "cam" / "report.html")
    assert len(page["panels"]) == panels
    assert len(page["pictures"]) == 6
    assert all(math.isfinite(top) for row in page["tops"] for top in row)
