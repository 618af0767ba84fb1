"""The monitor in a real Trainer."""

import dataclasses
import io
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from modules import CLASSES, Classifier, data, loader, trainer
from networks import net, pictures
from PIL import Image
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lightning_cam import METHODS, TARGETS, CAMMonitor, Probe


def fit(
    directory: Path, monitor: CAMMonitor, model: Classifier | None = None, val: Any = None, **options: Any
) -> Trainer:
    seed_everything(0, verbose=False)
    fitted = trainer(directory, **{"callbacks": [monitor], **options})
    fitted.fit(
        Classifier() if model is None else model, loader(shuffle=True), loader(seed=1) if val is None else val
    )
    return fitted


def events(directory: Path) -> EventAccumulator:
    found = EventAccumulator(str(directory), size_guidance={"images": 0})
    found.Reload()
    return found


# --- what the user sees


def test_pictures_and_scalars_in_the_event_file(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    fit(tmp_path, CAMMonitor(probe=6), logger=logger, max_epochs=3, log_every_n_steps=1)
    found = events(Path(logger.log_dir))
    assert set(found.Tags()["images"]) - {"cam/shortcut"} == {
        "cam/evolution",
        "cam/overlay",
        "cam/classes",
        "cam/animation",
    }
    steps = [event.step for event in found.Scalars("val_loss")]
    assert len(steps) == 3
    (moving,) = found.Images("cam/animation")  # at the end
    gif = Image.open(io.BytesIO(moving.encoded_image_string))
    assert (gif.format, gif.n_frames, gif.size) == ("GIF", 4, (moving.width, moving.height))
    for tag in ("cam/overlay", "cam/evolution", "cam/classes"):
        assert [event.step for event in found.Images(tag)] == steps
        for event in found.Images(tag):
            picture = Image.open(io.BytesIO(event.encoded_image_string))
            picture.load()
            assert picture.format == "JPEG"
            assert picture.size == (event.width, event.height)
    scalars = {tag.removeprefix("cam/") for tag in found.Tags()["scalars"] if tag.startswith("cam/")}
    without_masks = "border_mass corner_mass entropy gini center_x center_y effective_area raw_peak drift_last drift_first blank"
    cues = {name for name in scalars if name.startswith(("shortcut/", "offer/", "agreement/"))}
    assert "shortcut/mean_image" in cues
    assert scalars - cues == set(without_masks.split())
    for name in {*without_masks.split(), "shortcut/mean_image"}:
        assert [event.step for event in found.Scalars(f"cam/{name}")] == steps
        assert all(torch.tensor(event.value).isfinite() for event in found.Scalars(f"cam/{name}"))


def test_scalars_are_the_means_of_the_history(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
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
    fit(tmp_path, CAMMonitor(probe=6), logger=logger)
    written = sorted(str(path.relative_to(logger.log_dir)) for path in Path(logger.log_dir).rglob("*.jpg"))
    names = ["epoch=000-step=000003.jpg", "epoch=001-step=000006.jpg"]
    steps = sorted(f"cam/{kind}/{name}" for kind in ("classes", "evolution", "overlay") for name in names)
    assert [name.replace("=000002", "=000003").replace("=000005", "=000006") for name in written] == steps
    assert Image.open(Path(logger.log_dir) / "cam" / "animation.gif").n_frames == 3
    fit(tmp_path / "none", CAMMonitor(probe=6))
    assert len(list((tmp_path / "none" / "cam").rglob("*.jpg"))) == 6


def test_several_loggers_and_two_monitors(tmp_path: Path) -> None:
    boards = [
        TensorBoardLogger(tmp_path, name="a"),
        TensorBoardLogger(tmp_path, name="b"),
        CSVLogger(tmp_path, name="c"),
    ]
    monitors = [CAMMonitor(probe=6), CAMMonitor(probe=6, method="layercam", name="layercam")]
    fitted = fit(tmp_path, monitors[0], callbacks=monitors, logger=boards)
    for board in boards[:2]:
        tags = events(Path(board.log_dir)).Tags()["images"]
        kinds = ("animation", "classes", "evolution", "overlay")
        assert sorted(tags) == [f"{name}/{kind}" for name in ("cam", "layercam") for kind in kinds]
    assert not list(tmp_path.rglob("*.jpg"))
    assert fitted.callback_metrics["cam/raw_peak"] != fitted.callback_metrics["layercam/raw_peak"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_in_a_fit(method: str, tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6, method=method)
    with_no_warning_of_failure(tmp_path, monitor)
    assert len(monitor.history) == 3


@pytest.mark.parametrize("target", [*TARGETS, 1, lambda scores, labels: scores[:, 0] - scores[:, 1]])
def test_every_target_in_a_fit(target: Any, tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6, target=target)
    with_no_warning_of_failure(tmp_path, monitor)
    assert len(monitor.history) == 3


def with_no_warning_of_failure(directory: Path, monitor: CAMMonitor, **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*switched itself off.*")
        fit(directory, monitor, **options)


# --- when it looks


def epochs(monitor: CAMMonitor) -> list[int]:
    return [look.epoch for look in monitor.history.looks if look.epoch >= 0]


def test_every_n_epochs(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6, every_n_epochs=2)
    logger = TensorBoardLogger(tmp_path)
    fit(tmp_path, monitor, max_epochs=5, logger=logger, log_every_n_steps=1)
    assert epochs(monitor) == [0, 2, 4]
    found = events(Path(logger.log_dir))
    assert len(found.Images("cam/overlay")) == 3
    assert len(found.Scalars("cam/entropy")) == 5  # the last value at every validation


def test_every_validation_of_an_epoch_that_is_due(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6, every_n_epochs=2)
    fit(tmp_path, monitor, max_epochs=3, val_check_interval=1)
    assert epochs(monitor) == [0, 0, 0, 2, 2, 2]


def test_a_rhythm_that_never_meets_the_validations_still_looks_once_a_block(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6, every_n_epochs=2)
    fit(tmp_path, monitor, max_epochs=6, check_val_every_n_epoch=2)
    assert epochs(monitor) == [1, 3, 5]


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


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter(data(24, seed=1))


def test_a_loader_of_unknown_length_is_looked_at_from_the_second_validation(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    with pytest.warns(
        UserWarning, match="does not tell its length, so the first look is at the next validation"
    ):
        fit(tmp_path, monitor, val=DataLoader(Stream(), batch_size=8), max_epochs=3)
    assert epochs(monitor) == [1, 2]
    assert monitor.probe.labels.tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    "options", [{"limit_val_batches": 1}, {"limit_val_batches": 0.5}, {"overfit_batches": 1}]
)
def test_shortened_validations(options: dict, tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    with_no_warning_of_failure(tmp_path, monitor, **options)
    assert epochs(monitor) == [0, 1]


def test_validate_alone(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    logger = TensorBoardLogger(tmp_path)
    validated = trainer(tmp_path, callbacks=[monitor], logger=logger)
    validated.validate(Classifier(), loader(seed=1), verbose=False)
    assert events(Path(logger.log_dir)).Tags()["images"] == ["cam/overlay", "cam/classes"]
    assert not monitor.probe.images.is_inference()
    assert validated.callback_metrics["cam/entropy"] > 0
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


def test_both_namespaces(tmp_path: Path) -> None:
    import lightning.pytorch as other

    class Other(other.LightningModule):
        __init__ = Classifier.__init__
        forward, training_step = Classifier.forward, Classifier.training_step
        validation_step, configure_optimizers = Classifier.validation_step, Classifier.configure_optimizers

    Other.__init__ = lambda self: (
        other.LightningModule.__init__(self),
        setattr(self, "net", net(classes=CLASSES)),
    )[0]
    for callbacks in ([CAMMonitor(probe=6)], CAMMonitor(probe=6)):
        fitted = other.Trainer(
            default_root_dir=tmp_path,
            callbacks=callbacks,
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
        )
        fitted.fit(Other(), loader(), loader(seed=1))
        assert fitted.callback_metrics["cam/entropy"] > 0


# --- what it is given


def as_dict(batch: list) -> dict:
    images, labels = torch.utils.data.default_collate(batch)
    return {"image": images, "label": labels, "id": [str(i) for i in range(len(images))]}


class Named(NamedTuple):
    images: Tensor
    labels: Tensor


@dataclasses.dataclass
class Record:
    images: Tensor
    labels: Tensor


def as_named(batch: list) -> Named:
    return Named(*torch.utils.data.default_collate(batch))


def as_record(batch: list) -> Record:
    return Record(*torch.utils.data.default_collate(batch))


class AnyBatch(Classifier):
    def validation_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> None:
        self.log("val_loss", torch.tensor(0.0))


@pytest.mark.parametrize("collate", [None, as_dict, as_named, as_record])
def test_batches_of_every_kind(collate: Any, tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    with_no_warning_of_failure(tmp_path, monitor, model=AnyBatch(), val=loader(seed=1, collate_fn=collate))
    torch.testing.assert_close(monitor.probe.images[0], data(24, seed=1)[0][0], rtol=0, atol=0)
    assert monitor.probe.labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_masks_in_the_batch(tmp_path: Path) -> None:
    images, labels = data(24, seed=1).tensors
    masks = images[:, 0] > 0.5
    monitor = CAMMonitor(probe=6)
    fitted = fit(
        tmp_path,
        monitor,
        model=AnyBatch(),
        val=DataLoader(TensorDataset(images, labels, masks), batch_size=8),
    )
    assert monitor.probe.masks.dtype == torch.bool
    assert 0 < fitted.callback_metrics["cam/mass_inside"] <= 1
    assert "cam/pointing_game" in fitted.callback_metrics


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


class Mutates(Classifier):
    def validation_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> None:
        super().validation_step(batch)
        batch[0].zero_()


def test_the_probe_is_taken_before_the_users_step_changes_the_batch(tmp_path: Path) -> None:
    images, labels = data(24, seed=1).tensors
    monitor = CAMMonitor(probe=6)
    fit(tmp_path, monitor, model=Mutates(), val=DataLoader(TensorDataset(images, labels), batch_size=8))
    torch.testing.assert_close(monitor.probe.images, images[:6], rtol=0, atol=0)


# --- resuming


def run_with_checkpoint(
    directory: Path, monitor: CAMMonitor, epochs: int, resume: Path | None = None
) -> Path:
    seed_everything(0, verbose=False)
    saved = ModelCheckpoint(directory, save_last=True)
    fitted = trainer(directory, callbacks=[monitor, saved], max_epochs=epochs, enable_checkpointing=True)
    fitted.fit(Classifier(), loader(shuffle=True), loader(seed=1), ckpt_path=resume)
    return directory / "last.ckpt"


def test_a_resumed_run_shows_the_same_probe_and_a_continued_film_strip(tmp_path: Path) -> None:
    first = CAMMonitor(probe=6)
    checkpoint = run_with_checkpoint(tmp_path / "a", first, epochs=2)
    loaded = torch.load(checkpoint, weights_only=True)
    state = loaded["callbacks"][first.state_key]
    assert state["version"] == 1
    resumed = CAMMonitor(probe=6)
    run_with_checkpoint(tmp_path / "b", resumed, epochs=4, resume=checkpoint)
    torch.testing.assert_close(resumed.probe.images, first.probe.images, rtol=0, atol=0)
    assert [look.epoch for look in resumed.history.looks] == [-1, 0, 1, 2, 3]
    for before, after in zip(first.history.looks, resumed.history.looks, strict=False):
        torch.testing.assert_close(after.cams, before.cams, rtol=0, atol=0)
    assert resumed.history.looks[3].statistics["drift_last"].isfinite().all()


def test_resuming_gives_the_weights_of_a_run_without_monitor(tmp_path: Path) -> None:
    checkpoint = run_with_checkpoint(tmp_path / "a", CAMMonitor(probe=6), epochs=2)
    monitored = torch.load(
        run_with_checkpoint(tmp_path / "b", CAMMonitor(probe=6), 4, checkpoint), weights_only=True
    )
    saved = ModelCheckpoint(tmp_path / "c", save_last=True)
    seed_everything(0, verbose=False)
    plain = trainer(tmp_path / "c", callbacks=[saved], max_epochs=4, enable_checkpointing=True)
    plain.fit(Classifier(), loader(shuffle=True), loader(seed=1), ckpt_path=checkpoint)
    expected = torch.load(tmp_path / "c" / "last.ckpt", weights_only=True)
    torch.testing.assert_close(monitored["state_dict"], expected["state_dict"], rtol=0, atol=0)


def test_a_checkpoint_without_the_probes_images(tmp_path: Path) -> None:
    checkpoint = run_with_checkpoint(tmp_path / "a", CAMMonitor(probe=6, persist_probe=False), epochs=2)
    state = torch.load(checkpoint, weights_only=True)["callbacks"][CAMMonitor().state_key]
    assert state["probe"] is None
    same = CAMMonitor(probe=6, persist_probe=False)
    run_with_checkpoint(tmp_path / "b", same, epochs=3, resume=checkpoint)
    assert [look.epoch for look in same.history.looks] == [-1, 0, 1, 2]  # the same images were chosen again
    other = CAMMonitor(probe=7, persist_probe=False)
    with pytest.warns(
        UserWarning, match="the probe's images are not the checkpoint's; the history starts anew"
    ):
        run_with_checkpoint(tmp_path / "c", other, epochs=3, resume=checkpoint)
    assert [look.epoch for look in other.history.looks] == [2]


def test_a_restored_probe_that_does_not_fit_the_model(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    run_with_checkpoint(tmp_path, monitor, epochs=1)
    state = monitor.state_dict()
    narrow = CAMMonitor(probe=6)
    narrow.load_state_dict({**state, "probe": Probe(pictures(6, channels=1)).state()})
    with pytest.warns(
        UserWarning, match="the checkpoint's probe does not fit this model, so a new one is chosen"
    ):
        fit(tmp_path, narrow, max_epochs=3, num_sanity_val_steps=0)
    assert narrow.probe.images.shape == (6, 3, 16, 16)
    assert epochs(narrow) == [1, 2]


def test_state_of_another_version_and_of_nothing(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    assert monitor.state_dict() == {}
    monitor.load_state_dict({})
    with pytest.warns(UserWarning, match="state has version 99, not 1; looks start anew"):
        monitor.load_state_dict({"version": 99})
    fit(tmp_path, monitor)
    assert epochs(monitor) == [0, 1]


# --- what is refused, before training


class NoForward(Classifier):
    forward = __import__("pytorch_lightning").LightningModule.forward

    def training_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
        raise AssertionError("training must not begin")


class Probabilities(Classifier):
    def forward(self, images: Tensor) -> Tensor:
        return self.net(images).softmax(dim=1)


class Mlp(Classifier):
    def __init__(self) -> None:
        super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(768, CLASSES)))


class NeverTrains(AnyBatch):
    def training_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
        raise AssertionError("training must not begin")


def val(images: Any, labels: Any, **options: Any) -> DataLoader:
    return DataLoader(TensorDataset(images, labels), batch_size=8, **options)


IMAGES, LABELS = data(24, seed=1).tensors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"model": NoForward()},
            "forward: NoForward has no forward; define one that returns the class scores",
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
        ({"monitor": {"labels": "target"}}, "labels: no 'target' in a list of"),
        (
            {"monitor": {"class_names": ["a", "b"]}},
            "class_names: got 2 names for the model's 3 classes; give one per class",
        ),
        ({"monitor": {"target": 7}}, "target: class index 7 is outside the model's 3 classes; use 0 to 2"),
        ({"monitor": {"dataloader_idx": 1}}, "dataloader_idx: got 1 for 1 validation loaders"),
        ({"monitor": {"scores": "logits"}}, "scores: no 'logits' in a float32 tensor"),
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
    monitor = CAMMonitor(probe=6)
    with pytest.warns(UserWarning, match="maps: 6 of 6 are not finite"):
        fitted = fit(tmp_path, monitor, model=BreaksDown())
    assert fitted.callback_metrics["cam/blank"] == 1
    assert fitted.callback_metrics["cam/entropy"] == pytest.approx(
        monitor.history.looks[-2].means["entropy"], rel=1e-6
    )
    assert monitor.history.looks[-1].statistics["entropy"].isnan().all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"probe": 0}, ValueError, "probe: got 0; give at least 1"),
        (
            {"probe": "all"},
            TypeError,
            "probe: got 'all'; give a whole number, how many images to choose, or a Probe",
        ),
        ({"shown": 0}, ValueError, "shown: got 0; give at least 1"),
        ({"every_n_epochs": 0}, ValueError, "every_n_epochs: got 0; give at least 1"),
        ({"every_n_epochs": 1.5}, TypeError, "every_n_epochs: got 1.5; give a whole number"),
        ({"dataloader_idx": -1}, ValueError, "dataloader_idx: got -1; give at least 0"),
        ({"max_batch": 0}, ValueError, "max_batch: got 0; give at least 1"),
        ({"method": "grad-cam"}, ValueError, r"method: no method 'grad-cam'; did you mean 'gradcam'\?"),
        ({"method": 3}, TypeError, "method: got 3; give a name or a function"),
        ({"target": "lable"}, ValueError, r"target: no target 'lable'; did you mean 'label'\?"),
        ({"target": -1}, ValueError, "target: class index -1 is negative"),
        ({"opacity": 1.5}, ValueError, r"opacity: got 1.5; give a value in \[0, 1\]"),
        ({"colormap": "infernoo"}, ValueError, r"colormap: no colormap 'infernoo'; did you mean 'inferno'\?"),
        ({"normalization": "imgnet"}, ValueError, "normalization: got 'imgnet'"),
        ({"normalization": ((0.5,), (0.0,))}, ValueError, "normalization: .* std above 0"),
        ({"opacity": None}, ValueError, "opacity: got None"),
        ({"class_names": "cat"}, TypeError, "class_names: got 'cat'; give one name per class, in a list"),
        ({"method": ["gradcam"]}, TypeError, "method: got .*; a monitor has one method"),
        ({"images": 1.5}, TypeError, "images: got 1.5; give a key, an index, a function, or None"),
        ({"scores": 2.5}, TypeError, "scores: got 2.5; give a key"),
        ({"target_layer": 4}, TypeError, "target_layer: got 4; give the name of a submodule"),
        ({"forward": "net"}, TypeError, "forward: got 'net'; give a function"),
        ({"name": ""}, ValueError, "name: got ''; give a prefix"),
    ],
)
def test_wrong_arguments(arguments: dict, error: type[Exception], message: str, unchecked: None) -> None:
    with pytest.raises(error, match=message):
        CAMMonitor(**arguments)


def test_a_resumed_run_that_asks_another_question_starts_anew(tmp_path: Path) -> None:
    checkpoint = run_with_checkpoint(tmp_path / "a", CAMMonitor(probe=6), epochs=2)
    other = CAMMonitor(probe=6, method="layercam")
    with pytest.warns(
        UserWarning,
        match="the checkpoint's looks asked 'gradcam at the last layer, target label', not 'layercam",
    ):
        run_with_checkpoint(tmp_path / "b", other, epochs=3, resume=checkpoint)
    assert [look.epoch for look in other.history.looks] == [2]


def test_resuming_without_images_leaves_none_in_the_next_checkpoint_and_none_twice_in_the_probe(
    tmp_path: Path,
) -> None:
    checkpoint = run_with_checkpoint(tmp_path / "a", CAMMonitor(probe=20), epochs=1)
    monitor = CAMMonitor(probe=20, persist_probe=False)
    monitor.load_state_dict(torch.load(checkpoint, weights_only=True)["callbacks"][monitor.state_key])
    assert monitor.state_dict()["probe"] is None
    silent = run_with_checkpoint(tmp_path / "b", CAMMonitor(probe=20, persist_probe=False), epochs=1)
    resumed = CAMMonitor(probe=20, persist_probe=False)
    run_with_checkpoint(tmp_path / "c", resumed, epochs=2, resume=silent)
    assert len({image.numpy().tobytes() for image in resumed.probe.images}) == 20


def test_an_interrupted_first_validation_leaves_no_image_twice(tmp_path: Path) -> None:
    class Interrupts(Classifier):
        def validation_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> None:
            super().validation_step(batch)
            if batch_idx == 1:
                raise RuntimeError("planted")

    monitor = CAMMonitor(probe=20)
    with pytest.raises(RuntimeError, match="planted"):
        fit(tmp_path, monitor, model=Interrupts(), num_sanity_val_steps=0)
    fit(tmp_path, monitor, num_sanity_val_steps=0)
    assert len({image.numpy().tobytes() for image in monitor.probe.images}) == 20


def test_a_validation_that_ends_before_its_stated_length(tmp_path: Path) -> None:
    class Claims(Stream):
        def __len__(self) -> int:
            return 48

    monitor = CAMMonitor(probe=6)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*length of the IterableDataset.*|Length of IterableDataset.*"
        )
        fit(tmp_path, monitor, val=DataLoader(Claims(), batch_size=8), max_epochs=3)
    assert epochs(monitor) == [1, 2]


def test_others_can_watch_the_scalars_of_a_loader_of_unknown_length(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    callbacks = [monitor, EarlyStopping(monitor="cam/entropy", patience=10)]
    fitted = fit(tmp_path, monitor, val=DataLoader(Stream(), batch_size=8), callbacks=callbacks)
    assert fitted.current_epoch == 2


def test_one_image_that_is_not_finite_stays_out_of_the_probe(tmp_path: Path) -> None:
    images = IMAGES.clone()
    images[1, 0, 0, 0] = float("nan")
    monitor = CAMMonitor(probe=24)
    with pytest.warns(
        UserWarning,
        match=r"1 images hold values that are not finite \(NaN or inf\) and cannot join the probe",
    ):
        fit(tmp_path, monitor, model=AnyBatch(), val=val(images, LABELS))
    assert len(monitor.probe) == 23
    assert epochs(monitor) == [0, 1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_a_users_probe_of_another_dtype(dtype: torch.dtype, tmp_path: Path) -> None:
    monitor = CAMMonitor(Probe(IMAGES[:4].to(dtype), LABELS[:4]), class_names=["top", "middle", "bottom"])
    with_no_warning_of_failure(tmp_path, monitor)
    assert epochs(monitor) == [0, 1]
    assert monitor.probe.name(2) == "bottom"


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


class Shifts(IterableDataset):
    """Other images at every validation."""

    start = 0

    def __iter__(self) -> Any:
        Shifts.start += 1
        return iter(data(24, seed=Shifts.start))

    def __len__(self) -> int:
        return 24


def test_images_of_the_rehearsal_stay_in_the_probe_where_they_never_come_again(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=24)
    fit(tmp_path, monitor, val=DataLoader(Shifts(), batch_size=8))
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1]
    assert (monitor.history.looks[0].predicted >= 0).sum() == 16
