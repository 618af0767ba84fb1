"""Kinds 1 to 10: the control, a binary head, and numbers that are no classes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_cam import Inputs
from support.read_case import Setup, case, paired, plain, variant
from support.read_data import Figures, from_items, loader, named, training, validation
from support.read_modules import Own, SmallNet, User, learnt, trained_net


@case(1, share=0.99)
def control() -> Setup:
    return plain(User(trained_net()))


# --- a binary head


class Logit(User):
    def __init__(self) -> None:
        super().__init__(SmallNet(out=1))

    def step(self, batch):
        images, labels = batch
        logits = self(images)
        right = ((logits > 0) == (labels > 0.5)).float()[:, 0]
        return Own(
            F.binary_cross_entropy_with_logits(logits, labels), right, sure=logits.abs()[:, 0].sigmoid()
        )


class Probability(User):
    def __init__(self) -> None:
        super().__init__(SmallNet(out=1))

    def forward(self, images):
        return self.net(images).sigmoid()

    def step(self, batch):
        images, labels = batch
        chances = self(images)
        right = ((chances > 0.5) == (labels > 0.5)).float()[:, 0]
        return Own(
            F.binary_cross_entropy(chances, labels), right, sure=torch.maximum(chances, 1 - chances)[:, 0]
        )


def column(known: Figures) -> Tensor:
    return known.labels[:, None].float()


@case(2, task="binary")
def one_logit() -> Setup:
    return paired(Logit, column, classes=2)


@case(3, task="binary")
def sigmoid_in_forward() -> Setup:
    return paired(Probability, column, classes=2)


# --- one number per image


class Age(User):
    """Years, from 20 on."""

    def __init__(self) -> None:
        super().__init__(SmallNet(out=1))

    def forward(self, images):
        return 40 + 20 * self.net(images)

    def step(self, batch):
        images, years = batch
        guess = self(images)
        return Own(F.l1_loss(guess, years), sure=guess[:, 0])


class WholeAge(Age):
    def forward(self, images):
        return super().forward(images).squeeze(1)

    def step(self, batch):
        images, years = batch
        guess = self(images)
        return Own(F.l1_loss(guess, years.float()), sure=guess)


def years(known: Figures) -> Tensor:
    return 20 + 15.0 * known.labels[:, None] + known.images[:, 0, 0, :1]


def whole_years(known: Figures) -> Tensor:
    return 20 + 15 * known.labels


@case(4, task="regression")
def regression() -> Setup:
    return paired(Age, years)


@case(5, task="regression")
def regression_of_whole_numbers() -> Setup:
    return paired(WholeAge, whole_years)


variant(5, "regression_without_a_sanity_check", regression_of_whole_numbers, task="regression",
        options={"num_sanity_val_steps": 0})  # fmt: skip
variant(6, "regression_told_a_class", regression_of_whole_numbers, arguments={"target": 1}, task="regression",
        says=(r"target: .*\b1\b",), remedy=lambda told: {})  # fmt: skip


def without_labels() -> Setup:
    known = paired(WholeAge, whole_years)
    return Setup(known.module, known.train, known.val, known.seen, known.boxes, labels=None)


variant(7, "regression_told_that_there_are_no_labels", without_labels, task="regression", label=None,
        arguments={"inputs": Inputs(labels=lambda batch: None)})  # fmt: skip


class Grade(Age):
    def forward(self, images):
        return self.net(images)


def grades(known: Figures) -> Tensor:
    return known.labels[:, None].float()


@case(8, task="regression")
def sorted_grades() -> Setup:
    """The first batches of the validation hold grades 0 and 1 only."""
    setup = paired(Grade, grades, classes=5)
    held = validation(5)
    order = held.labels.argsort(stable=True)
    val = loader(held.images[order], grades(held)[order], batch_size=4)
    return Setup(setup.module, setup.train, val, held.images[order], held.boxes[order], grades(held)[order])


class BoneAge(User):
    def __init__(self) -> None:
        super().__init__(SmallNet(out=1))

    def step(self, batch):
        guess = self(batch["image"])[:, 0]
        return Own(F.mse_loss(guess, batch["boneage"]), sure=guess)


def bone_ages(known: Figures) -> dict[str, Tensor]:
    count = len(known.labels)
    male = torch.randint(0, 2, (count,), generator=torch.Generator().manual_seed(5))
    return {"image": known.images, "boneage": (known.labels - 1.5) / 1.2, "male": male}


@case(9, task="regression", label=r"batch\[.boneage.\]")
def bone_age_beside_sex() -> Setup:
    train = from_items(named(**bone_ages(training())), shuffle=True)
    parts = bone_ages(validation())
    module = learnt(BoneAge, train)
    return plain(module, train=train, val=from_items(named(**parts)), labels=parts["boneage"])


class Box(User):
    """Left, top, right, bottom, as shares of the image's side."""

    def step(self, batch):
        images, corners = batch
        guess = self(images)
        return Own(F.mse_loss(guess, corners), sure=guess[:, 0])


def corners(known: Figures) -> Tensor:
    columns, rows = known.boxes.any(dim=1).int(), known.boxes.any(dim=2).int()
    left, top = columns.argmax(dim=1), rows.argmax(dim=1)
    return torch.stack([left, top, left + 10, top + 10], dim=1) / known.images.shape[-1]


@case(10, task="regression", own=0.0)
def boxes() -> Setup:
    return paired(Box, corners)
