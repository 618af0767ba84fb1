"""What a checkpoint gives back to a monitor."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
from pytorch_lightning import seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint
from support.fits import epochs, fit, run_with_checkpoint
from support.modules import Classifier, loader, trainer
from support.networks import pictures

from lightning_cam import CAMMonitor, Probe


def test_a_resumed_run_shows_the_same_probe_and_a_continued_film_strip(tmp_path: Path) -> None:
    first = CAMMonitor(probe=6)
    checkpoint = run_with_checkpoint(tmp_path / "a", first, epochs=2)
    loaded = torch.load(checkpoint, weights_only=True)
    state = loaded["callbacks"][first.state_key]
    assert state["version"] == 5
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
        UserWarning, match="the probe's images are not those of before; the history starts anew"
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
    with pytest.warns(UserWarning, match="state has version 99, not 5; looks start anew"):
        monitor.load_state_dict({"version": 99})
    fit(tmp_path, monitor)
    assert epochs(monitor) == [0, 1]


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


@pytest.mark.parametrize("same", [True, False])
def test_another_fits_data_get_a_probe_of_their_own(same: bool, tmp_path: Path) -> None:
    """One Trainer, two folds; with the same images in another dataset the history goes on."""
    monitor = CAMMonitor(probe=6, shortcuts=None, report=False)
    fitted = trainer(tmp_path, callbacks=[monitor], max_epochs=1)
    module = Classifier()
    fitted.fit(module, loader(), loader(seed=1))
    first = monitor.probe
    fitted.fit_loop.max_epochs = 2
    with pytest.warns(UserWarning, match="the probe is of another fit's validation data"):
        fitted.fit(module, loader(), loader(seed=1 if same else 2))
    assert torch.equal(monitor.probe.images, first.images) == same
    assert [look.epoch for look in monitor.history.looks] == ([-1, 0, 1] if same else [1])


def test_the_same_data_keep_their_probe(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    monitor, val = CAMMonitor(probe=6, shortcuts=None, report=False), loader(seed=1)
    fitted = trainer(tmp_path, callbacks=[monitor], max_epochs=1)
    module = Classifier()
    for epochs_in_all in (1, 2):
        fitted.fit_loop.max_epochs = epochs_in_all
        fitted.fit(module, loader(), val)
        fitted.validate(module, loader(seed=2), verbose=False)  # is no fit's data
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1]
    assert not [one for one in recwarn if "another fit" in str(one.message)]
    assert pickle.loads(pickle.dumps(monitor)).probe is not None  # noqa: S301 - made here


def test_a_trainer_that_has_fitted_is_saved_whole_and_copied(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6)
    fitted = fit(tmp_path, monitor)
    torch.save(fitted, tmp_path / "trainer.pt")
    loaded = torch.load(tmp_path / "trainer.pt", weights_only=False)
    for one in (loaded, copy.deepcopy(fitted)):
        (again,) = (callback for callback in one.callbacks if isinstance(callback, CAMMonitor))
        torch.testing.assert_close(
            again.history.looks[-1].cams, monitor.history.looks[-1].cams, rtol=0, atol=0
        )
