"""The monitor in a real Trainer."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from support.files import frames_at
from support.fits import (
    IMAGES,
    LABELS,
    AnyBatch,
    epochs,
    events,
    fit,
    run_with_checkpoint,
    val,
    with_no_warning_of_failure,
)
from support.modules import CLASSES, Classifier, data, loader, trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_cam import METHODS, TARGETS, CAMMonitor, Inputs, Probe, Style

# --- what the user sees


def test_pictures_and_scalars_in_the_event_file(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    fit(
        tmp_path,
        CAMMonitor(probe=6, scalars="all", style=Style(animation=True)),
        logger=logger,
        max_epochs=3,
        log_every_n_steps=1,
    )
    found = events(Path(logger.log_dir))
    assert set(found.Tags()["images"]) - {"cam/alert"} == {
        "cam/evolution",
        "cam/overlay",
        "cam/classes",
        "cam/animation",
    }
    steps = [event.step for event in found.Scalars("val_loss")]
    assert len(steps) == 3
    (moving,) = found.Images("cam/animation")  # at the end
    film = Image.open(io.BytesIO(moving.encoded_image_string))
    assert (film.format, film.n_frames, film.size) == ("WEBP", 4, (moving.width, moving.height))
    for tag, shown in (("cam/overlay", steps), ("cam/evolution", steps[::2]), ("cam/classes", steps[::2])):
        assert [event.step for event in found.Images(tag)] == shown, (
            "of 2 and of 4 looks, the untrained one counts"
        )
        for event in found.Images(tag):
            picture = Image.open(io.BytesIO(event.encoded_image_string))
            picture.load()
            assert picture.format == "WEBP"
            assert picture.size == (event.width, event.height)
    scalars = {tag.removeprefix("cam/") for tag in found.Tags()["scalars"] if tag.startswith("cam/")}
    without_masks = "border_mass corner_mass entropy gini center_x center_y effective_area raw_peak drift_last drift_first blank probe_accuracy"
    cues = {name for name in scalars if name.startswith(("shortcut", "agreement/"))}
    assert cues >= {"shortcut_reliance", "agreement/shuffled"}
    assert scalars - cues == set(without_masks.split())
    for name in {*without_masks.split(), "shortcut_reliance"}:
        assert [event.step for event in found.Scalars(f"cam/{name}")] == steps
        assert all(torch.tensor(event.value).isfinite() for event in found.Scalars(f"cam/{name}"))


def test_scalars_are_the_means_of_the_history(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6, scalars="all")
    fitted = fit(tmp_path, monitor)
    for name, value in monitor.history.looks[-1].means.items():
        assert fitted.callback_metrics[f"cam/{name}"].item() == pytest.approx(value, rel=1e-6)
    assert fitted.callback_metrics["cam/drift_last"] > 0


def test_the_untrained_model_is_the_first_column(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    fit(tmp_path, monitor)
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1]
    untrained = monitor.history.looks[0]
    # The rehearsal saw 16 of the 24 validation images: all six of the probe, in an unshuffled loader.
    assert untrained.cams.isfinite().all()
    again = CAMMonitor(probe=Probe(monitor.probe.images, monitor.probe.labels))
    fit(tmp_path, again)
    torch.testing.assert_close(again.history.looks[0].cams, untrained.cams)


def test_images_that_the_rehearsal_did_not_see_stay_open_in_the_first_column(tmp_path: Path) -> None:
    images, labels = data(24, seed=1).tensors
    order = labels.sort(stable=True).indices  # as a folder: sorted by class
    monitor = CAMMonitor(probe=6)
    fit(tmp_path, monitor, val=DataLoader(TensorDataset(images[order], labels[order]), batch_size=4))
    assert monitor.probe.labels.tolist() == [0, 1, 2, 0, 1, 2]
    seen = monitor.history.looks[0].predicted >= 0
    assert seen.tolist() == [True, False, False, True, False, False]
    assert monitor.history.looks[0].cams[~seen].isnan().all()
    assert monitor.history.looks[1].statistics["drift_first"].isfinite().tolist() == seen.tolist()


def test_files_where_no_logger_takes_pictures(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    fit(tmp_path, CAMMonitor(probe=6, style=Style(animation=True)), logger=logger)
    written = sorted(str(path.relative_to(logger.log_dir)) for path in Path(logger.log_dir).rglob("*.jpg"))
    names = [f"epoch={epoch:03d}-step={step:06d}.jpg" for epoch, step in ((0, 3), (1, 6))]
    steps = sorted(f"cam/{kind}/{name}" for kind in ("classes", "evolution", "overlay") for name in names)
    assert [name.replace("=000002", "=000003").replace("=000005", "=000006") for name in written] == steps
    assert frames_at(Path(logger.log_dir) / "cam" / "animation.gif") == 3


def test_several_loggers_and_two_monitors(tmp_path: Path) -> None:
    boards = [
        TensorBoardLogger(tmp_path, name="a"),
        TensorBoardLogger(tmp_path, name="b"),
        CSVLogger(tmp_path, name="c"),
    ]
    monitors = [
        CAMMonitor(probe=6, method=method, name=name, scalars=["raw_peak"])
        for method, name in (("gradcam", "cam"), ("layercam", "layercam"))
    ]
    fitted = fit(tmp_path, monitors[0], callbacks=monitors, logger=boards)
    for board in boards[:2]:
        tags = events(Path(board.log_dir)).Tags()["images"]
        kinds = ("classes", "evolution", "overlay")
        assert sorted(tags) == [f"{name}/{kind}" for name in ("cam", "layercam") for kind in kinds]
    assert not list(tmp_path.rglob("*.jpg"))
    assert fitted.callback_metrics["cam/raw_peak"] != fitted.callback_metrics["layercam/raw_peak"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_in_a_fit(method: str, tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6, method=method)
    with_no_warning_of_failure(tmp_path, monitor)
    assert len(monitor.history) == 3


@pytest.mark.parametrize(
    "target", [*sorted(TARGETS.keys() - {"output"}), 1, lambda scores, labels: scores[:, 0] - scores[:, 1]]
)
def test_every_target_in_a_fit(target: Any, tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6, target=target)
    with_no_warning_of_failure(tmp_path, monitor)
    assert len(monitor.history) == 3


def test_others_can_watch_the_scalars(tmp_path: Path) -> None:
    callbacks = [
        CAMMonitor(probe=6, every_n_epochs=2),
        EarlyStopping(monitor="cam/drift_last", patience=10, check_finite=True),
        EarlyStopping(monitor="cam/blank", patience=10),
        ModelCheckpoint(tmp_path, monitor="cam/entropy", filename="{epoch}"),
    ]
    fitted = fit(tmp_path, callbacks[0], callbacks=callbacks, max_epochs=4, enable_checkpointing=True)
    assert fitted.current_epoch == 4
    assert callbacks[-1].best_model_path


def test_validate_alone(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    logger = TensorBoardLogger(tmp_path)
    validated = trainer(tmp_path, callbacks=[monitor], logger=logger)
    validated.validate(Classifier(), loader(seed=1), verbose=False)
    assert events(Path(logger.log_dir)).Tags()["images"] == ["cam/overlay", "cam/classes"]
    assert not monitor.probe.images.is_inference()
    assert validated.callback_metrics["cam/border_mass"] > 0
    assert len(monitor.history) == 0
    with torch.random.fork_rng():
        fit(tmp_path, monitor)
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1]
    trainer(tmp_path, callbacks=[monitor]).validate(Classifier(), loader(seed=1), verbose=False)
    assert len(monitor.history) == 3


def test_fast_dev_run_leaves_nothing(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    with_no_warning_of_failure(tmp_path, monitor, fast_dev_run=True)
    assert epochs(monitor) == [0]
    assert not list(tmp_path.rglob("*"))


def test_no_validation_loader(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="maps are made at validation, and this fit has none"):
        trainer(tmp_path, callbacks=[CAMMonitor()]).fit(Classifier(), loader())


def test_without_labels_the_prediction_is_explained(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    images = TensorDataset(data(24, seed=1).tensors[0])
    with pytest.warns(UserWarning, match="no labels found .*, so the maps explain the predicted class"):
        fit(tmp_path, monitor, model=AnyBatch(), val=DataLoader(images, batch_size=8))
    assert epochs(monitor) == [0, 1]


def test_a_users_probe_without_sanity_check_gets_its_untrained_look(tmp_path: Path) -> None:
    probe = Probe(*data(5, seed=7).tensors, class_names=("top", "middle", "bottom"))
    monitor = CAMMonitor(probe)
    fit(tmp_path, monitor, num_sanity_val_steps=0)
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1]
    assert monitor.probe is probe


# --- what is refused, before training


class NoForward(Classifier):
    forward = __import__("pytorch_lightning").LightningModule.forward

    def training_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
        raise AssertionError("training must not begin")

    def validation_step(self, batch: Any, batch_idx: int = 0) -> None:
        """It runs no network either."""


class Probabilities(Classifier):
    def forward(self, images: Tensor) -> Tensor:
        return self.net(images).softmax(dim=1)


class Mlp(Classifier):
    def __init__(self) -> None:
        super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(768, CLASSES)))


class NeverTrains(AnyBatch):
    def training_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
        raise AssertionError("training must not begin")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"model": NoForward()},
            "network: NoForward has no forward; define one that returns the class scores",
        ),
        (
            {"monitor": {"target_layer": "net.bodi"}},
            r"target_layer: no layer 'net.bodi' in NeverTrains; did you mean 'net.body'\?",
        ),
        (
            {"monitor": {"target_layer": "body"}},
            r"target_layer: no layer 'body' in NeverTrains; did you mean 'net.body'\?",
        ),
        ({"model": Mlp()}, "target_layer: no block or norm of Mlp was found that yields a map"),
        (
            {"val": val(IMAGES, LABELS + 1)},
            "labels: label 3 is outside the model's 3 classes; labels run from 0 to 2",
        ),
        ({"val": val(IMAGES / 0, LABELS)}, r"images: all 16 hold values that are not finite"),
        (
            {"val": val(IMAGES.flatten(1), LABELS)},
            r"images: no images .* found in the batch, which holds a list of .* \(8, 768\)",
        ),
        ({"monitor": {"inputs": Inputs(labels="target")}}, "labels: no 'target' in a list of"),
        (
            {"monitor": {"class_names": ["a", "b"]}},
            "class_names: got 2 names for the model's 3 classes; give one per class",
        ),
        ({"monitor": {"target": 7}}, "target: class index 7 is outside the model's 3 classes; use 0 to 2"),
        ({"monitor": {"inputs": Inputs(dataloader_idx=1)}}, "dataloader_idx: got 1 for 1 validation loaders"),
        ({"monitor": {"inputs": Inputs(scores="logits")}}, "scores: no 'logits' in a float32 tensor"),
        (
            {"monitor": {"method": lambda evidence: evidence.activations}},
            r"method: '<lambda>' returned a float32 tensor \(\d, 8, 8, 8\)",
        ),
    ],
)
def test_what_cannot_be_explained_raises_before_training(options: dict, message: str, tmp_path: Path) -> None:
    options = dict(options)
    monitor = CAMMonitor(probe=6, **options.pop("monitor", {}))
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, monitor, **{"model": NeverTrains(), **options})


def test_without_sanity_check_the_first_look_warns_instead(tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning, match="switched itself off in epoch 0; training goes on.*labels: label 3 is outside"
    ):
        fitted = fit(
            tmp_path,
            CAMMonitor(probe=6),
            model=AnyBatch(),
            val=val(IMAGES, LABELS + 1),
            num_sanity_val_steps=0,
        )
    assert fitted.current_epoch == 2


def test_probabilities_are_noted(tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning, match="scores: the model's forward returns probabilities; explain the logits"
    ):
        fit(tmp_path, CAMMonitor(probe=6), model=Probabilities())


class BreaksDown(Classifier):
    def on_validation_epoch_start(self) -> None:
        if self.current_epoch == 1:
            self.net.head.weight.data.fill_(float("nan"))


def test_weights_that_turn_nan_give_blank_maps_one_note_and_finite_scalars(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6, scalars="all")
    with pytest.warns(UserWarning, match="maps: 6 of 6 are not finite"):
        fitted = fit(tmp_path, monitor, model=BreaksDown())
    assert fitted.callback_metrics["cam/blank"] == 1
    assert fitted.callback_metrics["cam/entropy"] == pytest.approx(
        monitor.history.looks[-2].means["entropy"], rel=1e-6
    )
    assert monitor.history.looks[-1].statistics["entropy"].isnan().all()


# --- one monitor, several runs


def test_a_second_fit_with_the_same_monitor_starts_anew(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    fit(tmp_path, monitor, max_epochs=3)
    deeper = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES)
    )
    fit(tmp_path, monitor, model=Classifier(deeper))  # other layers: the one of the first fit is not there
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1]


def test_validate_first_then_fit_and_save(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    trainer(tmp_path, callbacks=[monitor]).validate(Classifier(), loader(seed=1), verbose=False)
    checkpoint = run_with_checkpoint(tmp_path, monitor, epochs=1)  # the probe was taken in inference mode
    assert len(torch.load(checkpoint, weights_only=True)["callbacks"][monitor.state_key]["history"]) == 2
