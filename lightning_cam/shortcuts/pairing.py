"""Which probe image receives a cue from which, and what the model answers to the images that are made."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

from lightning_cam.attribution.task import class_probabilities
from lightning_cam.distributed import ALONE, Ranks
from lightning_cam.shortcuts.cues import Cue, Pair
from lightning_cam.shortcuts.features import dilated
from lightning_cam.typing import Images, Index, Labels, Masks, Outputs, PerRow, Rows

Ask = Callable[[Rows, Index], Outputs]  # (images, which probe image each is of) -> scores (m, C)
MOST_FILLS = 6  # other images that a hole in a background is filled from


@dataclass(frozen=True, eq=False)
class TestedProbe:
    """The probe, on the model's device, with all that cues may need.

    Args:
        labels: (n,) true classes, or one label's: 1 with it, 0 without, -1 where it is not known.
        predicted: What the model answers to the images as they are, likewise.
        masks: (n, H, W) True where the object is; None where nobody knows.
        classes: How many classes the model tells apart; 2 of one label.
        ranks: The processes among which the images are shared.
        column: Of several labels per image, the column of the scores that is tested; None where an image has
            one class.
    """

    images: Images
    labels: Labels
    predicted: Labels
    masks: Masks | None
    classes: int
    ranks: Ranks = ALONE
    column: int | None = None

    @property
    def right(self) -> Tensor:
        """(n,) which images the model gets right."""
        return (self.predicted == self.labels) & (self.labels >= 0)

    def read(self, scores: Outputs) -> tuple[Tensor, Tensor]:
        """What scores (m, C) answer, (m,) classes, and the probability of it, in [0, 1]."""
        if self.column is None:
            best = class_probabilities(scores).max(dim=1)
            return best.indices, best.values
        own = scores[:, self.column]
        return label_answers(own), own.abs().sigmoid()

    @cached_property
    def precise(self) -> Images:
        """The images, at least float32."""
        return self.images.to(torch.promote_types(self.images.dtype, torch.float32))

    @cached_property
    def range(self) -> tuple[Tensor, Tensor]:
        """(1, c, 1, 1) smallest and largest value of each channel."""
        flat, shape = self.precise.transpose(0, 1).flatten(1), (1, -1, *[1] * (self.images.ndim - 2))
        return flat.amin(dim=1).reshape(shape), flat.amax(dim=1).reshape(shape)

    @cached_property
    def objects(self) -> Masks | None:
        """The masks, grown a little."""
        return None if self.masks is None else dilated(self.masks)

    @cached_property
    def backgrounds(self) -> Images | None:
        """The images with the backgrounds of the next images of their class where their objects are; what no
        background fills has the image's mean.
        """
        objects = self.objects
        if objects is None:
            return None
        made, holes, rows = self.precise, objects, rows_by_class(self.labels)
        for turn in range(1, MOST_FILLS + 1):
            following = [
                own[(own.index(i) + turn) % len(own)]
                for i, own in enumerate(rows[label] for label in self.labels.tolist())
            ]
            fills = holes & ~objects[following]
            made = torch.where(fills[:, None], self.precise[following], made)
            holes = holes & objects[following]
        return torch.where(holes[:, None], self.precise.mean(dim=(2, 3), keepdim=True), made)


def rows_by_class(labels: Labels) -> dict[int, list[int]]:
    """Where each class stands, the classes in the order in which they come; -1 is one of them."""
    rows: dict[int, list[int]] = {}
    for i, label in enumerate(labels.tolist()):
        rows.setdefault(label, []).append(i)
    return rows


def known_rows(labels: Labels) -> dict[int, list[int]]:
    """``rows_by_class`` of those that are known."""
    return {label: rows for label, rows in rows_by_class(labels).items() if label >= 0}


def label_answers(scores: Tensor) -> Int[Tensor, "n *K"]:
    """Whether a label is answered to be there, 1 or 0, by the sign of its logit; -1 where that is NaN."""
    return torch.where(scores.isnan(), -1, (scores > 0).long())


@dataclass(frozen=True, eq=False)
class Pairing:
    """m hosts, and beside each one image of its own class and one of another: rows of the probe."""

    hosts: Index
    own: Index
    other: Index

    def part(self, chosen: Tensor) -> "Pairing":
        """Some of the rows."""
        return Pairing(self.hosts[chosen], self.own[chosen], self.other[chosen])

    def __add__(self, more: "Pairing") -> "Pairing":
        return Pairing(
            torch.cat([self.hosts, more.hosts]),
            torch.cat([self.own, more.own]),
            torch.cat([self.other, more.other]),
        )


def pair_up(labels: Labels, turns: range) -> Pairing:
    """Each image beside images of its own class and of others, without a random number.

    In each turn an image is beside the next one of its own class, and other classes take turns as donors,
    each with its images in turn. Images of a class that has no second one, or no other class, are left out.

    Args:
        labels: (n,) classes; those below 0 are left out.
        turns: Which turns: 0 is the first.
    """
    rows = known_rows(labels)
    classes = list(rows)
    found: list[tuple[int, int, int]] = []
    for turn in turns:
        for place, label in enumerate(classes):
            own = rows[label]
            others = [*classes[place + 1 :], *classes[:place]]
            if len(own) < 2 or not others:
                continue
            for i, host in enumerate(own):
                # As many images lie between two of its donors as there are turns of all classes.
                step = i + turn * len(own)
                donors = rows[others[step % len(others)]]
                found.append(
                    (host, own[(i + 1 + turn % (len(own) - 1)) % len(own)], donors[(i + turn) % len(donors)])
                )
    pairs = torch.tensor(found, dtype=torch.int64, device=labels.device).reshape(-1, 3)
    return Pairing(*pairs.unbind(dim=1))


def pair_up_one(labels: Labels, label: int, most: int) -> Pairing:
    """Images of other classes beside one of their own class and one of class ``label``: at most ``most``, the
    classes in turn.
    """
    rows = known_rows(labels)
    donors = rows.pop(label, [])
    able = [row for row in rows.values() if len(row) > 1]
    found: list[tuple[int, int, int]] = []
    longest = max(map(len, able), default=0)
    for i in range(2 * longest):
        for row in able:
            if i < 2 * len(row) and donors and len(found) < most:
                place, turn = i % len(row), i // len(row)
                own = row[(place + 1 + turn % (len(row) - 1)) % len(row)]
                found.append((row[place], own, donors[len(found) % len(donors)]))
    pairs = torch.tensor(found, dtype=torch.int64, device=labels.device).reshape(-1, 3)
    return Pairing(*pairs.unbind(dim=1))


def swapped(
    cue: Cue, probe: TestedProbe, hosts: Index, donors: Index, max_batch: int
) -> Iterator[tuple[Rows, Index]]:
    """Hosts with the donors' cue, clamped to the probe's range, batch by batch; and each one's row of the
    probe.
    """
    lowest, highest = probe.range
    for some, givers in zip(hosts.split(max_batch), donors.split(max_batch), strict=True):
        made = torch.clamp(cue.swap(_pair(probe, some, givers)), lowest, highest)
        yield (made if probe.images.is_floating_point() else made.round()).to(probe.images.dtype), some


def answers(
    cue: Cue, probe: TestedProbe, hosts: Index, donors: Index, ask: Ask, max_batch: int
) -> tuple[Index, PerRow]:
    """What the model answers (m,) to hosts with the donors' cue, and the probabilities of it, in [0, 1]."""
    count, ranks = len(hosts), probe.ranks
    if not count:
        return probe.labels[:0], probe.precise.new_zeros(0)
    rows = ranks.share(count, hosts.device)

    def answered() -> tuple[Tensor, Tensor]:
        found = [
            probe.read(ask(made, some))
            for made, some in swapped(cue, probe, hosts[rows], donors[rows], max_batch)
        ]
        return torch.cat([predicted for predicted, _ in found]), torch.cat([sure for _, sure in found])

    predicted, confidence = ranks.together(answered)
    return ranks.whole(predicted, count), ranks.whole(confidence, count)


def _pair(probe: TestedProbe, hosts: Index, donors: Index) -> Pair:
    masks, backgrounds = probe.objects, probe.backgrounds
    return Pair(
        probe.precise[hosts],
        probe.precise[donors],
        None if masks is None else masks[hosts],
        None if backgrounds is None else backgrounds[donors],
    )
