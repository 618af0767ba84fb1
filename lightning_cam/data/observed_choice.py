"""The rule by which one call of a recorded step, one output and one label are chosen."""

from dataclasses import dataclass, field
from typing import Any

from lightning_cam.data.losses import NUMBERS, PAIRS, Answer, Meeting, SeenLoss
from lightning_cam.data.nested import Path
from lightning_cam.data.observed_step import StepRecord
from lightning_cam.data.recorded_calls import Call, ImageArgument, OutputLeaf


@dataclass(frozen=True)
class Preferences:
    """What the user said; it wins.

    Args:
        network: The module's name.
        scores: The key or index of the output.
        images: The part of the batch, a key or an index, from which the images come.
        classes: How many class names there are.
    """

    network: str | None = None
    scores: Any = None
    images: Any = None
    classes: int | None = None


@dataclass
class Choice:
    """What was decided so far, and what was left open."""

    calls: list[Call]  # of the networks that fit equally well; the first is taken
    call: Call
    image: ImageArgument | None = None
    leaf: OutputLeaf | None = None
    loss: SeenLoss | None = None
    meeting: Meeting | None = None
    decision: Answer | None = None
    asked: list[OutputLeaf] = field(default_factory=list)  # outputs between which nothing decides
    others: list[OutputLeaf] = field(default_factory=list)  # outputs that other losses take
    losses: list[SeenLoss] = field(default_factory=list)  # that compare what this call gave with labels
    no_label: SeenLoss | None = None  # a loss that compares with no label
    compares_pairs: str = ""
    indirect: Meeting | None = None  # with numbers that are not the output's, nor decided from them
    needs_step: bool = False


def candidates(record: StepRecord, network: str | None = None) -> list[Call]:
    """The outermost calls that take images and yield scores, or dense scores where none yields such."""
    count = record.parts.count
    fitting = [
        call
        for call in record.calls
        if call.done and call.has_parameters and _takes(call, count) and options(call)
    ]
    if network is not None:
        return [call for call in fitting if call.name == network]
    outer = [call for call in fitting if not any(above in fitting for above in call.ancestors())]
    from_batch = [call for call in outer if any(image.parts for image in call.images)]
    flat = [call for call in from_batch or outer if any(len(leaf.shape) <= 2 for leaf in options(call))]
    return flat or from_batch or outer


def _takes(call: Call, count: int | None) -> bool:
    rows = [image.shape[0] for image in call.images]
    return any(count is None or (number and number % count == 0) for number in rows)


def options(call: Call) -> list[OutputLeaf]:
    """The outputs that may be scores: (n,) or (n, C); where there are none, (n, C, H, W)."""
    rows = {image.shape[0] for image in call.images}
    floating = [leaf for leaf in call.outputs if leaf.is_floating and 0 not in leaf.shape]
    flat = [leaf for leaf in floating if len(leaf.shape) in (1, 2) and leaf.shape[0] in rows]
    one = [leaf for leaf in floating if leaf.shape == () and rows == {1}]  # squeezed, of a batch of one
    dense = [leaf for leaf in floating if len(leaf.shape) in (4, 5) and leaf.shape[0] in rows]
    return flat or one or dense


def rank(record: StepRecord, loss: SeenLoss, call: Call) -> tuple[int, bool, bool]:
    """Which loss tells of labels, the lowest first: one with a target from the batch, one with a target made
    in the step, one whose target is an image.
    """
    images = {part for image in call.images for part in image.parts}
    parts = loss.target.origin.parts
    is_image = bool(parts) and (
        parts <= images or (loss.kind.compares == NUMBERS and len(loss.target.shape) > 3)
    )
    tier = 2 if is_image else 0 if parts else 1
    return tier, len(loss.answer.shape) > 2, loss.kind.compares == NUMBERS


def choose(record: StepRecord, preferences: Preferences) -> Choice | None:
    """The rule; None if no call takes an image and yields scores."""
    calls = candidates(record, preferences.network)
    if not calls:
        return None
    telling = [
        (rank(record, loss, call), index, loss, call)
        for index, loss in enumerate(record.losses)
        for call in calls
        if _feeds(call, loss.answer, loss.inside)
        and not loss.target.origin.calls
        and loss.kind.compares != PAIRS
    ]
    telling.sort(key=lambda one: (one[0], one[1], one[3].number))
    labelled = [one for one in telling if one[0][0] == 0]
    # A U-Net with a class head has two losses on one forward: those that take rows tell of the class.
    best = [one for one in labelled if one[0] == labelled[0][0]]
    decisions = [one for one in record.decisions if any(_feeds(call, one) for call in calls)]
    meetings = [one for one in record.meetings if any(_feeds(call, one.answer) for call in calls)]
    fed = [call for call in calls if any(one[3] is call for one in best)]
    if not best:
        fed = [
            call
            for call in calls
            if any(_feeds(call, one) for one in [*decisions, *(m.answer for m in meetings)])
        ]
        fed = fed or [call for call in calls if any(one[3] is call for one in telling)]
    pool = fed or calls
    asked = [call for call in pool if any(_comes_from(image, preferences) for image in call.images)]
    pool = asked or pool
    decided = [call for call in pool if any(_feeds(call, decision) for decision in decisions)]
    if len({id(call.module) for call in decided}) == 1 and len({id(call.module) for call in pool}) > 1:
        pool = decided + [call for call in pool if call not in decided]
    choice = Choice(calls=pool, call=pool[0])
    if best:
        _choose_by_loss(choice, [(one[2], one[3]) for one in best], decisions, record)
    else:
        choice.no_label = telling[0][2] if telling else None
        pairs = [
            loss.name
            for loss in record.losses
            if loss.kind.compares == PAIRS and _feeds(choice.call, loss.answer)
        ]
        choice.compares_pairs = pairs[0] if pairs else ""
        _choose_without_loss(choice, decisions, [] if pairs else meetings, preferences)
    choice.losses = [loss for _, _, loss, call in labelled if call is choice.call]
    _prefer(choice, preferences, meetings)
    choice.image = _image(choice, preferences)
    return choice


def _feeds(call: Call, answer: Answer, inside: tuple[int, ...] = ()) -> bool:
    return call.number in answer.origin.calls or call.number in inside


def _is(leaf: OutputLeaf, answer: Answer) -> bool:
    return not leaf.same.isdisjoint(answer.same)


def _choose_by_loss(
    choice: Choice, best: list[tuple[SeenLoss, Call]], decisions: list[Answer], record: StepRecord
) -> None:
    same_module = [call for call in choice.calls if call.module is choice.call.module]
    exact = [
        (call, leaf, loss)
        for call in same_module
        for leaf in options(call)
        for loss, fed in best
        if fed is call and _is(leaf, loss.answer)
    ]
    decided = [one for one in exact if any(_is(one[1], decision) for decision in decisions)]
    paths = {one[1].path for one in exact}
    if exact:
        chosen = decided[0] if len(paths) > 1 and len({one[1].path for one in decided}) == 1 else exact[0]
        choice.call, choice.leaf, choice.loss = chosen
        choice.others = [leaf for call, leaf, _ in exact if call is choice.call and leaf is not choice.leaf]
        return
    choice.loss = next(loss for loss, call in best if call is choice.call)
    by_decision = [
        leaf for leaf in options(choice.call) if any(_is(leaf, decision) for decision in decisions)
    ]
    used = {path for number, path in choice.loss.answer.origin.outputs if number == choice.call.number}
    left = [leaf for leaf in options(choice.call) if leaf.path in used]
    rows = record.parts.count
    if len({leaf.path for leaf in by_decision}) == 1:
        choice.leaf = by_decision[0]
    elif (
        choice.loss.answer.shape[:1] != (rows,)
        and len(left) == 1
        and len(same_module) == 1
        and left[0].shape[:1] == (rows,)
    ):
        choice.leaf = left[0]  # rows were left out before the loss: the call has one for each image
    else:
        choice.needs_step = True


def _choose_without_loss(
    choice: Choice, decisions: list[Answer], meetings: list[Meeting], preferences: Preferences
) -> None:
    call = choice.call
    fitting = options(call)
    choice.meeting = next((one for one in meetings if _feeds(call, one.answer)), None)
    choice.decision = next((one for one in decisions if _feeds(call, one)), None)
    by_decision = [leaf for leaf in fitting if any(_is(leaf, decision) for decision in decisions)]
    met = choice.meeting.answer if choice.meeting else None
    by_meeting = [leaf for leaf in fitting if met and _is(leaf, met)]
    outputs = {path for number, path in met.origin.outputs if number == call.number} if met else set()
    derived = [leaf for leaf in fitting if leaf.path in outputs]
    by_width = [leaf for leaf in fitting if preferences.classes and leaf.shape[1:2] == (preferences.classes,)]
    for ways in (by_decision, by_meeting, derived, fitting, by_width):
        if len({leaf.path for leaf in ways}) == 1:
            choice.leaf = ways[0]
            break
    else:
        choice.asked = fitting
        choice.leaf = fitting[0]
    if not (by_decision or by_meeting) and choice.decision is not None:
        choice.needs_step = True  # the step decides on what it made of this call
    elif met is not None and not (by_decision or by_meeting) and met.shape != choice.leaf.shape:
        choice.indirect, choice.meeting = choice.meeting, None


def _prefer(choice: Choice, preferences: Preferences, meetings: list[Meeting]) -> None:
    if preferences.scores is None or callable(preferences.scores):
        return
    path = preferences.scores if isinstance(preferences.scores, tuple) else (preferences.scores,)
    given = next((leaf for leaf in options(choice.call) if _same_path(leaf.path, path, choice.call)), None)
    if given is None:
        return
    left = [leaf for leaf in [*choice.others, choice.leaf] if leaf is not None and leaf is not given]
    choice.leaf, choice.others, choice.asked, choice.needs_step = given, left, [], False
    choice.loss = next((loss for loss in choice.losses if _is(given, loss.answer)), None)
    output = (choice.call.number, given.path)
    met = (meeting for meeting in meetings if output in meeting.answer.origin.outputs)
    choice.meeting = None if choice.loss else next(met, None)
    choice.no_label = choice.no_label if choice.loss is None and choice.meeting is None else None


def _same_path(path: Path, given: Path, call: Call) -> bool:
    if path == given:
        return True
    length = len(call.output) if isinstance(call.output, list | tuple) else 0
    return (
        len(path) == len(given) == 1
        and isinstance(given[0], int)
        and given[0] < 0
        and path == (length + given[0],)
    )


def _image(choice: Choice, preferences: Preferences) -> ImageArgument | None:
    images = choice.call.images
    asked = [image for image in images if _comes_from(image, preferences)]
    if asked:
        return asked[0]
    target = choice.loss.target.origin.parts if choice.loss else frozenset()
    free = [image for image in images if not (image.parts and image.parts <= target)]
    return next(iter(free or images), None)


def _comes_from(image: ImageArgument, preferences: Preferences) -> bool:
    if preferences.images is None or callable(preferences.images):
        return False
    asked = preferences.images if isinstance(preferences.images, tuple) else (preferences.images,)
    return any(part[: len(asked)] == asked for part in image.parts)
