"""Every logger of Lightning with its own package, in a real run without network: what it has stored is read back."""

import importlib
import io
import json
import threading
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from packaging.version import Version
from PIL import Image
from support.files import picture_at
from support.modules import CLASSES, LIGHTNING, Classifier, loader, trainer
from support.networks import net
from support.stored import Stored, from_events, from_wandb
from torch.nn import functional as F

from lightning_cam import CAMMonitor, Style
from lightning_cam.loggers.backends import LOGGERS, Backend
from lightning_cam.loggers.folder import Folder
from lightning_cam.loggers.publish import (
    Destination,
    PublishError,
    folder_for,
    publish,
    publish_text,
    where_to,
)

TEXT = "epoch 1 · step 2\n\n- warning: cue 'border_8' decides 97 % of conflicts"


@pytest.fixture(params=["pytorch_lightning", "lightning.pytorch"])
def lightning(request: pytest.FixtureRequest) -> ModuleType:
    pytest.importorskip(
        request.param.partition(".")[0], reason=f"needs {request.param}: pip install -e '.[test]'"
    )
    importlib.import_module(f"{request.param}.loggers")
    return importlib.import_module(request.param)


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What each package has against asking the network, and a place for what it writes unasked."""
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
        "COMET_START_ONLINE": "0",
        "COMET_LOGGING_CONSOLE": "ERROR",
        "COMET_DISABLE_AUTO_LOGGING": "1",
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }.items():
        monkeypatch.setenv(name, value)


def fit(lightning: ModuleType, directory: Path, loggers: list[Any], optimizers: int = 1) -> Stored:
    """Trains two epochs; returns what was handed out, by a logger of our own beside the others."""
    handed = Stored()

    class Own(lightning.loggers.Logger):
        name, version = "own", 0

        def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            if "cam/border_mass" in metrics:
                handed.scalars[step or 0] = metrics["cam/border_mass"]

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net(classes=CLASSES)
            self.automatic_optimization = optimizers == 1

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.net(images)

        def training_step(self, batch: Any) -> torch.Tensor:
            loss = F.cross_entropy(self(batch[0]), batch[1])
            self.log("loss", loss, on_step=True)
            if not self.automatic_optimization:
                for optimizer in self.optimizers():
                    optimizer.step()  # counts, whatever there is to step for
            return loss

        def validation_step(self, batch: Any) -> None:
            self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            chosen = [torch.optim.SGD(self.parameters(), lr=0.05) for _ in range(optimizers)]
            return chosen[0] if optimizers == 1 else chosen

    class Telling(lightning.Callback):
        """A finding at each validation, whatever the model does."""

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            if not trainer.sanity_checking:
                destination = where_to(trainer, None)
                handed.texts[destination.step] = TEXT
                publish_text(destination, "cam/findings", TEXT)

    def keep(logger: Any, tag: str, picture: Image.Image, step: int) -> None:
        if tag == "cam/overlay":
            handed.pictures[step] = picture

    LOGGERS["own"] = Backend("own", Own, keep)
    try:
        fitted = lightning.Trainer(
            default_root_dir=directory,
            accelerator="cpu",
            max_epochs=2,
            log_every_n_steps=2,  # so that the step of the last loss is not that of the validation
            logger=[*loggers, Own()],
            callbacks=[CAMMonitor(6, style=Style(shown=2), shortcuts=None), Telling()],
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        fitted.fit(Module(), loader(), loader(12, 1))
    finally:
        del LOGGERS["own"]
    assert len(handed.scalars) == len(handed.pictures) == 2, "one look in each epoch"
    assert list(handed.pictures) == list(handed.scalars), "pictures stand at the step of the scalars"
    assert not list(directory.rglob("cam/overlay/*.jpg")), "no files where a logger takes pictures"
    return handed


def check(stored: Stored, handed: Stored, exact: bool) -> None:
    """All that was handed out is stored, at its step."""
    assert stored.scalars == pytest.approx(handed.scalars)
    assert sorted(stored.pictures) == sorted(handed.pictures)
    for step, picture in handed.pictures.items():
        found = stored.pictures[step].convert("RGB")
        assert found.size == picture.size
        difference = np.abs(np.asarray(found, dtype=int) - np.asarray(picture, dtype=int))
        assert difference.max() == 0 if exact else difference.mean() < 3
    assert stored.texts == handed.texts


def from_mlflow(logger: Any, directory: Path) -> Stored:
    client, stored = logger.experiment, Stored()
    stored.scalars = {
        metric.step: metric.value for metric in client.get_metric_history(logger.run_id, "cam/border_mass")
    }
    for artifact in client.list_artifacts(logger.run_id, "images"):
        name = Path(artifact.path).name
        if name.startswith("cam~overlay+step+") and name.endswith(".png"):
            path = client.download_artifacts(logger.run_id, artifact.path, str(directory))
            stored.pictures[int(name.split("+")[2])] = picture_at(path)
    for artifact in client.list_artifacts(logger.run_id, "cam/findings"):
        path = client.download_artifacts(logger.run_id, artifact.path, str(directory))
        stored.texts[int(Path(path).stem.removeprefix("step="))] = Path(path).read_text(encoding="utf-8")
    return stored


def from_comet(directory: Path) -> Stored:
    stored = Stored()
    (path,) = directory.glob("*.zip")
    with zipfile.ZipFile(path) as archive:
        for line in archive.read("messages.json").splitlines():
            message = json.loads(line)
            payload, kind = message["payload"], message["type"]
            if kind == "metric_msg" and payload["metric"]["metricName"] == "cam/border_mass":
                stored.scalars[payload["metric"]["step"]] = payload["metric"]["metricValue"]
            if kind == "file_upload":
                asked = payload["additional_params"]
                if asked.get("figName") == "cam/overlay":
                    stored.pictures[asked["step"]] = Image.open(
                        io.BytesIO(archive.read(payload["file_path"]))
                    )
                if payload["upload_type"] == "text-sample":
                    assert payload["metadata"] == {"tag": "cam/findings"}
                    stored.texts[asked["step"]] = archive.read(payload["file_path"]).decode()
    return stored


# --- one logger


def test_tensorboard(lightning: ModuleType, tmp_path: Path) -> None:
    logger = lightning.loggers.TensorBoardLogger(tmp_path)
    handed = fit(lightning, tmp_path, [logger])
    check(from_events(logger.log_dir), handed, exact=False)


def test_two_optimizers_which_count_twice_as_many_steps(lightning: ModuleType, tmp_path: Path) -> None:
    logger = lightning.loggers.TensorBoardLogger(tmp_path)
    handed = fit(lightning, tmp_path, [logger], optimizers=2)
    check(from_events(logger.log_dir), handed, exact=False)


@pytest.mark.needs("wandb")
def test_wandb(lightning: ModuleType, tmp_path: Path) -> None:
    import wandb

    handed = fit(lightning, tmp_path, [lightning.loggers.WandbLogger(save_dir=tmp_path, offline=True)])
    wandb.finish()
    check(from_wandb(tmp_path), handed, exact=True)


@pytest.mark.needs("mlflow")
def test_mlflow(lightning: ModuleType, tmp_path: Path) -> None:
    logger = lightning.loggers.MLFlowLogger(save_dir=str(tmp_path / "mlruns"))
    handed = fit(lightning, tmp_path, [logger])
    (tmp_path / "read").mkdir()
    check(from_mlflow(logger, tmp_path / "read"), handed, exact=True)


@pytest.mark.needs("comet_ml")
@pytest.mark.skipif(
    Version("2.5") > LIGHTNING,
    reason="the CometLogger of Lightning 2.4 writes two archives with Comet of today",
)
def test_comet(lightning: ModuleType, tmp_path: Path) -> None:
    # Not with online=False: Lightning 2.6 then switches the whole experiment off.
    logger = comet_logger(lightning, tmp_path / "comet")
    handed = fit(lightning, tmp_path, [logger])
    logger.experiment.end()
    check(from_comet(tmp_path / "comet"), handed, exact=True)


class Uploads:
    """What LitLogger would upload. It has no offline mode, so its last step to the network is taken here."""

    def __init__(self) -> None:
        import litlogger

        class Experiment(litlogger.Experiment):
            def __init__(self, stored: Stored) -> None:
                self.name, self.stored = "cam", stored
                self._key_types, self._series = {}, {}

            def _resolve_remote_model(self, key: str) -> None:
                return None

            def _log_metric_value(self, key: str, value: float, step: int | None = None) -> None:
                if key == "cam/border_mass":
                    self.stored.scalars[step or 0] = value

            def _upload_media(
                self, name: str, path: str, kind: Any, step: int, epoch: int | None, caption: str | None
            ) -> None:
                if name == "cam/overlay":
                    assert caption == f"cam/overlay · step {step}"
                    self.stored.pictures[step] = Image.open(io.BytesIO(Path(path).read_bytes()))
                if name == "cam/findings":
                    self.stored.texts[step] = Path(path).read_text(encoding="utf-8")

            def finalize(self, status: str | None = None, print_summary: bool = True) -> None: ...

        self.stored = Stored()
        self.experiment = Experiment(self.stored)


@pytest.mark.needs("litlogger")
@pytest.mark.filterwarnings("ignore:log_media:DeprecationWarning")
def test_litlogger(lightning: ModuleType, tmp_path: Path) -> None:
    if not hasattr(lightning.loggers, "LitLogger"):
        pytest.skip("this Lightning has no LitLogger")
    uploads = Uploads()
    logger = lightning.loggers.LitLogger(tmp_path, name="cam", save_logs=False)
    logger._experiment = uploads.experiment
    handed = fit(lightning, tmp_path, [logger])
    check(uploads.stored, handed, exact=False)


@pytest.mark.needs("tensorboardX")
def test_tensorboardx(lightning: ModuleType, tmp_path: Path) -> None:
    from tensorboardX import SummaryWriter

    class Logger(lightning.loggers.TensorBoardLogger):
        """As it was before Lightning preferred torch's writer, and still is where torch's cannot be imported."""

        experiment = SummaryWriter(str(tmp_path / "x"))

    logger = Logger(tmp_path)
    handed = fit(lightning, tmp_path, [logger])
    logger.experiment.close()  # its own thread writes
    check(from_events(str(tmp_path / "x")), handed, exact=True)


# --- none, and several


def test_files_where_nobody_takes_pictures_and_texts(lightning: ModuleType, tmp_path: Path) -> None:
    logger = lightning.loggers.CSVLogger(tmp_path / "csv")
    fitted = lightning.Trainer(default_root_dir=tmp_path, logger=logger, accelerator="cpu")
    destination = where_to(fitted, folder_for(fitted, None, "cam"))
    publish(destination, "cam/overlay", Image.new("RGB", (40, 30), (200, 0, 0)))
    for text in ("first", "second"):
        publish_text(destination, "cam/findings", text)
    folder = Path(logger.log_dir) / "cam"
    assert picture_at(folder / "overlay" / "epoch=000-step=000000.jpg").size == (40, 30)
    assert (folder / "findings.md").read_text(encoding="utf-8") == "first\n\nsecond\n\n"


@pytest.mark.needs("comet_ml", "mlflow", "wandb")
@pytest.mark.skipif(
    Version("2.5") > LIGHTNING,
    reason="the CometLogger of Lightning 2.4 writes two archives with Comet of today",
)
def test_all_at_once(lightning: ModuleType, tmp_path: Path) -> None:
    import wandb

    boards = lightning.loggers.TensorBoardLogger(tmp_path / "boards")
    tables = lightning.loggers.CSVLogger(tmp_path / "csv")
    mlflow = lightning.loggers.MLFlowLogger(save_dir=str(tmp_path / "mlruns"))
    comet = comet_logger(lightning, tmp_path / "comet")
    handed = fit(
        lightning,
        tmp_path,
        [tables, boards, lightning.loggers.WandbLogger(save_dir=tmp_path, offline=True), mlflow, comet],
    )
    wandb.finish()
    comet.experiment.end()
    (tmp_path / "read").mkdir()
    check(from_events(boards.log_dir), handed, exact=False)
    check(from_wandb(tmp_path), handed, exact=True)
    check(from_mlflow(mlflow, tmp_path / "read"), handed, exact=True)
    check(from_comet(tmp_path / "comet"), handed, exact=True)
    # The report is a file whatever the loggers take.
    assert [path.name for path in (Path(tables.log_dir) / "cam").rglob("*")] == ["report.html"]


# --- failures, and threads


def comet_logger(lightning: ModuleType, directory: Path) -> Any:
    folder = "save_dir" if Version("2.5.1") > LIGHTNING else "offline_directory"
    return lightning.loggers.CometLogger(**{folder: str(directory)})


def colored(step: int) -> Image.Image:
    return Image.new("RGB", (40, 30), (step, 0, 0))


@pytest.mark.needs("wandb")
def test_a_failing_logger_keeps_nothing_from_the_others(lightning: ModuleType, tmp_path: Path) -> None:
    import wandb

    ended = lightning.loggers.WandbLogger(save_dir=tmp_path, offline=True)
    boards = lightning.loggers.TensorBoardLogger(tmp_path / "boards")
    destination = Destination((ended, boards), Folder(tmp_path / "files", "cam"), 0, 7, True, True)
    assert ended.experiment
    wandb.finish()
    with pytest.raises(
        PublishError,
        match=r"cam/overlay of step 7 was not taken by WandbLogger \(UsageError: .*the other loggers have it",
    ) as told:
        publish(destination, "cam/overlay", colored(7))
    assert [type(error).__name__ for error in told.value.exceptions] == ["UsageError"]
    with pytest.raises(PublishError, match="cam/findings of step 7 was not taken by WandbLogger"):
        publish_text(destination, "cam/findings", TEXT)
    boards.experiment.flush()
    stored = from_events(boards.log_dir)
    assert (list(stored.pictures), stored.texts) == ([7], {7: TEXT})
    assert not (tmp_path / "files").exists()


@pytest.mark.needs("wandb")
def test_where_all_fail_a_file_keeps_it(tmp_path: Path) -> None:
    import wandb
    from pytorch_lightning.loggers import CSVLogger, WandbLogger

    ended = WandbLogger(save_dir=tmp_path, offline=True)
    destination = Destination(
        (CSVLogger(tmp_path), ended), Folder(tmp_path / "files", "cam"), 0, 7, True, True
    )
    assert ended.experiment
    wandb.finish()
    with pytest.raises(
        PublishError, match=r"not taken by WandbLogger \(.*; it is in .*epoch=000-step=000007.jpg"
    ):
        publish(destination, "cam/overlay", colored(7))
    with pytest.raises(PublishError, match=r"not taken by WandbLogger \(.*; it is in .*findings.md"):
        publish_text(destination, "cam/findings", TEXT)
    assert (tmp_path / "files/cam/overlay/epoch=000-step=000007.jpg").exists()
    assert (tmp_path / "files/cam/findings.md").read_text(encoding="utf-8") == f"{TEXT}\n\n"
    (tmp_path / "blocked").write_text("a file where a directory should be")
    blocked = Folder(tmp_path / "blocked", "cam")
    with pytest.raises(PublishError, match=r"WandbLogger \(.*, the file \(.*; it is lost"):
        publish(Destination((ended,), blocked, 0, 7, True, True), "cam/overlay", colored(7))


@pytest.mark.needs("mlflow", "wandb")
@pytest.mark.parametrize("name", ["TensorBoardLogger", "WandbLogger", "MLFlowLogger"])
def test_pictures_from_another_thread(name: str, tmp_path: Path) -> None:
    import pytorch_lightning.loggers
    import wandb

    logger = getattr(pytorch_lightning.loggers, name)(save_dir=str(tmp_path / "logs"))
    destination = where_to(trainer(tmp_path, logger=logger), None)
    assert destination.any_thread
    failures: list[Exception] = []

    def work() -> None:
        try:
            for step in range(40):
                there = Destination(destination.loggers, destination.folder, 0, step, True, True)
                publish(there, "cam/overlay", Image.new("RGB", (40, 30), (6 * step,) * 3))
                publish_text(there, "cam/findings", f"step {step}")
        except Exception as error:  # noqa: BLE001 - raised in the main thread below
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    step = 0
    while thread.is_alive() or step < 40:
        logger.log_metrics({"cam/border_mass": step / 1024}, step=step)
        step += 1
    thread.join()
    assert failures == []
    if name == "TensorBoardLogger":
        logger.experiment.flush()
        stored = from_events(logger.log_dir)
    elif name == "WandbLogger":
        wandb.finish()
        stored = from_wandb(tmp_path / "logs")
    else:
        (tmp_path / "read").mkdir()
        stored = from_mlflow(logger, tmp_path / "read")
    assert stored.scalars == {at: at / 1024 for at in range(step)}
    assert sorted(stored.pictures) == list(range(40))
    for at, picture in stored.pictures.items():
        assert round(picture.convert("RGB").getpixel((0, 0))[0] / 6) == at
    assert stored.texts == {at: f"step {at}" for at in range(40)}


@pytest.mark.needs("comet_ml")
def test_the_main_thread_alone_writes_to_comet_and_to_loggers_of_a_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pytorch_lightning.loggers
    from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

    comet = comet_logger(pytorch_lightning, tmp_path / "comet")
    for loggers, expected in (
        ([comet], False),
        ([CSVLogger(tmp_path), comet], False),
        ([CSVLogger(tmp_path)], True),
        (False, True),
    ):
        assert where_to(trainer(tmp_path, logger=loggers), None).any_thread is expected
    comet.experiment.end()
    own = Backend("own", TensorBoardLogger, lambda logger, tag, picture, step: None)
    monkeypatch.setitem(LOGGERS, "own", own)
    assert where_to(trainer(tmp_path, logger=TensorBoardLogger(tmp_path)), None).any_thread is False


def test_a_row_of_the_users_own_is_called_on_the_main_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytorch_lightning.loggers import CSVLogger

    class Own(CSVLogger):
        pass

    used = []
    own = Backend("own", Own, lambda *arguments: used.append(threading.current_thread()))
    monkeypatch.setitem(LOGGERS, "own", own)
    fitted = trainer(tmp_path, callbacks=[CAMMonitor(probe=9, shortcuts=None)], logger=Own(tmp_path / "own"))
    fitted.fit(Classifier(), loader(), loader(seed=1))
    assert (
        used == [threading.main_thread()] * 6
    )  # overlay, strip and classes of two looks; the animation is a file
