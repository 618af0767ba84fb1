"""What a recorded validation step says: which network is validated on which images, which of its outputs are
scores, which part of the batch is the label, and which task that is. Nothing is guessed silently.
"""

from dataclasses import replace
from typing import Any

from torch import Tensor

from lightning_cam.data.losses import LOGITS, Answer, SeenLoss, Target
from lightning_cam.data.nested import Path, spelled
from lightning_cam.data.observed_choice import Choice, Preferences, choose
from lightning_cam.data.observed_facts import CALL, STEP, ObservedCall, ObservedLabel
from lightning_cam.data.observed_normalization import normalization_between
from lightning_cam.data.observed_step import StepRecord
from lightning_cam.data.observed_task import NONE, task_of_labels, task_of_loss
from lightning_cam.data.observed_words import alternatives, sentences, wrong_network
from lightning_cam.data.recorded_calls import ImageArgument
from lightning_cam.data.recorded_parts import is_image_like, thinned


def observed_call(record: StepRecord, preferences: Preferences | None = None) -> ObservedCall:
    """What the recorded step validates.

    Args:
        preferences: What the user said; it wins.
    """
    if record.trouble is not None:
        seen = ObservedCall(record=record, is_assumed=True)
        return replace(seen, sentences=sentences(seen, None))
    preferences = preferences or Preferences()
    choice = choose(record, preferences)
    if choice is None and preferences.network is not None:
        seen = ObservedCall(record=record, is_assumed=True)
        return replace(seen, sentences=(wrong_network(record, preferences.network),))
    if choice is None:
        seen = _without_call(record)
        return replace(seen, sentences=sentences(seen, None))
    call, leaf, image = choice.call, choice.leaf, choice.image
    answer = _answer(choice)
    way = STEP if choice.needs_step and answer is not None else CALL
    shape = answer.shape if way == STEP and answer is not None else leaf.shape if leaf else ()
    same = choice.loss.answer.same if choice.loss else {}
    activations = (
        next((same[output] for output in sorted(leaf.same, key=str) if output in same), ()) if leaf else ()
    )
    form = choice.loss.kind.takes if choice.loss else ""
    seen = ObservedCall(
        record=record,
        way=way,
        call=call,
        image=image,
        image_part=_image_part(record, image),
        scores=leaf.path if leaf is not None and way == CALL else None,
        shape=shape,
        form=LOGITS if activations and way == CALL else form,
        loss=choice.loss.name if choice.loss else None,
        answer=answer,
        is_dense=len(shape) > 2,
        is_assumed=choice.loss is None,
        normalization=_normalization(record, image),
    )
    seen = replace(seen, **_label_and_task(record, choice, shape, activations))
    return replace(seen, alternatives=alternatives(choice), sentences=sentences(seen, choice))


def _answer(choice: Choice) -> Answer | None:
    if choice.loss is not None:
        return choice.loss.answer
    return choice.decision


def _image_part(record: StepRecord, image: ImageArgument | None) -> Path | None:
    if image is None:
        return None
    if image.part is not None:
        return image.part
    like_images = [
        part for part in sorted(image.parts, key=str) if is_image_like(record.parts.originals[part])
    ]
    return like_images[0] if like_images else None


def _normalization(record: StepRecord, image: ImageArgument | None) -> tuple[Tensor, Tensor] | None:
    part = _image_part(record, image)
    if image is None or image.images is None or image.part is not None or part is None:
        return None
    before = record.parts.pixels_before(part)
    return None if before is None else normalization_between(before, thinned(image.images))


def _label_and_task(
    record: StepRecord, choice: Choice, shape: tuple[int, ...], activations: tuple[str, ...]
) -> dict[str, Any]:
    if choice.loss is not None:
        label, source = _label(record, choice.loss.target, shape)
        return {"label": label, "task": task_of_loss(choice.loss, source, activations)}
    if choice.meeting is not None and not choice.compares_pairs:
        label, source = _assumed_label(record, choice.meeting.target, shape)
        return {"label": label, "task": task_of_labels(choice.meeting.target, source, shape)}
    return {"label": None, "task": NONE}


def _label(record: StepRecord, target: Target, shape: tuple[int, ...]) -> tuple[ObservedLabel, Tensor | None]:
    """The label, and the part of the batch that it comes from."""
    parts = sorted(target.origin.parts, key=str)
    no_images = [part for part in parts if not is_image_like(record.parts.originals[part])] or parts
    part = target.part if target.part is not None else no_images[0] if len(no_images) == 1 else None
    named = no_images if part is None else [part]
    source = None if part is None else record.parts.small.get(part, record.parts.originals[part])
    has_all_rows = target.shape[:1] == shape[:1]
    is_plain = target.part is not None or (not has_all_rows and _are_rows_of(target.values, source))
    label = ObservedLabel(
        part=part,
        is_plain=is_plain,
        values=target.values if has_all_rows else None,
        name=" and ".join(spelled(record.parts.batch, one, "batch") for one in named),
    )
    return label, source


def _assumed_label(
    record: StepRecord, target: Target, shape: tuple[int, ...]
) -> tuple[ObservedLabel, Tensor | None]:
    """Likewise of what the scores first meet. A metric may compute what it compares: numbers that are no
    classes are not believed, the part itself is.
    """
    label, source = _label(record, target, shape)
    columns = shape[1] if len(shape) == 2 else 0
    are_numbers = label.values is not None and not label.is_plain and target.is_whole and columns > 1
    if are_numbers and source is not None and int(label.values.max()) >= columns:  # type: ignore[union-attr]
        return replace(label, is_plain=True, values=source), source
    return label, source


def _are_rows_of(values: Tensor | None, source: Tensor | None) -> bool:
    """Whether ``values`` are some of the rows of ``source``, in order."""
    if values is None or source is None or values.shape[1:] != source.shape[1:] or not values.ndim:
        return False
    rows = iter(source.tolist())
    return all(any(row == other for other in rows) for row in values.tolist())


def _without_call(record: StepRecord) -> ObservedCall:
    """No single call yields what the loss takes: a list of images, or a network that takes no hooks."""
    loss = next(
        (one for one in record.losses if one.target.origin.parts and not one.target.origin.calls), None
    )
    if loss is None:
        return ObservedCall(record=record, is_assumed=True)
    label, source = _label(record, loss.target, loss.answer.shape)
    seen = ObservedCall(
        record=record,
        shape=loss.answer.shape,
        form=loss.kind.takes,
        loss=loss.name,
        label=label,
        task=task_of_loss(loss, source),
        is_dense=len(loss.answer.shape) > 2,
    )
    networks = [call for call in record.calls if call.number in loss.answer.origin.calls and call.done]
    images = _images_behind(record, loss)
    if not networks or images is None:
        return seen
    return replace(seen, way=STEP, call=networks[0], image_part=images, answer=loss.answer)


def _images_behind(record: StepRecord, loss: SeenLoss) -> Path | None:
    parts = sorted(loss.answer.origin.parts, key=str)
    stacked = [part for part in parts if is_image_like(record.parts.originals[part])]
    listed = record.parts.listed_images()
    return stacked[0] if stacked else listed if any(part[:-1] == listed for part in parts) else None
