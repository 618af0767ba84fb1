"""Signals and volumes, end to end: ``explain``, its figure, and the monitor in a real Trainer."""

import io
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from PIL import Image
from pytorch_lightning import seed_everything
from pytorch_lightning.loggers import TensorBoardLogger
from support.modules import Classifier, trainer
from support.networks import net, pictures
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_cam import METHODS, STATISTICS, CAMMonitor, Explanation, Probe, explain
from lightning_cam.visualization.blend import PART_COLORS

SIZES = {"signals": (40,), "volumes": (10, 12, 14)}
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOLS = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


def classifier(dimensions: int, channels: int = 2, classes: int = 2) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        convolution = CONVOLUTIONS[dimensions]
        return nn.Sequential(
            convolution(channels, 6, 3, padding=1),
            nn.ReLU(),
            convolution(6, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            POOLS[dimensions](1),
            nn.Flatten(),
            nn.Linear(8, classes),
        )


class Brightness(nn.Module):
    """Class 1 is brightness, class 0 darkness: both by one convolution, averaged over positions."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.conv = CONVOLUTIONS[dimensions](2, 2, 3, padding=1)
        with torch.no_grad():
            self.conv.weight[0], self.conv.weight[1] = -1, 1
            self.conv.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).relu().flatten(2).mean(dim=2)


def data(size: tuple[int, ...], count: int = 12) -> TensorDataset:
    """Class 1 is bright in the first half of the last side, class 0 in the second."""
    labels = torch.arange(count) % 2
    images = 0.3 * torch.randn(count, 2, *size, generator=torch.Generator().manual_seed(0))
    half = size[-1] // 2
    for image, label in zip(images, labels.tolist(), strict=True):
        image[..., half * (1 - label) : half * (2 - label)] += 1
    return TensorDataset(images, labels)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_the_map_lies_where_the_evidence_is(size: tuple[int, ...]) -> None:
    images = torch.zeros(2, 2, *size)
    images[0, ..., 2:6] = 1
    images[1, ..., 7:9] = 1
    explanation = explain(Brightness(len(size)), images, target=1)
    assert explanation.saliency.shape == (2, *size)
    expected = torch.tensor([4.0, 8.0]) / size[-1]
    torch.testing.assert_close(explanation.statistic("center_x"), expected, rtol=0, atol=0.005)
    if len(size) == 3:
        torch.testing.assert_close(
            explanation.statistic("center_y"), torch.full((2,), 0.5), rtol=0, atol=0.005
        )
    inside = images[:, 0] > 0
    torch.testing.assert_close(explanation.statistic("pointing_game", inside), torch.ones(2))
    for name in STATISTICS:
        assert explanation.statistic(name, inside).shape == (2,)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_one_signal_or_volume_is_a_batch_of_one(size: tuple[int, ...]) -> None:
    images, _ = data(size, 3).tensors
    model = classifier(len(size))
    torch.testing.assert_close(explain(model, images[1]).cams, explain(model, images).cams[1:2])


# --- figures


def drawn(explanation: Explanation, **options: object) -> tuple[list[np.ndarray], np.ndarray]:
    """The pictures of the figure in its order, and the pixels of the whole."""
    figure = explanation.figure(**options)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    shown = [np.asarray(image.get_array()) for axis in figure.axes for image in axis.images]
    return shown, np.asarray(canvas.buffer_rgba())[..., :3]


@pytest.mark.parametrize("size", [*SIZES.values(), (16, 16)], ids=[*SIZES, "images"])
def test_signals_and_volumes_have_a_figure(size: tuple[int, ...]) -> None:
    explanation = explain(classifier(len(size)), data(size, 4).tensors[0])
    shown, _ = drawn(explanation, most=3)
    assert len(shown) == 6
    for plain, over in zip(shown[::2], shown[1::2], strict=True):
        assert plain.shape == over.shape
        assert (plain != over).any()
        if len(size) == 1:
            assert plain.shape == (224, 448, 3)
    figure = explanation.figure()
    words = {1: "channels from the top", 3: "slices through the middle of D, H and W, from the left"}
    assert figure.get_suptitle() == words.get(len(size), "")
    predicted = int(explanation.scores[0].argmax())
    assert (
        figure.axes[0].get_title()
        == f"class {predicted}, {100 * explanation.scores[0].softmax(dim=0)[predicted]:.0f} %"
    )
    assert figure.axes[1].get_title() == f"gradcam at {explanation.target_layer}"


def test_a_figure_of_a_binary_head_shows_the_sigmoid() -> None:
    model = classifier(1, classes=1)
    images = data((40,), 4).tensors[0]
    explanation = explain(model, images, task="binary")
    share = model(images).detach().sigmoid()[0].item()
    assert (
        explanation.figure().axes[0].get_title()
        == f"class {int(share > 0.5)}, {100 * max(share, 1 - share):.0f} %"
    )


@pytest.mark.parametrize("size", [*SIZES.values(), (16, 16)], ids=[*SIZES, "images"])
@pytest.mark.parametrize("count", [3, 9])
def test_the_figure_of_parts_has_a_legend_in_place_of_the_colour_bar(
    count: int, size: tuple[int, ...]
) -> None:
    explanation = explain(
        classifier(len(size)), data(size, 4).tensors[0], method=partial(METHODS["dff"], parts=count)
    )
    assert explanation.parts.shape[:2] == (4, count)
    figure = explanation.figure()
    (legend,) = figure.legends
    seven = min(count, 7)
    assert [text.get_text() for text in legend.get_texts()] == [
        f"part {number + 1}" for number in range(seven)
    ]
    found = [to_rgb(patch.get_facecolor()) for patch in legend.get_patches()]
    np.testing.assert_allclose(found, np.array(PART_COLORS[:seven]) / 255)
    assert len(figure.axes) == 2 * 4, "no colour bar"
    shown, _ = drawn(explanation)
    assert all(np.ptp(plain, axis=2).max() == 0 for plain in shown[::2]), "grey"
    assert all(np.ptp(over, axis=2).max() > 0.1 for over in shown[1::2]), "coloured"


def test_an_image_without_the_first_part_is_not_blank_where_it_has_another() -> None:
    explanation = explain(net(), pictures(3), method="dff")
    explanation.parts[1, 0] = 0
    explanation.parts[2] = 0
    explanation.reasons[1:] = 5
    titles = [axis.get_title().replace("\n", " ") for axis in explanation.figure().axes[1::2]]
    assert titles == ["dff at body", "dff at body", "blank: the map is nowhere positive"]


# --- the monitor


def fit(directory: Path, size: tuple[int, ...], monitor: CAMMonitor, **options: object) -> EventAccumulator:
    logger = TensorBoardLogger(directory)
    seed_everything(0, verbose=False)
    fitted = trainer(directory, callbacks=[monitor], logger=logger, log_every_n_steps=1, **options)
    loader = DataLoader(data(size), batch_size=4)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*switched itself off.*")
        fitted.fit(Classifier(classifier(len(size))), loader, loader)
    found = EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    found.Reload()
    return found


@pytest.mark.parametrize("method", ["gradcam", "dff"])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_fit(size: tuple[int, ...], method: str, tmp_path: Path) -> None:
    monitor = CAMMonitor(probe=6, method=method, scalars="all")
    found = fit(tmp_path, size, monitor)
    assert sorted(found.Tags()["images"]) == ["cam/classes", "cam/evolution", "cam/overlay"]
    for tag in found.Tags()["images"]:
        assert len(found.Images(tag)) == 2
        for event in found.Images(tag):
            Image.open(io.BytesIO(event.encoded_image_string)).load()
    scalars = {tag.removeprefix("cam/") for tag in found.Tags()["scalars"] if tag.startswith("cam/")}
    height = set() if len(size) == 1 else {"center_y"}
    assert (
        scalars
        == {*STATISTICS, "blank", "probe_accuracy"} - {"mass_inside", "pointing_game", "center_y"} | height
    )
    assert [look.epoch for look in monitor.history.looks] == [-1, 0, 1]
    assert monitor.history.looks[0].cams.shape == (6, *((side + 1) // 2 for side in size))
    assert monitor.probe.images.shape == (6, 2, *size)
    assert monitor.probe.labels.tolist() == [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_resumed_fit_keeps_probe_and_history(size: tuple[int, ...], tmp_path: Path) -> None:
    first, second = CAMMonitor(probe=6), CAMMonitor(probe=6)
    images, labels = data(size).tensors
    loader = DataLoader(TensorDataset((images * 50 + 100).round().clamp(0, 255) / 255, labels), batch_size=4)
    module = Classifier(classifier(len(size)))
    fitted = trainer(tmp_path, callbacks=[first], max_epochs=1)
    fitted.fit(module, loader, loader)
    fitted.save_checkpoint(tmp_path / "last.ckpt")
    assert (
        torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"][first.state_key]["probe"][
            "images"
        ].dtype
        == torch.uint8
    )
    trainer(tmp_path, callbacks=[second], max_epochs=2).fit(
        module, loader, loader, ckpt_path=tmp_path / "last.ckpt"
    )
    assert [look.epoch for look in second.history.looks] == [-1, 0, 1]
    torch.testing.assert_close(second.probe.images, first.probe.images, rtol=0, atol=0)
    torch.testing.assert_close(second.history.looks[1].cams, first.history.looks[1].cams, rtol=0, atol=0)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_probe_of_the_users_own_with_masks(size: tuple[int, ...], tmp_path: Path) -> None:
    images, labels = data(size, 6).tensors
    monitor = CAMMonitor(Probe(images, labels, images[:, 0] > 0.5, ("dark", "bright")), scalars="all")
    found = fit(tmp_path, size, monitor)
    for name in ("mass_inside", "pointing_game"):
        assert 0 < found.Scalars(f"cam/{name}")[-1].value <= 1


def legend_line(directory: Path, method: str) -> np.ndarray:
    monitor = CAMMonitor(probe=4, method=method)
    found = fit(directory, (16, 16), monitor)
    picture = Image.open(io.BytesIO(found.Images("cam/overlay")[-1].encoded_image_string)).convert("RGB")
    return np.asarray(picture)[-46 + 8].astype(int)


def test_the_monitor_shows_parts_with_their_legend(tmp_path: Path) -> None:
    """JPEG changes colours a little; by the colour bar of other methods the part's colours are not met in this order."""
    line = legend_line(tmp_path / "parts", "dff")
    starts = [np.flatnonzero(np.abs(line - color).max(axis=1) < 25) for color in PART_COLORS[:5]]
    assert all(len(start) >= 8 for start in starts)
    assert [int(start[0]) for start in starts] == sorted(int(start[0]) for start in starts)
    other = legend_line(tmp_path / "map", "gradcam")
    assert not all((np.abs(other - color).max(axis=1) < 25).sum() >= 8 for color in PART_COLORS[:5])


class Binary(Classifier):
    """One logit, trained as a loss on logits wants it: with floating labels (n, 1)."""

    def training_step(self, batch: list[Tensor], batch_idx: int = 0) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(self(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], batch_idx: int = 0, dataloader_idx: int = 0) -> None:
        self.log("val_loss", self.training_step(batch))


def test_a_binary_head_with_floating_labels(tmp_path: Path) -> None:
    images, labels = data((40,)).tensors
    loader = DataLoader(TensorDataset(images, labels[:, None].float()), batch_size=4)
    monitor = CAMMonitor(probe=6)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(switched itself off|no labels found).*")
        trainer(tmp_path, callbacks=[monitor]).fit(Binary(classifier(1, classes=1)), loader, loader)
    assert monitor.probe.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert set(monitor.history.looks[-1].predicted.tolist()) <= {0, 1}
    assert len(monitor.history) == 3
