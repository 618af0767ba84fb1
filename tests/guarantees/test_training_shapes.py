"""The monitor in trainings of every shape: it looks when it should, and what watches, saves or copies it goes on."""

import copy
import itertools
import pickle
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning.callbacks
import torch
from packaging.version import Version
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.tuner import Tuner
from pytorch_lightning.utilities import CombinedLoader
from support.configurations import RecurrentTail, TwoBatches, TwoOptimizers, train
from support.modules import CLASSES, LIGHTNING, Classifier, data, loader, trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lightning_cam import CAMMonitor, Evidence, Inputs


@pytest.fixture(autouse=True)
def _never_silently_off() -> Iterator[None]:
    """A monitor that switches itself off fails the test, unless the test waits for that warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*switched itself off.*")
        yield


def fit(
    directory: Path, callbacks: Any, model: Classifier | None = None, val: Any = None, **options: Any
) -> Trainer:
    seed_everything(0, verbose=False)
    resume = options.pop("ckpt_path", None)
    fitted = trainer(directory, callbacks=callbacks, **options)
    fitted.fit(
        Classifier() if model is None else model,
        loader(shuffle=True),
        loader(seed=1) if val is None else val,
        ckpt_path=resume,
    )
    return fitted


def steps(monitor: CAMMonitor) -> list[tuple[int, int]]:
    """Epoch and step of each look; the untrained one is (-1, 0)."""
    return [(look.epoch, look.step) for look in monitor.history.looks]


TWO_EPOCHS = [(-1, 0), (0, 2), (1, 5)]  # of three batches each


# --- steps


def test_pictures_of_two_manual_optimizers_stand_at_their_scalars_steps(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    fit(
        tmp_path,
        CAMMonitor(probe=6),
        TwoOptimizers(),
        logger=logger,
        log_every_n_steps=1,
        val_check_interval=2,
        max_epochs=3,
    )
    events = EventAccumulator(logger.log_dir, size_guidance={"images": 0}).Reload()
    expected = [event.step for event in events.Scalars("val_loss")]
    assert len(expected) == 3
    # The film strip is one of 2 and of 4 looks, the untrained one among them.
    for tag, shown in (("cam/overlay", expected), ("cam/evolution", expected[::2])):
        assert [event.step for event in events.Images(tag)] == shown
    assert [event.step for event in events.Scalars("cam/border_mass")] == expected


class KeepsValidated(Classifier):
    """Keeps the scores of what it validates, of whichever weights."""

    def validation_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> None:
        super().validation_step(batch)
        self.confidence = self(batch[0]).softmax(dim=1).amax(dim=1)


@pytest.mark.parametrize("monitor_first", [True, False])
def test_a_look_sees_the_averaged_weights_that_are_validated(monitor_first: bool, tmp_path: Path) -> None:
    if not hasattr(pytorch_lightning.callbacks, "WeightAveraging"):
        pytest.skip("this Lightning has no WeightAveraging; 2.6 brought it")
    monitor, average, model = (
        CAMMonitor(probe=24),
        pytorch_lightning.callbacks.WeightAveraging(),
        KeepsValidated(),
    )
    callbacks = [monitor, average] if monitor_first else [average, monitor]
    fit(tmp_path, callbacks, model, loader(seed=1, batch_size=24))
    images = data(24, seed=1).tensors[0]
    places = [
        next(i for i, image in enumerate(images) if torch.equal(image, one)) for one in monitor.probe.images
    ]
    torch.testing.assert_close(monitor.history.looks[-1].confidence, model.confidence[places].float())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"val_check_interval": 0.34}, [(0, 0), (0, 1), (0, 2), (1, 3), (1, 4), (1, 5)]),
        ({"val_check_interval": 2}, [(0, 1), (1, 4)]),
        ({"val_check_interval": 2, "check_val_every_n_epoch": None}, [(0, 1), (1, 3), (1, 5)]),
        ({"check_val_every_n_epoch": 2}, [(1, 5)]),
        ({"limit_val_batches": 1}, [(0, 2), (1, 5)]),
        ({"limit_val_batches": 0.4}, [(0, 2), (1, 5)]),
        ({"limit_val_batches": 0}, []),
        (
            {"accumulate_grad_batches": 2, "val_check_interval": 1},
            [(0, 0), (0, 0), (0, 1), (1, 2), (1, 2), (1, 3)],
        ),
        ({"fast_dev_run": 2}, [(0, 1)]),
    ],
)
def test_looks_at_the_validations_there_are(options: dict, expected: list, tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    fit(tmp_path, monitor, **options)
    assert [look for look in steps(monitor) if look[0] >= 0] == expected


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter(data(24, seed=1))


def stream() -> DataLoader:
    return DataLoader(Stream(), batch_size=8)


OF_B = {"images": lambda batch: batch["b"][0], "labels": lambda batch: batch["b"][1]}


@pytest.mark.parametrize("mode", ["max_size_cycle", "min_size"])
@pytest.mark.parametrize("second", [lambda: loader(seed=1), stream])
def test_a_batch_of_batches_is_read_by_functions(
    mode: str, second: Callable[[], DataLoader], tmp_path: Path
) -> None:
    monitor = CAMMonitor(probe=6, inputs=Inputs(**OF_B))
    fit(tmp_path, monitor, TwoBatches(), CombinedLoader({"a": loader(16, seed=2), "b": second()}, mode))
    torch.testing.assert_close(monitor.probe.images, data(24, seed=1).tensors[0][:6], rtol=0, atol=0)
    assert steps(monitor) == TWO_EPOCHS


def test_a_batch_of_batches_is_read_as_the_step_takes_it(tmp_path: Path) -> None:
    val = CombinedLoader({"a": loader(16, seed=2), "b": loader(seed=1)}, "min_size")
    monitor = CAMMonitor(probe=6)
    fit(tmp_path, monitor, TwoBatches(), val)
    assert monitor.reading.is_verified
    assert monitor.reading.label == 'batch["b"][1]'
    torch.testing.assert_close(monitor.probe.images, data(24, seed=1).tensors[0][:6], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("second", "expected"), [(lambda: loader(seed=1), TWO_EPOCHS), (stream, [(-1, 0), (1, 5)])]
)
def test_the_second_of_loaders_in_sequence(
    second: Callable[[], DataLoader], expected: list, tmp_path: Path
) -> None:
    monitor = CAMMonitor(probe=6, inputs=Inputs(dataloader_idx=1))
    fit(tmp_path, monitor, val=CombinedLoader({"a": loader(16, seed=2), "b": second()}, "sequential"))
    torch.testing.assert_close(monitor.probe.images, data(24, seed=1).tensors[0][:6], rtol=0, atol=0)
    assert steps(monitor) == expected


class AlsoTests(Classifier):
    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", self(batch[0]).sum())

    def predict_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
        return self(batch[0])


def test_validate_test_and_predict_around_a_fit_add_no_look(tmp_path: Path) -> None:
    monitor, model = CAMMonitor(probe=6), AlsoTests()
    one = trainer(tmp_path, callbacks=[monitor])
    for ask in (one.validate, one.test):
        ask(model, loader(seed=1), verbose=False)
    plain = trainer(tmp_path).predict(model, loader(seed=1))
    torch.testing.assert_close(one.predict(model, loader(seed=1)), plain, rtol=0, atol=0)
    assert steps(monitor) == []
    one.fit(model, loader(), loader(seed=1))
    for ask in (one.validate, one.test):
        ask(model, loader(seed=1), verbose=False)
    assert steps(monitor) == TWO_EPOCHS


# --- others watch the scalars


WATCHED = ["entropy", "drift_last", "blank", "shortcut_reliance", "agreement/shuffled"]


def watching() -> list[Callback]:
    return [EarlyStopping(monitor=f"cam/{name}", patience=100, check_finite=True) for name in WATCHED]


class TurnsNaN(Classifier):
    """Its weights are NaN from a step on."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self.trainer.global_step == self.step:
            self.net.head.weight.data.fill_(torch.nan)


@pytest.mark.parametrize("sanity", [0, 2])
@pytest.mark.parametrize(
    ("monitor", "others"),
    [
        ({}, {}),
        ({"every_n_epochs": 5}, {}),
        ({"max_overhead": 1e-6}, {}),
        ({}, {"model": lambda: TurnsNaN(0)}),
        ({}, {"model": lambda: TurnsNaN(4)}),
        ({"every_n_epochs": 5}, {"model": lambda: TurnsNaN(0)}),
        ({}, {"val": stream}),
        ({"every_n_epochs": 5}, {"val": stream}),
    ],
)
def test_scalars_are_there_and_finite_from_the_first_validation_on(
    monitor: dict, others: dict[str, Callable], sanity: int, tmp_path: Path
) -> None:
    best = ModelCheckpoint(tmp_path, monitor="cam/entropy")
    callbacks = [*watching(), best, CAMMonitor(probe=9, **monitor)]
    made = {name: make() for name, make in others.items()}
    fitted = fit(
        tmp_path, callbacks, **made, max_epochs=3, num_sanity_val_steps=sanity, enable_checkpointing=True
    )
    assert fitted.current_epoch == 3
    assert best.best_model_path


def fails_from(call: int) -> Callable[[Evidence], Tensor]:
    calls = itertools.count(1)

    def method(evidence: Evidence) -> Tensor:
        if next(calls) >= call:
            raise RuntimeError("planted")
        return evidence.activations.mean(dim=1)

    return method


@pytest.mark.parametrize(
    ("sanity", "call"),
    [(0, 1), (0, 2), (2, 3), (2, 4)],  # with 9 images in batches of 8, each look calls twice
)
def test_scalars_are_there_when_the_monitor_has_switched_itself_off(
    sanity: int, call: int, tmp_path: Path
) -> None:
    best = ModelCheckpoint(tmp_path, monitor="cam/entropy")
    callbacks = [*watching(), best, CAMMonitor(probe=9, method=fails_from(call))]
    with pytest.warns(UserWarning, match="switched itself off in epoch 0; training goes on"):
        fitted = fit(
            tmp_path, callbacks, max_epochs=3, num_sanity_val_steps=sanity, enable_checkpointing=True
        )
    assert fitted.current_epoch == 3
    assert best.best_model_path


def test_scalars_are_there_when_the_watched_loader_is_empty(tmp_path: Path) -> None:
    callbacks = [*watching(), CAMMonitor(probe=9, inputs=Inputs(dataloader_idx=1))]
    with pytest.warns(
        UserWarning, match="switched itself off in epoch 0.*this validation loader gave no batch"
    ):
        fitted = fit(tmp_path, callbacks, val=[loader(seed=1), DataLoader(data(0), batch_size=8)])
    assert fitted.current_epoch == 2


# --- tuned before, resumed in the middle


class Tunable(Classifier):
    lr, batch_size = 0.05, 4

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def train_dataloader(self) -> DataLoader:
        return loader(60, batch_size=self.batch_size)

    def val_dataloader(self) -> DataLoader:
        return loader(seed=1)


def test_tuning_finds_the_same_and_adds_no_look(tmp_path: Path) -> None:
    found = []
    monitor = CAMMonitor(probe=6)
    for callbacks in ([], [monitor]):
        seed_everything(0, verbose=False)
        model = Tunable()
        tuned = trainer(tmp_path, callbacks=callbacks)
        lr = Tuner(tuned).lr_find(model, num_training=30).suggestion()
        size = Tuner(tuned).scale_batch_size(model, max_trials=2, steps_per_trial=1)
        assert monitor.probe is None
        tuned.fit(model)
        found.append((lr, size, model.state_dict()))
    assert found[0][0] is not None
    assert found[0][:2] == found[1][:2]
    torch.testing.assert_close(found[1][2], found[0][2], rtol=0, atol=0)
    assert [epoch for epoch, _ in steps(monitor)] == [-1, 0, 1]


class Saves(Classifier):
    """Saves a checkpoint at any moment, as a job that is told to leave does."""

    def __init__(self, path: Path, moment: str, count: int) -> None:
        super().__init__()
        self.path, self.moment, self.left = path, moment, count

    def save(self, moment: str) -> None:
        if moment == self.moment and not self.trainer.sanity_checking:
            self.left -= 1
            if self.left == 0:
                self.trainer.save_checkpoint(self.path)

    def on_train_batch_end(self, *args: Any) -> None:
        self.save("train")

    def on_validation_batch_start(self, *args: Any) -> None:
        self.save("validation")

    def on_validation_end(self) -> None:
        self.save("validated")


@pytest.mark.parametrize(
    ("moment", "count", "saved"),
    [
        ("train", 1, []),  # between the rehearsal and the first look: what was rehearsed is lost
        ("train", 5, TWO_EPOCHS[:2]),
        ("validation", 1, []),
        ("validation", 3, []),
        ("validation", 5, TWO_EPOCHS[:2]),
        ("validated", 2, TWO_EPOCHS),
    ],
)
def test_a_checkpoint_of_any_moment_is_resumed(moment: str, count: int, saved: list, tmp_path: Path) -> None:
    if Version("2.5") > LIGHTNING and (moment, count) == ("train", 1):
        pytest.skip("Lightning 2.4 counts a resumed step twice in what it gives its scalars")
    path = tmp_path / "any.ckpt"
    first, resumed = CAMMonitor(probe=6), CAMMonitor(probe=6)
    fit(tmp_path, first, Saves(path, moment, count), max_epochs=3)
    state = torch.load(path, weights_only=True)["callbacks"].get(first.state_key)
    assert [(look["epoch"], look["step"]) for look in (state or {"history": []})["history"]] == saved
    with_monitor = fit(tmp_path, resumed, max_epochs=3, ckpt_path=path)
    without = fit(tmp_path, [], max_epochs=3, ckpt_path=path)
    expected = without.lightning_module.state_dict()
    torch.testing.assert_close(with_monitor.lightning_module.state_dict(), expected, rtol=0, atol=0)
    assert set(saved) <= set(steps(resumed)) <= set(steps(first))
    assert steps(resumed) == sorted(set(steps(resumed)))  # none twice
    assert steps(resumed)[-1] == (2, 8)
    torch.testing.assert_close(resumed.probe.images, first.probe.images, rtol=0, atol=0)


@pytest.mark.skipif(
    Version("2.5") > LIGHTNING,
    reason="Lightning 2.4 counts a resumed step twice in what it gives its scalars",
)
def test_checkpoints_every_few_steps_are_resumed(tmp_path: Path) -> None:
    every = ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1, filename="{step}")
    first = CAMMonitor(probe=6)
    fit(tmp_path, [first, every], max_epochs=3, enable_checkpointing=True)
    for step, saved in ((2, []), (4, TWO_EPOCHS[:2]), (8, TWO_EPOCHS)):
        resumed = CAMMonitor(probe=6)
        fit(tmp_path, resumed, max_epochs=3, ckpt_path=tmp_path / f"step={step}.ckpt")
        assert steps(resumed) == sorted({*saved, *(look for look in steps(first) if look[1] >= step)})


# --- copies, and one monitor for several runs


def as_sent(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))  # noqa: S301


@pytest.mark.parametrize("duplicate", [as_sent, copy.deepcopy])
def test_a_copy_of_a_monitor_works_and_is_another_one(
    duplicate: Callable[[CAMMonitor], CAMMonitor], tmp_path: Path
) -> None:
    fresh = CAMMonitor(probe=6)
    first = duplicate(fresh)
    fit(tmp_path, first)
    assert steps(first) == TWO_EPOCHS
    assert steps(fresh) == []
    second = duplicate(first)
    for name in ("scaled", "peaks"):
        kept, copied = (
            [getattr(look, name) for look in monitor.history.looks] for monitor in (first, second)
        )
        torch.testing.assert_close(copied, kept, rtol=0, atol=0)
    assert second.probe.fingerprint == first.probe.fingerprint
    fit(tmp_path, second, max_epochs=1)
    assert steps(second) == TWO_EPOCHS[:2]
    assert steps(first) == TWO_EPOCHS
    with pytest.warns(UserWarning, match="switched itself off"):  # a copy warns of itself
        trainer(tmp_path, callbacks=[second]).validate(Grey(), grey(), verbose=False)


def test_a_trainer_with_a_monitor_can_be_sent_to_another_process(tmp_path: Path) -> None:
    for before in (
        trainer(tmp_path, callbacks=[CAMMonitor(probe=6)]),
        fit(tmp_path, CAMMonitor(probe=6), max_epochs=1),
    ):
        sent = as_sent(before)
        (monitor,) = (callback for callback in sent.callbacks if isinstance(callback, CAMMonitor))
        sent.fit_loop.max_epochs = 2
        sent.fit(Classifier(), loader(), loader(seed=1))
        assert steps(monitor) == TWO_EPOCHS


class Grey(Classifier):
    def __init__(self) -> None:
        layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES)]
        super().__init__(nn.Sequential(*layers))


def grey() -> DataLoader:
    images, labels = data(24, seed=1, size=20).tensors
    return DataLoader(TensorDataset(images[:, :1], labels), batch_size=8)


@pytest.mark.parametrize("before", ["fit", "fit that ends before its first validation", "validate"])
def test_a_monitor_that_serves_again_with_other_data_and_another_model(before: str, tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    if before == "validate":
        trainer(tmp_path, callbacks=[monitor]).validate(Classifier(), loader(seed=1), verbose=False)
    else:
        fit(tmp_path, monitor, max_steps=-1 if before == "fit" else 1)
    trainer(tmp_path, callbacks=[monitor]).fit(Grey(), grey(), grey())
    assert monitor.probe.images.shape == (6, 1, 20, 20)
    assert steps(monitor) == TWO_EPOCHS


def test_images_of_a_fit_that_ended_before_its_first_validation_are_not_in_the_next_probe(
    tmp_path: Path,
) -> None:
    monitor = CAMMonitor(probe=6)
    fit(tmp_path, monitor, val=loader(seed=5), max_steps=1)
    fit(tmp_path, monitor)
    torch.testing.assert_close(monitor.probe.images, data(24, seed=1).tensors[0][:6], rtol=0, atol=0)


# --- compiled


class LogsInAHook(Classifier):
    """Logs outside its steps, which ``torch.compile(module)`` compiles.

    From inside them it would compile Lightning's own ``log`` as well, anew whenever there are more scalars, whoever logs them.
    """

    def validation_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Tensor:
        return self(batch[0])

    def on_validation_batch_end(
        self, outputs: Tensor, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.log_dict({"mean": outputs.mean(), "largest": outputs.amax()})


class CompiledMethod(Classifier):
    def __init__(self, backend: Callable) -> None:
        super().__init__()
        self.run = torch.compile(self.net.forward, backend=backend)

    def forward(self, images: Tensor) -> Tensor:
        return self.run(images)


class CompiledFunction(Classifier):
    def __init__(self, backend: Callable) -> None:
        super().__init__()
        self.tail = torch.compile(
            lambda head, activations: head(activations.mean(dim=(2, 3))), backend=backend
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.tail(self.net.head, self.net.trunk(images))


def compiled_submodule(backend: Callable) -> Classifier:
    model = Classifier()
    model.net.body = torch.compile(model.net.body, backend=backend)
    return model


def compiled_in_place(backend: Callable) -> Classifier:
    model = Classifier()
    model.compile(backend=backend)
    return model


FORMS: dict[str, Callable[[Callable], Any]] = {
    "module": lambda backend: torch.compile(LogsInAHook(), backend=backend),
    "module.compile()": compiled_in_place,
    "submodule": compiled_submodule,
    "method": CompiledMethod,
    "function": CompiledFunction,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_compiled_model_compiles_as_often_as_without_monitor(form: str, tmp_path: Path) -> None:
    graphs: list[list[int]] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs[-1].append(len(graph.graph.nodes))
        return graph.forward

    weights = []
    for monitors in ([], [CAMMonitor(probe=9)]):
        torch.compiler.reset()
        graphs.append([])
        build = {"module": lambda: FORMS[form](backend)}
        weights.append(train(tmp_path, monitors, build)[0])
    assert steps(monitors[0]) == TWO_EPOCHS
    assert graphs[0]
    assert graphs[1] == graphs[0]
    torch.testing.assert_close(weights[1], weights[0], rtol=0, atol=0)


# --- recurrent layers


def test_a_look_at_recurrent_layers_does_without_cudnn_which_has_no_backward_in_eval_mode(
    tmp_path: Path,
) -> None:
    seen = []

    def method(evidence: Evidence) -> Tensor:
        seen.append(torch.backends.cudnn.enabled)
        return evidence.gradients.mean(dim=1)

    before = torch.backends.cudnn.enabled
    for model, expected in ((RecurrentTail(), False), (Classifier(), before)):
        seen.clear()
        fit(tmp_path, CAMMonitor(probe=6, method=method), model, max_epochs=1)
        assert set(seen) == {expected}
        assert torch.backends.cudnn.enabled == before


class Copies(Callback):
    """Copies the monitor while it is at work."""

    def __init__(self, monitor: CAMMonitor) -> None:
        self.monitor, self.copies = monitor, []

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.copies += [copy.deepcopy(self.monitor), as_sent(self.monitor)]

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.on_validation_epoch_end(trainer, pl_module)


@pytest.mark.parametrize("monitor_first", [True, False])
def test_a_monitor_is_copied_in_a_fit_and_goes_on(monitor_first: bool, tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    copies = Copies(monitor)
    fit(tmp_path / "fit", [monitor, copies] if monitor_first else [copies, monitor])
    assert steps(monitor) == TWO_EPOCHS
    assert len(copies.copies) == 8  # of the sanity check, two validations, and the end
    for one in copies.copies[-2:]:
        assert steps(one) == TWO_EPOCHS
        with pytest.raises(RuntimeError, match="no Trainer runs"):
            _ = one.session
    again = copies.copies[0]
    fit(tmp_path / "again", again)
    assert steps(again) == TWO_EPOCHS
