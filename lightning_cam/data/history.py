"""What is remembered between looks: maps at layer resolution, statistics, predictions. Bounded."""

import math
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from lightning_cam.typing import Cams, Labels, PerImage, Scores

MOST_LOOKS = 64
MOST_BYTES = 16 * 2**20


@dataclass(frozen=True, eq=False)
class Look:
    """One look at the probe.

    Args:
        epoch: -1 for the untrained model.
        step: The step that Lightning gives the scalars of that validation.
        scaled: (n, *grid) float16 on the host: each map divided by its largest absolute value; NaN where an
            image was not seen.
        peaks: (n,) those values, in the method's unit.
        predicted: (n,) predicted classes; of several labels the likeliest, of a regression 0; -1 where an
            image was not looked at.
        confidence: (n,) probability of the predicted class, in [0, 1]: softmax, of several labels and of one
            logit the sigmoid; of a regression the output itself, in its unit.
        statistics: By name, (n,) each.
        right: (n,) share of an image's labels that is answered rightly, in [0, 1]: of one label 0 or 1; NaN
            where nobody knows, and where nothing is right or wrong (a regression).
        confidences: (n, C) float16 probability of each of several labels, in [0, 1]; None for other tasks.
    """

    epoch: int
    step: int
    scaled: Tensor
    peaks: PerImage
    predicted: Labels
    confidence: PerImage
    statistics: dict[str, PerImage]
    right: PerImage
    confidences: Tensor | None = None

    @property
    def cams(self) -> Cams:
        """Raw maps (n, *grid), float32, to half precision."""
        return self.scaled.float() * _beside(self.peaks, self.scaled)

    @property
    def means(self) -> dict[str, float]:
        """Mean over the images whose value is finite, by statistic; NaN where none is."""
        return {
            name: values[values.isfinite()].double().mean().item() for name, values in self.statistics.items()
        }

    def of(self, rows: Labels) -> "Look":
        """The same look for other images: row ``rows[i]`` of this one, NaN where ``rows[i]`` is -1."""
        seen, rows = rows >= 0, rows.clamp(min=0)

        def take(values: Tensor) -> Tensor:
            fill = torch.nan if values.is_floating_point() else -1
            return torch.where(_beside(seen, values), values[rows], fill)

        statistics = {name: take(values) for name, values in self.statistics.items()}
        return replace(
            self,
            scaled=take(self.scaled),
            peaks=take(self.peaks),
            predicted=take(self.predicted),
            confidence=take(self.confidence),
            statistics=statistics,
            right=take(self.right),
            confidences=None if self.confidences is None else take(self.confidences),
        )


def remember(
    epoch: int,
    step: int,
    cams: Cams,
    predicted: Labels,
    confidence: PerImage,
    statistics: dict[str, PerImage],
    right: PerImage | None = None,
    confidences: Scores | None = None,
) -> Look:
    """A look as the history keeps it, on the host; arguments as in ``Look``, maps as they are.

    Args:
        right: None where nobody knows.
    """
    peaks = cams.abs().flatten(1).amax(dim=1)
    scaled = torch.where(_beside(peaks, cams) > 0, cams / _beside(peaks, cams), cams)
    values = {name: value.detach().float().cpu() for name, value in statistics.items()}
    return Look(
        epoch,
        step,
        scaled.half().cpu(),
        peaks.float().cpu(),
        predicted.cpu(),
        confidence.float().cpu(),
        values,
        torch.full((len(cams),), torch.nan) if right is None else right.float().cpu(),
        None if confidences is None else confidences.half().cpu(),
    )


def _beside(values: Tensor, maps: Tensor) -> Tensor:
    """One value per image (n,), shaped to stand beside its map."""
    return values.reshape(-1, *[1] * (maps.ndim - 1))


@dataclass(frozen=True, eq=False)
class History:
    """Past looks, oldest first: at most 64, and at most 16 MiB of maps, but never fewer than four.

    When full, every second one is dropped, never the first.
    """

    looks: tuple[Look, ...] = ()

    def __len__(self) -> int:
        """How many looks are kept."""
        return len(self.looks)

    def added(self, look: Look) -> "History":
        """The history with one more look."""
        looks = (*self.looks, look)
        size = look.scaled.nbytes + (0 if look.confidences is None else look.confidences.nbytes)
        most = max(4, min(MOST_LOOKS, MOST_BYTES // max(1, size)))
        return History(looks if len(looks) <= most else (*looks[:-1:2], look))

    def columns(self, most: int) -> tuple[Look, ...]:
        """First, last and those between which most changed: at most ``most`` (2 or more) of them.

        They are even in what the maps changed by, ``drift_last`` summed over the looks, and where that is not
        known, in steps.
        """
        if len(self.looks) <= most:
            return self.looks
        changes = [max(look.means.get("drift_last", math.nan), 0.0) for look in self.looks[1:]]
        known = [change for change in changes if math.isfinite(change)]
        if sum(known) > 0:
            places = list(
                accumulate((change if math.isfinite(change) else 0.0 for change in changes), initial=0.0)
            )
        else:
            places = [float(look.step) for look in self.looks]
        wanted = [places[0] + (places[-1] - places[0]) * i / (most - 1) for i in range(1, most - 1)]
        left = list(range(1, len(places) - 1))
        for place in wanted:
            left.remove(min(left, key=lambda i: abs(places[i] - place)))
        return tuple(look for i, look in enumerate(self.looks) if i not in left)

    def peaks(self, signed: bool = False) -> PerImage:
        """(n,) each image's largest value over all looks, in the method's unit; of absolute values where
        ``signed``.
        """
        looks = [look.cams.nan_to_num().flatten(1) for look in self.looks]
        return torch.stack([(cams.abs() if signed else cams).amax(dim=1) for cams in looks]).amax(dim=0)

    def state(self) -> list[dict[str, Any]]:
        """Plain tensors and primitives that ``history_from`` reads."""
        return [dict(vars(look)) for look in self.looks]


def history_from(state: list[dict[str, Any]]) -> History:
    """The history that ``History.state`` wrote."""
    return History(tuple(Look(**look) for look in state))
