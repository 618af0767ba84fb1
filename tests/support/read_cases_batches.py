"""Kinds 61 to 66, and 72: what a batch may be."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import default_collate

from lightning_cam import CAMMonitor, Inputs
from support.read_case import Setup, case, paired, plain, variant
from support.read_data import BATCH, VAL, Items, from_items, named, training, validation
from support.read_modules import Own, SmallNet, User, classified, trained_net
from support.read_outcome import positions


class Tagged(Tensor):
    """A tensor of a class that another machine may lack."""


def tagged(items: list) -> dict[str, Tensor]:
    batch = default_collate(items)
    return {"image": batch["image"].as_subclass(Tagged), "label": batch["label"].as_subclass(Tagged)}


class FromDicts(User):
    """What it logs is plain: Lightning's own checkpoint callback copies metrics, which such a class may refuse."""

    def step(self, batch):
        own = super().step((batch["image"], batch["label"]))
        return Own(own.loss.as_subclass(Tensor), own.right.as_subclass(Tensor))


def tensors(thing: Any) -> list[Tensor]:
    if isinstance(thing, Tensor):
        return [thing]
    parts = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list | tuple) else ()
    return [tensor for part in parts for tensor in tensors(part)]


def keeps_plain_tensors(monitor: CAMMonitor, setup: Setup, folder: Any) -> None:
    kept = tensors(monitor.state_dict())
    assert len(kept) > 5
    assert {type(tensor) for tensor in kept} == {Tensor}


def of_a_subclass() -> Setup:
    known, held = training(), validation()
    train, val = (
        from_items(named(image=one.images, label=one.labels), collate_fn=tagged) for one in (known, held)
    )
    return plain(FromDicts(trained_net()), train=train, val=val)


@case(61, label=r"batch\[.label.\]", also=keeps_plain_tensors)
def subclass_of_tensor() -> Setup:
    return of_a_subclass()


class Monai(FromDicts):
    def __init__(self) -> None:
        from monai.networks.nets import DenseNet121

        shape = {"init_features": 16, "growth_rate": 8, "block_config": (2, 2)}
        super().__init__(DenseNet121(spatial_dims=2, in_channels=3, out_channels=4, **shape))


@case(61, label=r"batch\[.label.\]", also=keeps_plain_tensors, share=None, own=0.0, needs=("monai",))
def tensors_of_monai() -> Setup:
    from monai.data import MetaTensor, list_data_collate

    def items(known: Any) -> Items:
        return Items(
            len(known.labels), lambda i: {"image": MetaTensor(known.images[i]), "label": int(known.labels[i])}
        )

    train, val = (from_items(items(one), collate_fn=list_data_collate) for one in (training(), validation()))
    return plain(Monai(), train=train, val=val)


def loads_anywhere(monitor: CAMMonitor, setup: Setup, folder: Any) -> None:
    """Weights alone, as a machine would load them that does not know the class."""
    (path,) = folder.rglob("*.ckpt")
    state = torch.load(path, weights_only=True)
    probe = next(part["probe"] for key, part in state["callbacks"].items() if key.startswith("CAMMonitor"))
    assert len(probe["images"]) == VAL


variant(62, "checkpoint_with_a_subclass_of_tensor", of_a_subclass, label=r"batch\[.label.\]", also=loads_anywhere,
        options={"enable_checkpointing": True})  # fmt: skip


# --- sizes, and tests that fail


def looked_in_every_epoch(monitor: CAMMonitor, setup: Setup, folder: Any) -> None:
    assert [look.epoch for look in monitor.history.looks if look.epoch >= 0] == [0, 1]


@case(
    63,
    is_whole=False,
    says=(r"images differ in shape",),
    also=looked_in_every_epoch,
    options={"max_epochs": 2},
)
def images_of_several_sizes() -> Setup:
    """One at a time; every third image is as wide as the first."""
    held = validation()
    items = Items(VAL, lambda i: (F.pad(held.images[i], (0, 4 * (i % 3))), int(held.labels[i])))
    some = torch.arange(0, VAL, 3)
    seen, boxes, labels = held.images[some], held.boxes[some], held.labels[some]
    return plain(
        User(trained_net()),
        val=from_items(items, batch_size=1),
        seen=seen,
        boxes=boxes,
        labels=labels,
        own=lambda module: classified(module(seen), labels),
    )


class OneBatchSize(User):
    def forward(self, images):
        if len(images) != BATCH:
            raise RuntimeError(f"a batch of {BATCH}, please, not of {len(images)}")
        return self.net(images)


@case(64, also=looked_in_every_epoch, options={"max_epochs": 2})
def one_batch_size_and_no_other() -> Setup:
    return plain(OneBatchSize(trained_net()))


class KnownImages(User):
    """Looks each image's record up by its pixels: of an image that was changed there is none."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.records = {
            self.key(image): 1.0 for known in (training(), validation()) for image in known.images
        }

    @staticmethod
    def key(image: Tensor) -> bytes:
        return image.detach().numpy().tobytes()

    def forward(self, images):
        weights = torch.tensor([self.records[self.key(image)] for image in images])
        return self.net(images) * weights[:, None]


@case(64, says=(r"shortcut tests",), also=looked_in_every_epoch, options={"max_epochs": 2})
def tests_fail_and_maps_do_not() -> Setup:
    return plain(KnownImages(trained_net()))


# --- no image classification


def listed(items: list) -> tuple[list, list]:
    return [item[0] for item in items], [item[1] for item in items]


class Detector(User):
    """Gets a list of images of several widths, and gives boxes with scores for each."""

    def forward(self, images):
        return [{"boxes": torch.zeros(1, 4), "scores": self.net(image[None])[0]} for image in images]

    def step(self, batch):
        images, _ = batch
        return Own(sum(output["scores"].square().sum() for output in self(images)))


def first_columns(batch: Any) -> Tensor:
    return torch.stack([image[:, :, :32] for image in batch[0]])


def detections() -> Setup:
    held = validation()
    target = {"boxes": torch.zeros(1, 4), "labels": torch.tensor([1])}
    items = Items(VAL, lambda i: (F.pad(held.images[i], (0, i % 5)), target))
    val = from_items(items, collate_fn=listed)

    def own(module: User) -> Own:
        return Own(torch.tensor(0.0), answer=module.net(held.images).argmax(dim=1))

    return plain(Detector(trained_net()), train=val, val=val, labels=None, own=own)


@case(65, task="none", label=None, network="net", share=None, says=(r"detect|list of images",),
      remedy=lambda told: {"network": "net", "target": "predicted",
                           "inputs": Inputs(images=first_columns, labels=lambda batch: None)})  # fmt: skip
def detection() -> Setup:
    return detections()


class Adversaries(User):
    """``forward`` makes images of noise; ``net`` tells them from true ones."""

    def __init__(self) -> None:
        super().__init__(SmallNet(out=1))
        self.generator = nn.Sequential(nn.Linear(8, 3 * 32 * 32), nn.Unflatten(1, (3, 32, 32)), nn.Sigmoid())

    def forward(self, noise):
        return self.generator(noise)

    def step(self, batch):
        images, _ = batch
        made, true = self.net(self(torch.randn(len(images), 8))), self.net(images)
        return Own(F.softplus(made).mean() + F.softplus(-true).mean())


def claims_no_certainty(monitor: CAMMonitor, setup: Setup, folder: Any) -> None:
    """One number that is no class is not "predicted 0, 100 %"."""
    assert not monitor.history.looks[-1].confidence.eq(1).all()


NO_LABEL_SEEN = r"no label was seen"


@case(66, task="none", label=None, network="net", share=None, says=(NO_LABEL_SEEN,), also=claims_no_certainty)
def generator_and_discriminator() -> Setup:
    setup = paired(Adversaries, lambda known: known.labels, epochs=1)
    return Setup(setup.module, setup.train, setup.val, setup.seen, boxes=None, labels=None)


variant(66, "discriminator_told_by_name", generator_and_discriminator, task="none", label=None, network="net", share=None,
        arguments={"network": "net", "inputs": Inputs(labels=lambda batch: None), "target": "predicted"},
        also=claims_no_certainty)  # fmt: skip


# --- masks


def finds_the_masks(monitor: CAMMonitor, setup: Setup, folder: Any) -> None:
    at = positions(monitor.probe.images, setup.seen)
    assert monitor.probe.masks.equal(setup.boxes[at])


@case(72, label=r"batch\[.label.\]", also=finds_the_masks)
def masks_of_zeros_and_ones() -> Setup:
    known, held = training(), validation()
    train, val = (
        from_items(named(image=one.images, label=one.labels, mask=one.boxes[:, None].float()))
        for one in (known, held)
    )
    return plain(FromDicts(trained_net()), train=train, val=val)
