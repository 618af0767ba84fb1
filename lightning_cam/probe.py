"""The probe batch: the fixed images that are looked at. Given by the user, or chosen by counting classes."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lightning_cam.reading import Normalization, Reading, class_name, describe
from lightning_cam.typing import Images, Labels, Masks

GOLDEN_RATIO = 0x9E3779B97F4A7C15  # its fraction in 64 bits: multiples of it spread evenly


@dataclass(frozen=True, eq=False)
class Probe:
    """The probe batch: images as the network gets them, normalized already.

    Args:
        images: (n, c, H, W); volumes (n, c, D, H, W); signals (n, c, T).
        labels: (n,) true classes, or None.
        masks: (n, H, W) where the object is, or None; of volumes and signals likewise one value per position.
        class_names: One name per class, or None.

    Raises:
        ValueError: A shape does not fit, there are no images, or an image is not finite.
        TypeError: Something is not a tensor.

    Example:
        >>> import torch
        >>> probe = Probe(torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 0, 1]), class_names=("cat", "dog"))
        >>> len(probe), probe.name(1)
        (4, 'dog')
    """

    images: Images
    labels: Labels | None = None
    masks: Masks | None = None
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_images(self.images)
        count, size = len(self.images), tuple(self.images.shape[2:])
        check_labels(self.labels, count)
        if self.masks is not None and not (isinstance(self.masks, Tensor) and tuple(self.masks.shape) == (count, *size)):
            raise ValueError(
                f"masks: got {describe(self.masks)} for images {tuple(self.images.shape)}; give truth values {(count, *size)}."
            )
        if isinstance(self.class_names, str):
            raise TypeError(f"class_names: got {self.class_names!r}; give one name per class, in a list.")
        # Frozen: plain forms are set once, here.
        if self.labels is not None:
            object.__setattr__(self, "labels", self.labels.long())
        if self.masks is not None:
            object.__setattr__(self, "masks", self.masks != 0)
        if self.class_names is not None:
            object.__setattr__(self, "class_names", tuple(str(name) for name in self.class_names))

    def __len__(self) -> int:
        """How many images."""
        return len(self.images)

    def to(self, device: torch.device | str) -> "Probe":
        """The same probe on another device."""
        labels, masks = (None if part is None else part.to(device) for part in (self.labels, self.masks))
        return Probe(self.images.to(device), labels, masks, self.class_names)

    def name(self, label: int) -> str:
        """The class' name, or its number."""
        return class_name(self.class_names, label)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the images: equal for the same images, and telling nothing of them."""
        return hashlib.sha256(_bytes(self.images)).hexdigest()

    def state(self, normalization: Normalization | None = None) -> dict[str, Any]:
        """Plain tensors and primitives that ``probe_from`` reads; images as uint8 where that loses nothing."""
        images = self.images.detach().cpu()
        state: dict[str, Any] = {"labels": _cpu(self.labels), "masks": _cpu(self.masks), "class_names": self.class_names}
        if images.dtype == torch.uint8:
            return {**state, "images": images.clone()}
        exact, dtype = _bytes(images), str(images.dtype).removeprefix("torch.")
        for mean, std in filter(None, [((0.0,), (1.0,)), normalization]):
            mean_std = torch.tensor([mean, std], dtype=torch.float32)
            if len(mean) not in (1, images.shape[1]):
                continue
            levels = _levels(images, mean_std)
            for factor in (0.0, 1.0 / 255):
                if _bytes(_normalized(levels, mean_std, factor, dtype)) == exact:
                    return {**state, "images": levels, "mean_std": mean_std, "factor": factor, "dtype": dtype}
        return {**state, "images": images.clone()}


def probe_from(state: dict[str, Any]) -> Probe:
    """The probe that ``Probe.state`` wrote, exactly."""
    images = state["images"]
    if "mean_std" in state:
        images = _normalized(images, state["mean_std"], state["factor"], state["dtype"])
    return Probe(images, state["labels"], state["masks"], state["class_names"])


def check_images(images: Any) -> None:
    """Accepts finite images (n, c, H, W), volumes (n, c, D, H, W) or signals (n, c, T), n > 0.

    Raises:
        TypeError: ``images`` is not a tensor.
        ValueError: Wrong rank, no images, or values that are not finite.
    """
    if not isinstance(images, Tensor):
        raise TypeError(f"images: got {describe(images)}; give a tensor (n, c, H, W).")
    if images.ndim not in (3, 4, 5) or 0 in images.shape:
        raise ValueError(f"images: got {describe(images)}; give a tensor (n, c, H, W) with at least one image.")
    # A sum of values that are not finite is not finite, and needs no memory of the images' size.
    broken = (~images.flatten(1).sum(dim=1, dtype=torch.float32).isfinite()).nonzero()
    if len(broken):
        raise ValueError(f"images: image {int(broken[0])} holds values that are not finite (NaN or inf); mend or drop it.")


def check_labels(labels: Any, count: int, several: bool = False) -> None:
    """Accepts None, or whole numbers (n,), one per image.

    Args:
        several: Whether zeros and ones (n, C) will do, for images with several labels.

    Raises:
        ValueError: Another shape or dtype, or no tensor.
    """
    whole = isinstance(labels, Tensor) and labels.shape == (count,) and not labels.is_floating_point()
    multi_hot = (
        isinstance(labels, Tensor) and labels.ndim == 2 and len(labels) == count and bool(((labels == 0) | (labels == 1)).all())
    )
    if labels is not None and not whole and not (several and multi_hot):
        raise ValueError(f"labels: got {describe(labels)} for {count} images; give whole numbers of shape ({count},).")


@dataclass
class Collector:
    """Chooses a class-balanced probe from batches that pass by, by counting, without a random number.

    It holds at most ``size`` images. Once full, an image of a class with fewer images replaces the newest of the class with most.
    Where there are more classes than places, a fixed hash of the class decides, so that a loader sorted by class does not fill the
    probe with its first classes.
    """

    size: int
    chosen: list["_Candidate"] = field(default_factory=list)
    skipped: int = 0  # of another shape
    broken: int = 0  # not finite
    serial: int = 0
    rehearsed: int = 0

    def offer(self, reading: Reading) -> None:
        """Takes what it wants from a batch, as copies."""
        count = len(reading.images)
        labels = [0] * count if reading.labels is None else reading.labels.tolist()
        for i, label in enumerate(labels):
            place = self._place(label)
            if place is None:
                continue
            mask = None if reading.masks is None else reading.masks[i]
            candidate = _Candidate(self.serial, None if reading.labels is None else label, reading.images[i], mask)
            if self.chosen and not candidate.fits(self.chosen[0]):
                self.skipped += 1
            elif not candidate.image.isfinite().all():
                self.broken += 1
            elif not self._known(candidate):
                self.chosen[place:] = [*self.chosen[place + 1 :], candidate.copy()]
                self.serial += 1

    def end_rehearsal(self) -> None:
        """What was chosen so far has been looked at; offered again, it is known."""
        self.rehearsed = self.serial
        self.skipped = self.broken = 0

    def start_again(self) -> None:
        """A validation begins: what an interrupted one left is dropped, what was rehearsed stays."""
        self.chosen = [candidate for candidate in self.chosen if candidate.serial < self.rehearsed]
        self.skipped = self.broken = 0

    def probe(self, class_names: tuple[str, ...] | None = None) -> tuple[Probe, list[int]]:
        """The probe, classes in turn, and each image's serial number."""
        rounds: dict[int | None, int] = {}
        order = []
        for candidate in self.chosen:
            rounds[candidate.label] = rounds.get(candidate.label, -1) + 1
            order.append((rounds[candidate.label], candidate.label or 0, candidate.serial))
        chosen = [candidate for _, candidate in sorted(zip(order, self.chosen, strict=True), key=lambda pair: pair[0])]
        with torch.inference_mode(False):  # under validate(), what is made would serve no later training
            labels = None if chosen[0].label is None else torch.tensor([c.label for c in chosen], device=chosen[0].image.device)
            masks = None if chosen[0].mask is None else torch.stack([c.mask for c in chosen if c.mask is not None])
            probe = Probe(torch.stack([c.image for c in chosen]), labels, masks, class_names)
        return probe, [candidate.serial for candidate in chosen]

    def _place(self, label: int) -> int | None:
        """Where an image of this class would go: the end, the place of one that leaves, or nowhere."""
        if len(self.chosen) < self.size:
            return len(self.chosen)
        counts: dict[int, int] = {}
        for candidate in self.chosen:
            counts[candidate.label or 0] = counts.get(candidate.label or 0, 0) + 1
        most = max(counts, key=lambda known: (counts[known], _spread(known)))
        gain = counts[most] - counts.get(label, 0)
        if gain < 1 or (gain == 1 and (counts[most] > 1 or _spread(label) > _spread(most))):
            return None
        return max(i for i, candidate in enumerate(self.chosen) if (candidate.label or 0) == most)

    def _known(self, candidate: "_Candidate") -> bool:
        rehearsed = (c for c in self.chosen if c.serial < self.rehearsed and c.label == candidate.label)
        return any(torch.equal(known.image, candidate.image) for known in rehearsed)


@dataclass(frozen=True, eq=False)
class _Candidate:
    serial: int
    label: int | None
    image: Tensor
    mask: Tensor | None

    def fits(self, other: "_Candidate") -> bool:
        """Whether both can stand in one batch."""
        return (self.image.shape, self.label is None, self.mask is None) == (
            other.image.shape,
            other.label is None,
            other.mask is None,
        )

    def copy(self) -> "_Candidate":
        """The same with tensors of its own: the user's step may change the batch, and inference tensors serve no later training."""
        with torch.inference_mode(False):
            return replace(self, image=self.image.clone(), mask=None if self.mask is None else self.mask.clone())


def _spread(label: int) -> int:
    """A fixed hash that spreads neighbouring classes."""
    return (label + 1) * GOLDEN_RATIO % 2**64


def _cpu(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().cpu().clone()


def _bytes(images: Tensor) -> bytes:
    return images.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _levels(images: Tensor, mean_std: Tensor) -> Tensor:
    mean, std = mean_std.reshape(2, 1, -1, *[1] * (images.ndim - 2))
    return ((images.float() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)


def _normalized(levels: Tensor, mean_std: Tensor, factor: float, dtype: str) -> Tensor:
    """As torchvision does it, to the last bit: v1 divides by 255 (factor 0), v2 multiplies by 1 / 255."""
    mean, std = mean_std.reshape(2, 1, -1, *[1] * (levels.ndim - 2))
    scaled = levels.float().mul(factor) if factor else levels.float().div(255)
    return scaled.sub(mean).div(std).to(getattr(torch, dtype))
