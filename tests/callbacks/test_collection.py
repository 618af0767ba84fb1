"""What the monitor takes from the batches that pass."""

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping
from support.fits import IMAGES, LABELS, AnyBatch, epochs, fit, val, with_no_warning_of_failure
from support.modules import Classifier, data, loader
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lightning_cam import CAMMonitor, Inputs, Probe, ShortcutTests


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


@pytest.mark.parametrize("collate", [None, as_dict, as_named, as_record])
def test_batches_of_every_kind(collate: Any, tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    with_no_warning_of_failure(tmp_path, monitor, model=AnyBatch(), val=loader(seed=1, collate_fn=collate))
    torch.testing.assert_close(monitor.probe.images[0], data(24, seed=1)[0][0], rtol=0, atol=0)
    assert monitor.probe.labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_masks_in_the_batch(tmp_path: Path) -> None:
    images, labels = data(24, seed=1).tensors
    masks = images[:, 0] > 0.5
    monitor = CAMMonitor(probe=6, scalars=["default", "pointing"])
    fitted = fit(
        tmp_path,
        monitor,
        model=AnyBatch(),
        val=DataLoader(TensorDataset(images, labels, masks), batch_size=8),
    )
    assert monitor.probe.masks.dtype == torch.bool
    assert 0 < fitted.callback_metrics["cam/mass_inside"] <= 1
    assert "cam/pointing_game" in fitted.callback_metrics


class Mutates(Classifier):
    def validation_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> None:
        super().validation_step(batch)
        batch[0].zero_()


def test_the_probe_is_taken_before_the_users_step_changes_the_batch(tmp_path: Path) -> None:
    images, labels = data(24, seed=1).tensors
    monitor = CAMMonitor(probe=6)
    fit(tmp_path, monitor, model=Mutates(), val=DataLoader(TensorDataset(images, labels), batch_size=8))
    torch.testing.assert_close(monitor.probe.images, images[:6], rtol=0, atol=0)


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


# --- a probe of dataset indices


def test_a_probe_of_dataset_indices_holds_these_images_in_this_order(tmp_path: Path) -> None:
    monitor, (images, labels) = CAMMonitor(probe=[20, 3, 11]), data(24, seed=1).tensors
    fit(tmp_path, monitor)
    rows = torch.tensor([20, 3, 11])
    torch.testing.assert_close(monitor.probe.images, images[rows], rtol=0, atol=0)
    assert monitor.probe.labels.tolist() == labels[rows].tolist()
    assert [look.epoch for look in monitor.history.looks if look.epoch >= 0] == [0, 1]


def shuffled() -> DataLoader:
    return DataLoader(data(24, seed=1), batch_size=8, shuffle=True)


def flattened(items: list) -> list:
    """Two views of each item: positions in a batch are no positions in the dataset."""
    images, labels = (torch.stack(part) for part in zip(*items, strict=True))
    return [torch.cat([images, images]), torch.cat([labels, labels])]


@pytest.mark.parametrize(
    ("indices", "val", "message"),
    [
        ([30], lambda: loader(seed=1), "probe: got index 30 for a dataset of 24 images; use 0 to 23"),
        ([3], shuffled, "probe: got dataset indices, but the validation loader's sampler is RandomSampler"),
        (
            [3],
            lambda: DataLoader(data(24, seed=1), batch_size=8, collate_fn=flattened),
            "probe: got dataset indices, but a batch holds 16 images where the loader takes 8 items",
        ),
    ],
)
def test_indices_that_name_no_image_for_sure_are_refused(
    indices: list[int], val: Callable[[], DataLoader], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, CAMMonitor(probe=indices), val=val())


def test_an_index_that_validation_never_reaches_is_said_and_training_goes_on(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=[3, 20])
    with pytest.warns(UserWarning, match=r"probe: image 20 of the dataset of 24 images was not among"):
        fit(tmp_path, monitor, limit_val_batches=1)
    assert monitor.probe is None


# --- what is read of batches


@pytest.mark.parametrize(
    ("shortcuts", "expected"),
    # The sanity check's first batch tells the batch size; features of cues take the first validation, too.
    [(None, 1), (ShortcutTests(cues=["border_8"]), 4), (True, 4)],
)
def test_batches_are_read_only_while_something_is_wanted_of_them(
    shortcuts: Any, expected: int, tmp_path: Path
) -> None:
    read = []

    def images(batch: list) -> Tensor:
        read.append(len(batch[0]))
        return batch[0]

    probe = Probe(*data(9, seed=1).tensors)
    monitor = CAMMonitor(probe=probe, inputs=Inputs(images=images), shortcuts=shortcuts, report=False)
    fit(tmp_path, monitor, num_sanity_val_steps=2)
    assert len(read) == expected
