"""Which probe image receives a cue from which, and what the model answers to the transplants."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from lightning_cam.attribution.task import class_probabilities
from lightning_cam.distributed import ALONE, Ranks
from lightning_cam.shortcuts.class_means import ClassMeans, Weighted, weighted
from lightning_cam.shortcuts.counts import label_answers
from lightning_cam.shortcuts.cues import Cue, Pair
from lightning_cam.shortcuts.features import dilated
from lightning_cam.shortcuts.label_effects import LabelEffects
from lightning_cam.typing import Flags, Images, Index, Labels, Masks, Outputs, Rows, Saliency

Ask = Callable[[Rows, Index], Outputs]  # (images, which probe image each is of) -> scores (m, C)


@dataclass(frozen=True, eq=False)
class TestedProbe:
    """The probe, on the model's device, with all that cues may need.

    Args:
        labels: (n,) true classes; or, of several labels per image, those that are tested: (n, K) zeros and
            ones, -1 where one is not known.
        predicted: What the model answers to the images as they are, likewise.
        means: Class means, over the validation or over the probe; of several labels what each adds.
        among: Whether the probe's images are all that is behind the means: then each host is left out of its
            own class.
        ranks: The processes among which transplants are shared.
        columns: Of several labels per image, which columns of the scores are tested; None where an image has
            one class.
        left_out: Those that are not.
    """

    images: Images
    labels: Labels | Flags
    predicted: Labels | Flags
    masks: Masks | None
    saliency: Saliency | None
    means: ClassMeans | LabelEffects
    among: bool
    ranks: Ranks = ALONE
    columns: tuple[int, ...] | None = None
    left_out: tuple[int, ...] = ()

    @property
    def right(self) -> Tensor:
        """(n,) which images the model gets right, or (n, K) for which labels: only these are hosts, as a weak
        model would seem to follow anything.
        """
        return (self.predicted == self.labels) & (self.labels >= 0)

    @property
    def hosts(self) -> int:
        """How many images are hosts, of several labels for one of them at least."""
        return int((self.right if self.columns is None else self.right.any(dim=1)).sum())

    def read(self, scores: Outputs) -> tuple[Tensor, Tensor]:
        """What scores (m, C) answer, and the probability of it: (m,) classes, or (m, K) labels."""
        if self.columns is None:
            best = class_probabilities(scores).max(dim=1)
            return best.indices, best.values
        return label_answers(scores[:, list(self.columns)])

    def of_label(self, place: int) -> "TestedProbe":
        """The label in column ``place`` of the tested ones against the rest, as two classes."""
        return replace(self, labels=self.labels[:, place], predicted=self.predicted[:, place], columns=None)

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


@dataclass(frozen=True, eq=False)
class Pairing:
    """m hosts and m donors, as rows of the probe."""

    hosts: Index
    donors: Index


def plan(
    subjects: TestedProbe,
    classes: Collection[int],
    per_host: int,
    only: int | None = None,
) -> Pairing:
    """Each right host of ``classes`` beside ``per_host`` donors of other classes, all in turn, without a
    random number.

    Args:
        only: The only class that donors have.
    """
    labels, right = subjects.labels.tolist(), subjects.right.tolist()
    rows = {
        label: [i for i, own in enumerate(labels) if own == label]
        for label in sorted(set(classes) & set(labels))
    }
    used = dict.fromkeys(rows, 0)
    hosts, donors = [], []
    for place, own in enumerate(rows.values()):
        others = [other for other in (*list(rows)[place + 1 :], *list(rows)[:place]) if only in (None, other)]
        turn = 0
        for host in own:
            if not right[host]:
                continue
            for _ in range(min(per_host, len(others))):
                other = others[turn % len(others)]
                turn += 1
                hosts.append(host)
                donors.append(rows[other][used[other] % len(rows[other])])
                used[other] += 1
    device = subjects.labels.device
    return Pairing(
        torch.tensor(hosts, dtype=torch.int64, device=device),
        torch.tensor(donors, dtype=torch.int64, device=device),
    )


def shams(cue: Cue, subjects: TestedProbe, pairs: Pairing) -> Pairing:
    """The same hosts, with donors of the hosts' own classes; of class means, which have no donor image, the
    same pairs.
    """
    if cue.feature:
        return pairs
    labels = subjects.labels.tolist()
    rows = {label: [i for i, own in enumerate(labels) if own == label] for label in set(labels)}
    own = [rows[labels[host]] for host in pairs.hosts.tolist()]
    several = [
        (host, row[(row.index(host) + 1) % len(row)])
        for host, row in zip(pairs.hosts.tolist(), own, strict=True)
        if len(row) > 1
    ]
    found = torch.tensor(several, dtype=torch.int64, device=pairs.hosts.device).reshape(-1, 2)
    return Pairing(found[:, 0], found[:, 1])


def transplants(
    cue: Cue, subjects: TestedProbe, pairs: Pairing, max_batch: int, sham: bool = False
) -> Iterator[tuple[Rows, Index]]:
    """Hosts with the donors' cue, clamped to the probe's range, batch by batch; and each one's row of the
    probe.

    Args:
        sham: Take class means the other way round: a change as large, away from the donor's class.
    """
    lowest, highest = subjects.range
    is_left_out = cue.feature and subjects.among and isinstance(subjects.means, ClassMeans)
    own = weighted(cue.feature, subjects.images, subjects.masks) if is_left_out else None
    for hosts, donors in zip(pairs.hosts.split(max_batch), pairs.donors.split(max_batch), strict=True):
        pair = _pair(cue, subjects, hosts, donors, own)
        if sham and cue.feature:
            pair = replace(pair, host_mean=pair.donor_mean, donor_mean=pair.host_mean)
        made = torch.clamp(cue(pair), lowest, highest)
        yield (made if subjects.images.is_floating_point() else made.round()).to(subjects.images.dtype), hosts


def answers(
    cue: Cue, subjects: TestedProbe, pairs: Pairing, ask: Ask, max_batch: int, sham: bool = False
) -> tuple[Tensor, Tensor]:
    """What the model answers to the transplants, and the probabilities of it, in [0, 1]: (m,) classes, or of
    several labels (m, K).
    """
    count, ranks = len(pairs.hosts), subjects.ranks
    if not count:
        return subjects.labels[:0], subjects.precise.new_zeros(subjects.labels[:0].shape)
    rows = ranks.share(count, pairs.hosts.device)
    own = Pairing(pairs.hosts[rows], pairs.donors[rows])

    def answered() -> tuple[Tensor, Tensor]:
        found = [
            subjects.read(ask(made, hosts))
            for made, hosts in transplants(cue, subjects, own, max_batch, sham)
        ]
        return torch.cat([predicted for predicted, _ in found]), torch.cat([sure for _, sure in found])

    predicted, confidence = ranks.together(answered)
    return ranks.whole(predicted, count), ranks.whole(confidence, count)


def _pair(cue: Cue, subjects: TestedProbe, hosts: Index, donors: Index, own: Weighted | None) -> Pair:
    def both(part: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        return (None, None) if part is None else (part[hosts], part[donors])

    means: tuple[Tensor | None, Tensor | None] = (None, None)
    average = subjects.means
    if cue.feature and isinstance(average, ClassMeans):
        without = None if own is None else (own[0][hosts], own[1][hosts])
        means = (
            average.of(cue.feature, subjects.labels[hosts], without),
            average.of(cue.feature, subjects.labels[donors]),
        )
    elif cue.feature and isinstance(average, LabelEffects):
        means = average.of(cue.feature, hosts, donors)
    images = subjects.precise
    return Pair(images[hosts], images[donors], *means, *both(subjects.objects), *both(subjects.saliency))
