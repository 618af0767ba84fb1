"""Models and data of odd kinds: each is looked at, or refused with a remedy that is followed here."""

import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint
from support.modules import Classifier, trainer
from support.odd_networks import SIDE, AnyStep, Convolutions, OfFixedBatch, closed, figures
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lightning_cam import CAMMonitor, Inputs, Probe
from lightning_cam.attribution.maps import upsample
from lightning_cam.attribution.targets import region

IMAGES, LABELS, FIGURES = figures(32)


class Items(Dataset):
    """A dataset from a function of the index; attributes may be set."""

    def __init__(self, item: Any, count: int = 32, **attributes: Any) -> None:
        self.item, self.count = item, count
        vars(self).update(attributes)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return self.item(index)


def fit(directory: Path, model: LightningModule, data: Dataset, epochs: int = 2, **asked: Any) -> CAMMonitor:
    """Two epochs on the data, validated on it; a monitor that switches itself off is an error."""
    options = {key: asked.pop(key) for key in ("batch_size", "collate_fn") if key in asked}
    monitor = CAMMonitor(**{"report": False, **asked})
    seed_everything(0, verbose=False)
    loader = DataLoader(data, **{"batch_size": 8, **options})
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*switched itself off.*")
        trainer(directory, callbacks=[monitor], max_epochs=epochs).fit(model, loader, loader)
    assert [look.epoch for look in monitor.history.looks][-epochs:] == list(range(epochs))
    return monitor


def inside(monitor: CAMMonitor) -> tuple[float, float]:
    """Share of the last look's saliency in the figures, and of the area: chance."""
    probe, look = monitor.probe, monitor.history.looks[-1]
    place = [next(i for i in range(32) if torch.equal(one[:3, :SIDE], IMAGES[i])) for one in probe.images]
    masks = F.max_pool2d(FIGURES[place][:, None].float(), 5, stride=1, padding=2)[:, 0]
    saliency = upsample(look.cams.float(), (SIDE, SIDE)).clamp(min=0)
    share = (saliency * masks).sum() / saliency.sum()
    return share.item(), masks.mean().item()


# --- one thing failing does not take the others with it


def test_images_of_several_sizes(tmp_path: Path) -> None:
    """They cost the measure of cues, not the look; that is told once, with their number."""
    sized = Items(lambda i: (F.pad(IMAGES[i], (0, i % 3, 0, i // 16)), LABELS[i]))
    with pytest.warns(UserWarning, match="how well each cue tells the label") as caught:
        monitor = fit(tmp_path, Classifier(), sized, epochs=3, batch_size=1)
    told = [str(one.message) for one in caught if "how well each cue tells" in str(one.message)]
    same = sum(i % 3 == 0 and i < 16 for i in range(32))
    assert len(told) == 1
    assert told[0].startswith(f"CAMMonitor: {32 - same} images differ in size from the first one")
    assert len(monitor.probe) == same


@pytest.mark.parametrize("layer", [None, "net.features"])
def test_a_model_of_a_fixed_batch(tmp_path: Path, layer: str | None) -> None:
    """Its tests for shortcuts, and a probe that is no multiple of the batch, included."""
    monitor = fit(
        tmp_path, Classifier(OfFixedBatch(8)), TensorDataset(IMAGES, LABELS), probe=12, target_layer=layer
    )
    assert len(monitor.probe) == 12
    assert monitor.history.looks[-1].cams.shape == (12, SIDE // 2, SIDE // 2)


# --- traced and scripted networks


@pytest.mark.parametrize("kind", ["traced", "scripted"])
def test_a_closed_network_beside_the_layer(tmp_path: Path, kind: str) -> None:
    class Beside(Classifier):
        def __init__(self) -> None:
            super().__init__(nn.Sequential(Convolutions(), nn.Linear(8, 2)))
            self.head = closed(nn.Linear(2, 2), torch.rand(2, 2), kind)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.net(images))

    monitor = fit(tmp_path, Beside(), TensorDataset(IMAGES, LABELS))
    assert monitor.history.looks[-1].cams.shape[1:] == (SIDE // 2, SIDE // 2)


def test_the_map_that_a_traced_network_yields(tmp_path: Path) -> None:
    traced = closed(Convolutions().features, IMAGES[:2])
    model = Classifier(nn.Sequential(traced, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)))
    monitor = fit(tmp_path, model, TensorDataset(IMAGES, LABELS))
    assert monitor.history.looks[-1].cams.shape[1:] == (SIDE // 2, SIDE // 2)


@pytest.mark.parametrize("kind", ["traced", "scripted"])
@pytest.mark.parametrize("layer", [None, "net.0.features.4"])
def test_a_network_that_is_closed_as_a_whole(tmp_path: Path, kind: str, layer: str | None) -> None:
    network = nn.Sequential(Convolutions(), nn.Linear(8, 2))
    data = TensorDataset(IMAGES, LABELS)
    words = r"The layers within 'net' are closed: .* Give the monitor the network as it was before"
    with pytest.raises(ValueError, match=words):
        fit(tmp_path, Classifier(closed(network, IMAGES[:2], kind)), data, target_layer=layer)
    fit(tmp_path, Classifier(network), data, target_layer=layer)


# --- tensors of the user's own class


def test_a_checkpoint_holds_plain_tensors(tmp_path: Path) -> None:
    """MONAI's batches are of a class of its own. In the checkpoint it would keep the user's weights from being
    loaded where MONAI is not installed.
    """
    module = types.ModuleType("their_package")

    class MetaTensor(Tensor):
        pass

    MetaTensor.__module__, MetaTensor.__qualname__ = "their_package", "MetaTensor"
    module.MetaTensor = MetaTensor

    def item(index: int) -> dict[str, Tensor]:
        return {"image": IMAGES[index], "label": LABELS[index], "mask": FIGURES[index]}

    def collate(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        return {key: torch.stack([one[key] for one in items]).as_subclass(MetaTensor) for key in items[0]}

    class Dicts(AnyStep):
        def loss(self, batch: Any) -> Tensor:
            return F.cross_entropy(self(batch["image"]), batch["label"]).as_subclass(Tensor)

    sys.modules["their_package"] = module
    try:
        monitor, saved = CAMMonitor(report=False), ModelCheckpoint(tmp_path, save_last=True)
        loader = DataLoader(Items(item), batch_size=8, collate_fn=collate)
        options = {"max_epochs": 2, "enable_checkpointing": True}
        trainer(tmp_path, callbacks=[monitor, saved], **options).fit(Dicts(), loader, loader)
    finally:
        del sys.modules["their_package"]
    assert {type(monitor.probe.images), type(monitor.probe.labels), type(monitor.probe.masks)} == {Tensor}
    assert len(monitor.history.looks) == 3
    for weights_only in (True, False):
        assert "state_dict" in torch.load(tmp_path / "last.ckpt", weights_only=weights_only)


# --- names of other classes


def test_names_of_other_classes_are_not_used(tmp_path: Path) -> None:
    """Ten names for a model of two classes: numbers are shown, and that is told once."""
    named = Items(lambda i: (IMAGES[i], LABELS[i]), classes=[f"kind {i}" for i in range(10)])
    model = Classifier(nn.Sequential(Convolutions(), nn.Linear(8, 2)))
    with pytest.warns(UserWarning, match=r"there are 10 class names \(kind 0 \.\.\.\) and the model has 2"):
        monitor = fit(tmp_path, model, named)
    assert monitor.probe.class_names is None
    named.classes = ["filled", "striped"]
    model = Classifier(nn.Sequential(Convolutions(), nn.Linear(8, 2)))
    assert fit(tmp_path, model, named).probe.class_names == ("filled", "striped")


# --- forwards of odd shapes


def test_a_forward_that_squeezes(tmp_path: Path) -> None:
    class Squeezes(AnyStep):
        def __init__(self) -> None:
            super().__init__(nn.Sequential(Convolutions(), nn.Linear(8, 1)))

        def forward(self, images: Tensor) -> Tensor:
            return self.net(images).squeeze()

        def loss(self, batch: Any) -> Tensor:
            return F.binary_cross_entropy_with_logits(self(batch[0]), batch[1].float())

    monitor = fit(tmp_path, Squeezes(), TensorDataset(IMAGES, LABELS), epochs=12)
    share, chance = inside(monitor)
    assert share > 2 * chance


class Segments(AnyStep):
    """Two classes at every position: the figure, or not."""

    def __init__(self) -> None:
        super().__init__(
            nn.Sequential(Convolutions().features, nn.Upsample(scale_factor=2), nn.Conv2d(8, 2, 1))
        )

    def loss(self, batch: Any) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1].long())


def test_a_segmentation(tmp_path: Path) -> None:
    data = TensorDataset(IMAGES, FIGURES)
    with pytest.raises(ValueError, match=r"CAMMonitor\(target=region\(1\)\)"):
        fit(tmp_path, Segments(), data)
    share, chance = inside(fit(tmp_path, Segments(), data, epochs=12, target=region(1)))
    assert share > 2 * chance


class Detects(AnyStep):
    """Lists in, lists of boxes with scores out."""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(Convolutions(), nn.Linear(8, 1)))

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        scores = self.net(torch.stack([image[:, :SIDE, :SIDE] for image in images]))
        return [{"boxes": torch.zeros(1, 4), "scores": score} for score in scores]

    def loss(self, batch: Any) -> Tensor:
        scores = torch.cat([found["scores"] for found in self(batch[0])])
        return F.binary_cross_entropy_with_logits(scores, torch.stack(batch[1]).float())


def test_a_detector(tmp_path: Path) -> None:
    data = Items(lambda i: (F.pad(IMAGES[i], (0, i % 3)), LABELS[i]))

    def collate(items: list[Any]) -> Any:
        return [image for image, _ in items], [label for _, label in items]

    with pytest.raises(ValueError, match=r"a list of images, as a detector takes it, .* network=lambda"):
        fit(tmp_path, Detects(), data, collate_fn=collate)
    monitor = fit(
        tmp_path,
        Detects(),
        data,
        epochs=12,
        collate_fn=collate,
        inputs=Inputs(images=lambda batch: torch.stack([image[:, :, :SIDE] for image in batch[0]])),
        network=lambda module, images: torch.stack([one["scores"].sum() for one in module(list(images))]),
        target="predicted",
    )
    share, chance = inside(monitor)
    assert share > 1.5 * chance


class Compares(AnyStep):
    """Whether two images show the same figure: the network sees both."""

    def __init__(self) -> None:
        super().__init__(Convolutions())
        self.head = nn.Linear(8, 2)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return self.head((self.net(one) - self.net(other)).abs())

    def loss(self, batch: Any) -> Tensor:
        return F.cross_entropy(self(batch[0], batch[1]), batch[2])


@pytest.mark.parametrize("layer", [None, "net.features"])
def test_a_siamese_network(tmp_path: Path, layer: str | None) -> None:
    others = IMAGES.roll(1, 0).flip(0)
    data = TensorDataset(IMAGES, others, (LABELS.roll(1, 0).flip(0) == LABELS).long())
    both = {
        "inputs": Inputs(images=lambda batch: torch.cat(batch[:2], dim=1), labels=2),
        "network": lambda module, images: module(images[:, :3], images[:, 3:]),
    }
    with pytest.raises(
        ValueError, match=r"runs more than once .* network=lambda module, images: module\.head"
    ):
        fit(tmp_path, Compares(), data, target_layer=layer, **both)
    reference = torch.rand(8, generator=torch.Generator().manual_seed(0))
    alone = {"inputs": Inputs(images=0, labels=2), "target": "predicted"}
    monitor = fit(
        tmp_path,
        Compares(),
        data,
        epochs=12,
        target_layer=layer,
        network=lambda module, images: module.head((module.net(images) - reference).abs()),
        **alone,
    )
    assert monitor.history.looks[-1].cams.shape[1:] == (SIDE // 2, SIDE // 2)


class Clips(AnyStep):
    """A network on each frame, and a recurrent one over frames."""

    def __init__(self) -> None:
        super().__init__(Convolutions())
        self.over_time, self.head = nn.GRU(8, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, clips: Tensor) -> Tensor:
        frames = self.net(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        return self.head(self.over_time(frames)[0][:, -1])

    def loss(self, batch: Any) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])


@pytest.mark.parametrize("layer", [None, "net.features"])
def test_clips(tmp_path: Path, layer: str | None) -> None:
    data = TensorDataset(torch.stack([IMAGES, IMAGES.roll(2, 3), IMAGES.roll(4, 3)], dim=1), LABELS)
    with pytest.raises(
        ValueError, match=r"images: got .*clips or volumes.* inputs=Inputs\(images=lambda batch: batch"
    ):
        fit(tmp_path, Clips(), data, target_layer=layer)
    monitor = fit(
        tmp_path,
        Clips(),
        data,
        epochs=12,
        target_layer=layer,
        inputs=Inputs(images=lambda batch: batch[0][:, 0]),
        network=lambda module, frames: module(frames[:, None]),
    )
    share, chance = inside(monitor)
    assert share > 1.5 * chance


def test_a_probe_is_of_plain_tensors() -> None:
    class Theirs(Tensor):
        pass

    probe = Probe(*(part.as_subclass(Theirs) for part in (IMAGES, LABELS, FIGURES)))
    assert {type(probe.images), type(probe.labels), type(probe.masks)} == {Tensor}


def test_no_labels_are_welcome(tmp_path: Path) -> None:
    """Who says that there are none reads so, in header and report."""
    model = Classifier(nn.Sequential(Convolutions(), nn.Linear(8, 2)))
    data = TensorDataset(IMAGES, LABELS)
    monitor = fit(tmp_path, model, data, inputs=Inputs(labels=lambda batch: None), report=True)
    assert monitor.probe.labels is None
    assert "predicted class (no labels)" in (next(tmp_path.rglob("report.html"))).read_text()
