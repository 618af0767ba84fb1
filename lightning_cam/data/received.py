"""What the network received, and what its answer was compared with: of the observed batch, and of others."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from lightning_cam.data.nested import Path, leaves, mapped, part_at
from lightning_cam.data.observed_facts import STEP, ObservedCall
from lightning_cam.data.observed_task import BINARY, MULTICLASS, MULTILABEL, NONE, REGRESSION
from lightning_cam.data.recorded_parts import copied
from lightning_cam.data.replay import ReachedError, Stop, observed_images, quiet


def batch_before(seen: ObservedCall) -> Any:
    """The observed batch as it was before the step, which may have written into it."""
    parts = seen.record.parts

    def before(path: Path, tensor: Tensor) -> Tensor:
        image = parts.image_before(path)
        return image if image is not None else parts.small.get(path, tensor)

    return mapped(parts.batch, before)


def of_observed_batch(seen: ObservedCall) -> tuple[Tensor | None, Tensor | None]:
    """Images and labels of the observed batch; None where there are none, or where they were not kept.

    Images are those that the network received; where the step itself is run, those of the batch. Labels are
    what the loss got.
    """
    label = seen.label
    if label is None:
        return observed_images(seen), None
    values = label.values
    if values is None and label.is_plain and label.part is not None:
        values = seen.record.parts.small.get(label.part, seen.record.parts.originals[label.part])
    return observed_images(seen), values


def reads_parts(seen: ObservedCall) -> bool:
    """Whether images and labels of other batches are plain parts of them, so that no step need run."""
    image = seen.image_part if seen.way == STEP else None if seen.image is None else seen.image.part
    return image is not None and (seen.label is None or seen.label.is_plain)


def of_parts(seen: ObservedCall, batch: Any) -> tuple[Tensor, Tensor | None]:
    """Images and labels of another batch, where both are plain parts of it.

    Raises:
        KeyError: The batch is built otherwise than the observed one.
    """
    path = seen.image_part if seen.way == STEP else seen.image.part if seen.image else None
    images = part_at(batch, path or ())
    if not isinstance(images, Tensor):
        images = torch.stack([copied(image) for image in images])
    return images, labels_of(seen, batch)


def labels_of(seen: ObservedCall, batch: Any) -> Tensor | None:
    """The labels of another batch, where they are a plain part of it; else None.

    Raises:
        KeyError: The batch is built otherwise than the observed one.
    """
    label = seen.label
    return None if label is None or label.part is None or not label.is_plain else part_at(batch, label.part)


def of_step(
    seen: ObservedCall, module: Any, batch: Any, context: Callable[[], AbstractContextManager[Any]]
) -> tuple[Tensor | None, Tensor | None]:
    """Images and labels of another batch, by running the user's step on it up to its loss.

    Args:
        context: Made around the step: precision, and no trace afterwards.

    Raises:
        ValueError: The step never gave the network images, or never came to its loss.
    """
    record, call = seen.record, seen.call
    copy = mapped(batch, lambda place, tensor: copied(tensor))  # the step may write into it
    received: list[Tensor] = []
    with context(), torch.no_grad(), quiet(module), ExitStack() as stack:
        if call is not None and seen.image is not None:
            runs = sum(one.module is call.module for one in record.calls[: call.number])
            place = seen.image.place
            stack.enter_context(_receiving(call.module, place, runs, received, ends=seen.answer is None))
        stop = None if seen.answer is None else stack.enter_context(Stop(seen.answer.moment))
        with suppress(ReachedError):
            record.run_again(copy)
    given = None if stop is None else stop.arguments
    if not received and seen.way != STEP:
        raise ValueError("images: the step gave the network none of this batch; say where with images=.")
    images = part_at(batch, seen.image_part or ()) if seen.way == STEP else received[0]
    images = images if isinstance(images, Tensor) else None  # a list of images is no batch of them
    return images, None if given is None else _target(seen, given)


@contextmanager
def _receiving(
    module: nn.Module, place: Path, run: int, received: list[Tensor], ends: bool
) -> Iterator[None]:
    """Keeps the images of the how manieth run of ``module``."""
    count = 0

    def receive(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        nonlocal count
        if count == run:
            received.append(copied(part_at((args, kwargs), place)))
            if ends:
                raise ReachedError
        count += 1

    handle = module.register_forward_pre_hook(receive, prepend=True, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _target(seen: ObservedCall, given: tuple[tuple, dict[str, Any]]) -> Tensor | None:
    """What the loss, or the comparison, was given beside the answer."""
    if seen.answer is None or seen.label is None:
        return None
    others = [tensor for place, tensor in leaves(given) if place != seen.answer.moment.argument]
    known = seen.label.values
    like = [one for one in others if known is None or one.shape[1:] == known.shape[1:]]
    return copied(like[0]) if like else None


def as_labels(values: Tensor | None, task: str, count: int) -> Tensor | None:
    """Labels as the task has them: (n,) whole numbers of one class per image, else float32; as they are where
    the task is not known;
    None where there is not one for each of ``count`` images.
    """
    if values is None or task == NONE or not values.ndim or len(values) != count:
        return None
    values = copied(values)
    if task == MULTICLASS:
        if values.ndim == 2 and values.shape[1] > 1:  # one-hot, or mixed: the class with the largest share
            return values.argmax(dim=1)
        return values.reshape(count).long() if values.numel() == count else None
    if task == BINARY:
        return (values.reshape(count) > 0.5).long() if values.numel() == count else None
    plain = values.reshape(count, -1).squeeze(1) if values.ndim <= 2 else None
    # Bytes, truth values and doubles alike, as the batch may have them otherwise than the loss.
    return plain.float() if plain is not None and task in (MULTILABEL, REGRESSION) else plain
