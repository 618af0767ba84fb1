"""The probe: the fixed images that are looked at, as the network gets them."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lightning_cam.checks import (
    Normalization,
    as_plain,
    check_class_names,
    check_images,
    check_labels,
    class_name,
    plain_labels,
)
from lightning_cam.selectors import describe
from lightning_cam.typing import GivenTruth, Images, Masks


@dataclass(frozen=True, eq=False)
class Probe:
    """The probe batch: images as the network gets them, normalized already. Plain tensors, whatever came.

    Args:
        images: (n, c, H, W); volumes (n, c, D, H, W); signals (n, c, T).
        labels: (n,) true classes; (n, C) zeros and ones where an image may have several, NaN where nobody
            knows; (n,) or (n, C) numbers of a regression; or None. Kept as int64 (n,), else as float32.
        masks: (n, H, W) where the object is, or None; of volumes and signals likewise one value per position.
        class_names: One name per class, or None.

    Raises:
        ValueError: A shape does not fit, labels are infinite, there are no images, or an image is not finite.
        TypeError: Something is not a tensor.

    Example:
        >>> import torch
        >>> probe = Probe(torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 0, 1]), class_names=("cat", "dog"))
        >>> len(probe), probe.name(1)
        (4, 'dog')
    """

    images: Images
    labels: GivenTruth | None = None
    masks: Masks | None = None
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_images(self.images)
        count, size = len(self.images), tuple(self.images.shape[2:])
        check_labels(self.labels, count, several=True)
        if self.masks is not None and not (
            isinstance(self.masks, Tensor) and tuple(self.masks.shape) == (count, *size)
        ):
            raise ValueError(
                f"masks: got {describe(self.masks)} for images {tuple(self.images.shape)}; "
                f"give truth values {(count, *size)}."
            )
        names = check_class_names(self.class_names)
        # Frozen: plain forms are set once, here.
        object.__setattr__(self, "images", as_plain(self.images))
        if self.labels is not None:
            object.__setattr__(self, "labels", plain_labels(as_plain(self.labels)))
        if self.masks is not None:
            object.__setattr__(self, "masks", as_plain(self.masks) != 0)
        object.__setattr__(self, "class_names", names)

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
        """Plain tensors and primitives that ``probe_from`` reads; images as uint8 where that loses
        nothing.
        """
        images = self.images.detach().cpu()
        state: dict[str, Any] = {
            "labels": _cpu(self.labels),
            "masks": _cpu(self.masks),
            "class_names": self.class_names,
        }
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
