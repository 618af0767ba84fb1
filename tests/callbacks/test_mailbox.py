"""How a run comes home from processes that Lightning started."""

import copy
import gc
import multiprocessing
import pickle
import tempfile
from pathlib import Path

import pytest
import torch
from support.modules import Classifier, loader, trainer

from lightning_cam import CAMMonitor
from lightning_cam.callbacks.mailbox import Mailbox

if "fork" not in multiprocessing.get_all_start_methods():
    pytest.skip("this system has no fork", allow_module_level=True)
FORK = multiprocessing.get_context("fork")  # quick, as nothing is imported again; a spawned fit is below
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture(autouse=True)
def post(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder, of processes that are started from here too."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def in_a_child(mailbox: Mailbox, number: int) -> None:
    assert mailbox.is_away
    mailbox.send({"number": number, "rows": torch.arange(number)})
    assert mailbox.take() == {}, "it lies there for the process at home"


def sent(mailbox: Mailbox, number: int) -> None:
    child = FORK.Process(target=in_a_child, args=(mailbox, number))
    child.start()
    child.join()
    assert child.exitcode == 0


def test_what_a_child_leaves_is_taken_once_and_the_last_counts(post: Path) -> None:
    mailbox = Mailbox()
    assert (mailbox.is_away, mailbox.take()) == (False, {})
    sent(mailbox, 2)
    sent(mailbox, 3)
    found = mailbox.take()
    assert (found["number"], found["rows"].tolist()) == (3, [0, 1, 2])
    assert mailbox.take() == {}
    assert not list(post.iterdir())


def test_what_nobody_reads_goes_with_the_mailbox(post: Path) -> None:
    mailbox = Mailbox()
    sent(mailbox, 2)
    assert len(list(post.iterdir())) == 1
    del mailbox
    gc.collect()
    assert not list(post.iterdir())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])  # noqa: S301 - our own
def test_a_copy_in_one_process_has_its_own(copied: object) -> None:
    mailbox = Mailbox()
    sent(copied(mailbox), 2)
    assert mailbox.take() == {}


def test_a_mailbox_that_came_in_a_file_is_at_home_once_it_is_sent_on() -> None:
    here, there = FORK.Pipe()
    child = FORK.Process(target=lambda: there.send_bytes(pickle.dumps(Mailbox())))
    child.start()
    mailbox = pickle.loads(here.recv_bytes())  # noqa: S301 - our own
    child.join()
    assert (mailbox.is_away, mailbox.take()) == (False, {})
    pickle.dumps(mailbox)  # as it is sent to a spawned process
    sent(mailbox, 2)
    assert mailbox.take()["number"] == 2


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without torch.distributed")
def test_after_a_spawned_fit_all_is_in_the_main_process(tmp_path: Path, post: Path) -> None:
    monitor = CAMMonitor(probe=9, persist_probe=False)
    fitted = trainer(tmp_path, callbacks=[monitor], strategy="ddp_spawn", devices=2, max_epochs=2)
    fitted.fit(Classifier(), loader(), loader(seed=1))
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1]
    assert monitor.probe.labels.bincount().tolist() == [3, 3, 3]
    assert monitor.reading.line.startswith("explains self(batch[0])")
    assert monitor.state_dict()["fingerprint"] == monitor.probe.fingerprint
    expected = fitted.callback_metrics["cam/border_mass"].item()
    assert monitor.history.looks[-1].means["border_mass"] == pytest.approx(expected)
    reliance = max((one.reliance for one in monitor.findings), default=0.0)
    assert reliance == pytest.approx(fitted.callback_metrics["cam/shortcut_reliance"].item())
    assert not [path for path in post.iterdir() if path.name.startswith("lightning_cam")]

    # What is done next in the main process goes on from there.
    alone = trainer(tmp_path / "alone", callbacks=[monitor])
    alone.validate(Classifier(), loader(seed=1), verbose=False)
    assert len(monitor.history) == 3
