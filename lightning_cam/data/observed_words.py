"""What a user is told of his own validation step."""

from torch import Tensor

from lightning_cam.data.nested import Path, spelled
from lightning_cam.data.observed_choice import Choice
from lightning_cam.data.observed_facts import STEP, Alternative, ObservedCall
from lightning_cam.data.observed_step import StepRecord
from lightning_cam.data.observed_task import is_ordered
from lightning_cam.data.recorded_calls import Call, ImageArgument

UNSEEN_NETWORK = "could not see which network your validation_step runs; assumed self(images)"
DENSE = "your scores are one for each class and place; target=region(channel)"
NORMAL_DIGITS = 3
NEGLIGIBLE = 1e-5


def network_name(call: Call) -> str:
    """As the user would write it."""
    return f"self.{call.name}" if call.name else "self"


def sentences(seen: ObservedCall, choice: Choice | None) -> tuple[str, ...]:
    """First what is explained, then what the user should know."""
    record = seen.record
    if seen.call is None or choice is None:
        return (_explained(seen, choice) if seen.way == STEP else _unseen(record),)
    said = [_explained(seen, choice)]
    said += image_facts(seen)
    said += _of_networks(choice)
    said += _of_outputs(choice)
    said += _of_labels(seen, choice)
    return tuple(said)


def alternatives(choice: Choice) -> tuple[Alternative, ...]:
    """What else could be explained, with the argument that chooses it."""
    found = [Alternative("network", name) for name in _other_networks(choice)]
    if choice.image is not None:
        parts = [image.part for image in _other_images(choice) if image.part is not None]
        found += [Alternative("images", part[0] if len(part) == 1 else part) for part in parts]
    leaves = [*choice.others, *(leaf for leaf in choice.asked if leaf is not choice.leaf)]
    found += [Alternative("scores", leaf.path[0] if len(leaf.path) == 1 else leaf.path) for leaf in leaves]
    return tuple(dict.fromkeys(found))


def wrong_network(record: StepRecord, network: str) -> str:
    """That the network which was asked for takes no images in the step."""
    called = [call.name for call in record.calls if call.images and call.has_parameters]
    outer = ", ".join(repr(name) for name in dict.fromkeys(called[:5])) or "none"
    return f"network: your validation_step gives no images to {network!r}; it gives some to {outer}"


def disagreement(seen: ObservedCall, labels: Tensor | None) -> str:
    """That the labels which were asked for are not those that the loss gets; "" where they are, or where
    nothing is known.
    """
    if seen.label is None or seen.label.values is None or labels is None:
        return ""
    values = seen.label.values
    if values.numel() == labels.numel() and bool((values.flatten() == labels.flatten()).all()):
        return ""
    compares = f"your {seen.loss} compares" if seen.loss else "your step compares the scores"
    return f"labels: other numbers than {compares} with, which come from {seen.label.name}"


def _unseen(record: StepRecord) -> str:
    if record.trouble is not None:
        return f"{UNSEEN_NETWORK} ({type(record.trouble).__name__}: {record.trouble})"
    return UNSEEN_NETWORK


def _explained(seen: ObservedCall, choice: Choice | None) -> str:
    record, call = seen.record, seen.call
    images = _image_words(record, seen)
    if seen.way == STEP:
        takes = f"your {seen.loss} takes" if seen.loss else "your step decides on"
        words = f"explains what {takes}, which your step computes from {images}"
    else:
        words = f"explains {_output_words(seen.scores or ())}{network_name(call)}({images})" if call else ""
    if seen.loss is not None and seen.label is not None:
        label = seen.label.name if seen.label.is_plain else f"what your step computes from {seen.label.name}"
        return f"{words}{' and' if seen.way == STEP else ', which your ' + seen.loss} compares with {label}"
    if seen.label is not None and choice is not None and choice.meeting is not None:
        return (
            f"{words}; no loss was seen: {seen.label.name}, with which your step first compares it "
            f"({choice.meeting.name.strip('_')}), is assumed to be the label"
        )
    return words


def _image_words(record: StepRecord, seen: ObservedCall) -> str:
    if seen.image is not None and seen.image.part is None and seen.way != STEP:
        return "images"
    if seen.image_part is None:
        return "images"
    return spelled(record.parts.batch, seen.image_part, "batch")


def _output_words(path: Path) -> str:
    if not path:
        return ""
    shown = ", ".join(f'"{step}"' if isinstance(step, str) else str(step) for step in path)
    return f"output {shown} of "


def image_facts(seen: ObservedCall) -> list[str]:
    """What the step does to the batch's images before the network gets them."""
    record, image = seen.record, seen.image
    if image is None or image.part is not None or seen.way == STEP:
        return []
    if seen.image_part is None:
        return ["your step gives the network images that do not come from the batch; those are shown"]
    name = spelled(record.parts.batch, seen.image_part, "batch")
    if seen.normalization is not None and _changes_nothing(*seen.normalization):
        return []  # another dtype, or channels last
    if seen.normalization is not None:
        mean, std = (
            ", ".join(f"{value:.{NORMAL_DIGITS}g}" for value in part.tolist()) for part in seen.normalization
        )
        return [f"your step normalizes {name}: mean {mean}, standard deviation {std}"]
    before, after = record.parts.originals[seen.image_part].shape, image.shape
    changed = "" if before[2:] == after[2:] else f" ({_size(before)} -> {_size(after)})"
    return [f"your step gives the network images computed from {name}{changed}; those are shown"]


def _changes_nothing(mean: Tensor, std: Tensor) -> bool:
    return bool((mean.abs() < NEGLIGIBLE).all()) and bool(((std - 1).abs() < NEGLIGIBLE).all())


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape[2:]))


def _other_networks(choice: Choice) -> list[str]:
    calls = [call for call in choice.calls if call.module is not choice.call.module]
    return list(dict.fromkeys(call.name for call in calls))


def _other_images(choice: Choice) -> list[ImageArgument]:
    runs = [call for call in choice.calls if call.module is choice.call.module and call is not choice.call]
    images = [*choice.call.images, *(image for call in runs for image in call.images)]
    shown = choice.image
    others = {image.part or image.place: image for image in images if image is not shown}
    if shown is not None:
        others.pop(shown.part or shown.place, None)
    return list(others.values())


def _of_networks(choice: Choice) -> list[str]:
    said = []
    names, mine = _other_networks(choice), choice.call.name or "self"
    if names:
        said.append(
            f"your step validates {mine} and {' and '.join(names)} on the same labels; {mine} is explained. "
            f'network="{names[0]}" for the other'
        )
    others = _other_images(choice)
    if len(choice.call.images) > 1 and others:
        said.append(
            f"{network_name(choice.call)} takes {len(choice.call.images)} images; one is replaced, the "
            f"others stay with their row{_remedy('images', others[0].part)}"
        )
    elif others and not choice.needs_step:
        runs = [call for call in choice.calls if call.module is choice.call.module]
        said.append(
            f"{network_name(choice.call)} runs {len(runs)} times, on several images; the first run is "
            f"explained{_remedy('images', others[0].part)}"
        )
    return said


def _remedy(argument: str, path: Path | None) -> str:
    if path is None or len(path) != 1:
        return ""
    return f". Inputs({argument}={path[0]!r}) for the other"


def _of_outputs(choice: Choice) -> list[str]:
    mine = choice.leaf
    if mine is None:
        return []
    if choice.asked:
        names = ", ".join(
            f"{_output_words(leaf.path).removesuffix(' of ')} {leaf.shape}" for leaf in choice.asked
        )
        return [
            f"several outputs may be class scores, and nothing tells which: {names}; the first is explained"
            f"{_remedy('scores', choice.asked[1].path)}"
        ]
    if not choice.others:
        return []
    names = " and ".join(_output_words(leaf.path).removesuffix(" of ") for leaf in [mine, *choice.others])
    return [
        f"losses take {names}; {_output_words(mine.path).removesuffix(' of ')} is explained"
        f"{_remedy('scores', choice.others[0].path)}"
    ]


def _of_labels(seen: ObservedCall, choice: Choice) -> list[str]:
    record, loss = seen.record, choice.loss
    if choice.compares_pairs and loss is None:
        return [
            f'your loss compares pairs ({choice.compares_pairs}), no image with a label; target="predicted"'
        ]
    if choice.indirect is not None and loss is None:
        part = " and ".join(
            spelled(record.parts.batch, one, "batch")
            for one in sorted(choice.indirect.target.origin.parts, key=str)
        )
        size = " x ".join(map(str, choice.indirect.answer.shape))
        return [
            f"no loss was seen, and your step compares {part} with what it computes from the output ({size})"
            ': no class scores were found; target="predicted", or Inputs(scores=..., labels=...)'
        ]
    if loss is None and choice.meeting is None:
        if choice.no_label is None:
            return ['no label was seen in your step; target="predicted", or Inputs(labels=...)']
        parts = sorted(choice.no_label.target.origin.parts, key=str)
        names = " and ".join(spelled(record.parts.batch, part, "batch") for part in parts)
        with_what = f"with {names}" if parts else "with what your step made"
        return [
            f"your loss compares with no label ({choice.no_label.name} {with_what}); "
            'target="predicted", or Inputs(scores=...) of another output'
        ]
    if loss is None:
        return []
    said = []
    if seen.is_dense:
        said.append(DENSE)
    source = (
        None if seen.label is None or seen.label.part is None else record.parts.small.get(seen.label.part)
    )
    if is_ordered(loss.target, source):
        said.append(
            "your targets are thresholds of an ordered label (y > 0, y > 1, ...): each is a label of its own"
        )
    if seen.way == STEP and not loss.target.origin.parts.isdisjoint(loss.answer.origin.parts):
        said.append(
            "what your loss takes is made with the labels (a margin); the scores explained contain it"
        )
    return said
