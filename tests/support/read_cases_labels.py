"""Kinds 19 to 29: numbers beside the label, several labels per image, labels that the step computes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_cam import Inputs
from support.read_case import Setup, case, paired, plain, variant
from support.read_data import (
    BATCH,
    Figures,
    Items,
    from_items,
    loader,
    named,
    training,
    validation,
)
from support.read_modules import WIDTH, Own, SmallNet, User, learnt, several, trained_net

# --- numbers that are no label


class IndexFirst(User):
    def step(self, batch):
        _, images, labels = batch
        return super().step((images, labels))


def indexed(module: User) -> Setup:
    known, held = training(), validation()
    train = loader(torch.arange(len(known.labels)), known.images, known.labels, shuffle=True)
    return plain(module, train=train, val=loader(torch.arange(len(held.labels)), held.images, held.labels))


@case(19, label=r"batch\[2\]")
def index_image_label() -> Setup:
    return indexed(IndexFirst(trained_net()))


class Wide(IndexFirst):
    """So many outputs that an index would pass for a class."""

    def __init__(self) -> None:
        super().__init__(SmallNet(out=200))


@case(19, label=r"batch\[2\]")
def index_image_label_and_many_classes() -> Setup:
    return indexed(learnt(Wide, indexed(User()).train))


class Findings(User):
    """Six findings, of which an image has several."""

    def __init__(self) -> None:
        super().__init__(SmallNet(out=6))

    def step(self, batch):
        return several(self(batch["img"]), batch["lab"])


def findings(known: Figures) -> Tensor:
    """The figure, whether it is one of the last two, and one that all have."""
    shape = F.one_hot(known.labels, 4)
    late = (known.labels > 1).long()[:, None]
    return torch.cat([shape, late, torch.ones_like(late)], dim=1).float()


def radiographs(known: Figures, count: int | None = None) -> Items:
    parts = {"idx": torch.arange(len(known.labels)), "lab": findings(known), "img": known.images}
    return named(**{name: part[:count] for name, part in parts.items()})


def xrays(count: int | None = None) -> Setup:
    held, train = validation(), from_items(radiographs(training()), shuffle=True)
    val = from_items(radiographs(held, count), batch_size=3 if count else BATCH)
    module = learnt(Findings, train)
    return Setup(module, train, val, held.images[:count], held.boxes[:count], findings(held)[:count])


LAB = r"batch\[.lab.\]"


@case(20, task="multilabel", label=LAB)
def index_beside_several_labels() -> Setup:
    return xrays()


@case(20, task="multilabel", label=LAB)
def index_that_could_be_a_class() -> Setup:
    """The first images alone, so that every index is below the number of classes."""
    return xrays(count=6)


variant(21, "several_labels_told_by_name", xrays, arguments={"inputs": Inputs(labels="lab")},
        task="multilabel", label=LAB)  # fmt: skip
variant(22, "several_labels_told_by_argmax", xrays, arguments={"inputs": Inputs(labels=lambda batch: batch["lab"].argmax(dim=1))},
        task="multilabel", label=LAB, says=(r"labels: other numbers than .*batch\[.lab.\]",), remedy=lambda told: {})  # fmt: skip


class Fine(User):
    def step(self, batch):
        images, _, labels = batch
        return super().step((images, labels))


@case(23, label=r"batch\[2\]")
def coarse_and_fine_labels() -> Setup:
    known, held = training(), validation()
    train = loader(known.images, known.labels // 2, known.labels, shuffle=True)
    return plain(Fine(trained_net()), train=train, val=loader(held.images, held.labels // 2, held.labels))


class TwoQuestions(User):
    """Which figure, and whether its number is odd; ``asks`` is what its own accuracy is of."""

    def __init__(self, asks: str = "shape") -> None:
        super().__init__(SmallNet(out=0))
        self.shape, self.odd, self.asks = nn.Linear(WIDTH, 4), nn.Linear(WIDTH, 2), asks

    def forward(self, images):
        features = self.net.embed(images)
        return {"shape": self.shape(features), "odd": self.odd(features)}

    def step(self, batch):
        images, odd, labels = batch
        scores = self(images)
        loss = F.cross_entropy(scores["shape"], labels) + F.cross_entropy(scores["odd"], odd)
        asked = labels if self.asks == "shape" else odd
        return Own(loss, right=(scores[self.asks].argmax(dim=1) == asked).float())


def two_questions(asks: str) -> Setup:
    known, held = training(), validation()
    train = loader(known.images, known.labels % 2, known.labels, shuffle=True)
    module = learnt(lambda: TwoQuestions(asks), train)
    labels = held.labels if asks == "shape" else held.labels % 2
    return plain(module, train=train, val=loader(held.images, held.labels % 2, held.labels), labels=labels)


@case(24, label=r"batch\[2\]", says=(r'"shape" is explained\. Inputs\(scores=.odd.\) for the other',))
def two_heads_by_name() -> Setup:
    return two_questions("shape")


@case(24, label=r"batch\[1\]", arguments={"inputs": Inputs(scores="odd")})
def two_heads_told_the_other() -> Setup:
    return two_questions("odd")


class WithSite(User):
    def __init__(self) -> None:
        super().__init__(SmallNet(out=4))

    def step(self, batch):
        return several(self(batch["image"]), batch["findings"])


def sites(known: Figures) -> Items:
    site = torch.randint(0, 2, (len(known.labels),), generator=torch.Generator().manual_seed(3))
    return named(image=known.images, findings=F.one_hot(known.labels, 4).float(), site=site)


@case(25, task="multilabel", label=r"batch\[.findings.\]")
def hospital_beside_findings() -> Setup:
    held, train = validation(), from_items(sites(training()), shuffle=True)
    labels = F.one_hot(held.labels, 4).float()
    return plain(learnt(WithSite, train), train=train, val=from_items(sites(held)), labels=labels)


class Weighted(Findings):
    def step(self, batch):
        images, labels, weights = batch
        own = several(self(images), labels)
        losses = F.binary_cross_entropy_with_logits(self(images), labels, reduction="none")
        return Own((losses.mean(dim=1) * weights).mean(), own.right)


@case(26, task="multilabel")
def weights_beside_several_labels() -> Setup:
    known, held = training(), validation()
    train = loader(known.images, findings(known), torch.ones(len(known.labels)), shuffle=True)
    val = loader(held.images, findings(held), torch.ones(len(held.labels)))
    return plain(learnt(Weighted, train), train=train, val=val, labels=findings(held))


# --- labels that the step computes


class FromOne(User):
    def step(self, batch):
        return super().step((batch["image"], batch["target"] - 1))


def from_one(known: Figures) -> Items:
    words = ["one", "two", "three", "four"]
    return Items(
        len(known.labels),
        lambda i: {
            "image": known.images[i],
            "label": words[known.labels[i]],
            "target": int(known.labels[i]) + 1,
        },
    )


@case(27, label=r"batch\[.target.\]")
def labels_from_one() -> Setup:
    train, val = from_items(from_one(training()), shuffle=True), from_items(from_one(validation()))
    return plain(FromOne(trained_net()), train=train, val=val)


class FromOneAndWider(User):
    """With a class to spare, so that a label that is off by one passes."""

    def __init__(self) -> None:
        super().__init__(SmallNet(out=5))

    def step(self, batch):
        return super().step((batch[0], batch[1] - 1))


@case(27)
def labels_from_one_and_a_wider_head() -> Setup:
    setup = paired(FromOneAndWider, lambda known: known.labels + 1)
    return plain(setup.module, train=setup.train, val=setup.val)


class Thresholds(User):
    """Of the ordered label: above 0, above 1, above 2."""

    def __init__(self) -> None:
        super().__init__(SmallNet(out=3))

    def step(self, batch):
        images, labels = batch
        return several(self(images), above(labels))


def above(labels: Tensor) -> Tensor:
    return (labels[:, None] > torch.arange(3)).float()


ORDERED = r"thresholds of an ordered label"


@case(28, task="multilabel", says=(ORDERED,))
def thresholds_of_an_ordered_label() -> Setup:
    held = validation()
    setup = paired(Thresholds, lambda known: known.labels)
    return plain(setup.module, train=setup.train, val=setup.val, labels=above(held.labels))


@case(28, task="multilabel", says=(ORDERED,))
def thresholds_without_the_highest_rank() -> Setup:
    """Then every label would pass for a class."""
    held, module = validation(), thresholds_of_an_ordered_label().module
    low = held.labels < 3
    images, labels = held.images[low], held.labels[low]
    return plain(module, val=loader(images, labels), seen=images, boxes=held.boxes[low], labels=above(labels))


class SeveralProbabilities(Findings):
    def forward(self, images):
        return self.net(images).sigmoid()

    def step(self, batch):
        images, labels = batch
        chances = self(images)
        right = ((chances > 0.5) == (labels > 0.5)).float().mean(dim=1)
        return Own(F.binary_cross_entropy(chances, labels), right, sure=chances.amax(dim=1))


@case(29, task="multilabel")
def several_probabilities() -> Setup:
    return paired(SeveralProbabilities, findings)
