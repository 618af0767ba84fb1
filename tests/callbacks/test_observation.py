"""What the monitor explains is what the user's own validation step gives the network, in a real Trainer."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.modules import Classifier, data, loader, trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_cam import CAMMonitor, Inputs, Probe, ShortcutTests
from lightning_cam.callbacks.observation import composed

IMAGES, LABELS = data(24, seed=1).tensors
VAL = DataLoader(TensorDataset(IMAGES, LABELS), batch_size=8)


class Steps(Classifier):
    """Counts how often its network runs in validation steps."""

    def validation_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
        out = self.scores(batch[0])
        self.log("val_acc", (out.argmax(1) == batch[1]).float().mean())
        return F.cross_entropy(out, batch[1])

    def scores(self, images: Tensor) -> Tensor:
        return self(images)


class Normalizes(Steps):
    def scores(self, images: Tensor) -> Tensor:
        return self((images - 0.3) / 0.2)


class Crops(Steps):
    def scores(self, images: Tensor) -> Tensor:
        return self(images[:, :, 2:-2, 2:-2])


class Teacher(Steps):
    """Validates its teacher."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = Classifier()

    def scores(self, images: Tensor) -> Tensor:
        return self.teacher(images)


class Shifted(Steps):
    """Its labels run from one."""

    def validation_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
        return F.cross_entropy(self(batch[0]), (batch[1] + 1) % 3)


class BatchNormOfTheBatch(Steps):
    """An image's answer depends on the others."""

    def forward(self, images: Tensor) -> Tensor:
        out = super().forward(images)
        return out - out.mean(dim=0)


def fit(folder: Path, module: Any, val: Any = VAL, epochs: int = 1, **options: Any) -> CAMMonitor:
    torch.manual_seed(0)
    monitor = CAMMonitor(**{"probe": 6, "shortcuts": None, "report": False, **options})
    trainer(folder, callbacks=[monitor], max_epochs=epochs).fit(module, loader(), val)
    return monitor


def own_answers(module: Any, monitor: CAMMonitor) -> list[int]:
    """What the network answers to the probe as it stands."""
    network = (
        module if monitor.reading.network in ("", None) else module.get_submodule(monitor.reading.network)
    )
    with torch.no_grad():
        return network.eval()(monitor.probe.images).argmax(1).tolist()


@pytest.mark.parametrize("kind", [Steps, Normalizes, Crops, Teacher])
def test_the_probe_is_what_the_network_received(kind: type, tmp_path: Path) -> None:
    module = kind()
    monitor = fit(tmp_path, module)
    assert monitor.reading.is_verified
    last = monitor.history.looks[-1]
    assert last.predicted.tolist() == own_answers(module, monitor)
    received = {Normalizes: (IMAGES - 0.3) / 0.2, Crops: IMAGES[:, :, 2:-2, 2:-2]}.get(kind, IMAGES)
    places = [int((received == image).flatten(1).all(1).nonzero()) for image in monitor.probe.images]
    assert monitor.probe.labels.tolist() == LABELS[places].tolist()


def test_the_network_that_is_validated_is_explained(tmp_path: Path) -> None:
    monitor = fit(tmp_path, Teacher())
    assert monitor.reading.network == "teacher"
    assert "self.teacher(batch[0])" in monitor.reading.line


def test_labels_are_those_that_the_loss_got(tmp_path: Path) -> None:
    monitor = fit(tmp_path, Shifted())
    places = [int((image == IMAGES).flatten(1).all(1).nonzero()) for image in monitor.probe.images]
    assert monitor.probe.labels.tolist() == ((LABELS[places] + 1) % 3).tolist()


def test_labels_of_the_users_own_win_and_the_difference_is_said(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="labels: other numbers than your cross_entropy compares with"):
        monitor = fit(tmp_path, Shifted(), inputs=Inputs(labels=1))
    places = [int((image == IMAGES).flatten(1).all(1).nonzero()) for image in monitor.probe.images]
    assert monitor.probe.labels.tolist() == LABELS[places].tolist()


def test_a_function_of_the_users_own_wins_and_the_difference_is_said(tmp_path: Path) -> None:
    same = fit(tmp_path / "same", Steps(), network=lambda module, images: module(images))
    assert same.reading.is_verified
    with pytest.warns(
        UserWarning, match="network: your function gives other scores than your validation_step"
    ):
        other = fit(tmp_path / "other", Steps(), network=lambda module, images: module(1 - images))
    assert not other.reading.is_verified


def test_images_whose_answers_depend_on_each_other_are_sent_as_observed(tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning,
        match="half of the batch gives other scores than the whole: probes are sent in batches of 8",
    ):
        fit(tmp_path, BatchNormOfTheBatch())


class ComparesNothing(Steps):
    def validation_step(self, batch: Any, batch_idx: int = 0) -> None:
        self.log("val_mean", self(batch[0]).mean())


def test_labels_that_the_user_names_count_where_the_step_has_none(tmp_path: Path) -> None:
    monitor = fit(tmp_path, ComparesNothing(), inputs=Inputs(labels=1))
    places = [int((image == IMAGES).flatten(1).all(1).nonzero()) for image in monitor.probe.images]
    assert monitor.probe.labels.tolist() == LABELS[places].tolist()
    assert monitor.history.looks[-1].right.isfinite().all()


def test_a_task_of_the_users_own_wins_and_the_difference_is_said(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="task: yours is 'none', and your cross_entropy shows 'multiclass'"):
        monitor = fit(tmp_path, Steps(), task="none")
    assert monitor.reading.task == "none"
    assert monitor.probe.labels is None


class Silent(Classifier):
    def validation_step(self, batch: Any, batch_idx: int = 0) -> None:
        self.log("val_loss", torch.tensor(0.0))


def test_a_step_that_runs_no_network_is_said(tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning,
        match=r"could not see which network your validation_step runs; assumed self\(images\); not verified",
    ):
        monitor = fit(tmp_path, Silent())
    assert monitor.reading.network is None


def test_without_a_sanity_check_the_first_validation_is_observed(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6, shortcuts=None, report=False)
    trainer(tmp_path, callbacks=[monitor], max_epochs=1, num_sanity_val_steps=0).fit(
        Normalizes(), loader(), VAL
    )
    assert monitor.reading.is_verified
    assert len(monitor.history) == 1


def test_validate_alone_observes_too(tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6, shortcuts=None)
    trainer(tmp_path, callbacks=[monitor]).validate(Normalizes(), VAL, verbose=False)
    assert monitor.reading.is_verified


def test_a_compiled_module_without_a_sanity_check_is_left_alone_and_that_is_said(tmp_path: Path) -> None:
    module = Steps()
    module.compile(backend="eager")
    monitor = CAMMonitor(probe=6, shortcuts=None, report=False)
    with pytest.warns(UserWarning, match=r"it is compiled.*num_sanity_val_steps=2"):
        trainer(tmp_path, callbacks=[monitor], max_epochs=1, num_sanity_val_steps=0).fit(
            module, loader(), VAL
        )
    assert fit(tmp_path / "checked", module).reading.is_verified


def test_two_monitors_observe_the_same(tmp_path: Path) -> None:
    both = [CAMMonitor(probe=6, shortcuts=None, name=name) for name in ("cam", "other")]
    trainer(tmp_path, callbacks=both, max_epochs=1).fit(Normalizes(), loader(), VAL)
    assert both[0].reading == both[1].reading
    assert both[0].reading.is_verified
    assert torch.equal(both[0].probe.images, both[1].probe.images)


def test_a_probe_of_the_users_own_goes_the_observed_way(tmp_path: Path) -> None:
    module = Teacher()
    monitor = fit(tmp_path, module, probe=Probe(IMAGES[:5], LABELS[:5]))
    with torch.no_grad():
        expected = module.teacher.eval()(IMAGES[:5]).argmax(1)
    assert monitor.history.looks[-1].predicted.tolist() == expected.tolist()


class NoForward(Classifier):
    """Its network is a part of it; it has no forward of its own."""

    forward = nn.Module.forward

    def __init__(self) -> None:
        super().__init__()
        self.inner = Classifier()

    def training_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
        return F.cross_entropy(self.inner(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
        return self.training_step(batch)


def test_a_module_without_a_forward_needs_none(tmp_path: Path) -> None:
    assert fit(tmp_path, NoForward()).reading.network == "inner"


def test_where_all_is_well_at_most_two_lines_are_printed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # The images' brightness is their class, which the border tells too: that is no fault here.
    tests = ShortcutTests(expected=["border"])
    fit(tmp_path, Steps(), epochs=2, report=True, shortcuts=tests, probe=16)
    lines = [line for line in caplog.text.splitlines() if "CAMMonitor" in line]
    assert len(lines) == 2, lines
    assert re.search(r"explains self\(batch\[0\]\), .*replayed: equal", lines[0])
    assert "report.html" in lines[1]


def test_the_reading_is_that_of_the_checkpoint(tmp_path: Path) -> None:
    monitor = fit(tmp_path, Normalizes())
    other = CAMMonitor(probe=6)
    other.load_state_dict(monitor.state_dict())
    assert other.reading == monitor.reading


def test_two_normalizations_by_the_book() -> None:
    x = torch.rand(3, 5)
    once = (x - torch.tensor([[0.1], [0.2], [0.3]])) / torch.tensor([[0.5], [0.6], [0.7]])
    twice = (once - 0.25) / 2
    mean, std = composed(((0.25,) * 3, (2.0,) * 3), ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)))
    torch.testing.assert_close((x - torch.tensor(mean)[:, None]) / torch.tensor(std)[:, None], twice)
    assert composed(((0.25,), (2.0,)), None) == ((0.25,), (2.0,))
    assert composed(((0.25,), (2.0,)), ((0.5,) * 3, (0.5,) * 3)) == ((0.25,), (2.0,))  # of other channels
    gray = composed(((0.25,) * 3, (2.0,) * 3), ((0.5,), (0.5,)))
    torch.testing.assert_close(((x - 0.5) / 0.5 - 0.25) / 2, (x - gray[0][0]) / gray[1][0])
