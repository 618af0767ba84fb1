"""The rule by which one call of a recorded step, one output and one label are chosen."""

from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Choice:
    """What was decided so far, and what was left open."""

    calls: tuple[Call, ...]  # of the networks that fit equally well; the first is taken
    call: Call
    image: ImageArgument | None = None
    leaf: OutputLeaf | None = None
    loss: SeenLoss | None = None
    meeting: Meeting | None = None
    decision: Answer | None = None
    asked: tuple[OutputLeaf, ...] = ()  # outputs between which nothing decides
    others: tuple[OutputLeaf, ...] = ()  # outputs that other losses take
    losses: tuple[SeenLoss, ...] = ()  # that compare what this call gave with labels
    no_label: SeenLoss | None = None  # a loss that compares with no label
    compares_pairs: str = ""
    indirect: Meeting | None = None  # with numbers that are not the output's, nor decided from them
    needs_step: bool = False


@dataclass(frozen=True)
class _Telling:
    """A loss that may tell of labels, and a call that feeds it."""

    rank: tuple[int, bool, bool]
    loss: SeenLoss
    call: Call


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
    telling = _telling(record, calls)
    labelled = [one for one in telling if one.rank[0] == 0]
    # A U-Net with a class head has two losses on one forward: those that take rows tell of the class.
    best = [one for one in labelled if one.rank == labelled[0].rank]
    decisions = [one for one in record.decisions if any(_feeds(call, one) for call in calls)]
    meetings = [one for one in record.meetings if any(_feeds(call, one.answer) for call in calls)]
    answers = [*decisions, *(one.answer for one in meetings)]
    fed = [call for call in calls if any(one.call is call for one in best)]
    if not best:
        fed = [call for call in calls if any(_feeds(call, answer) for answer in answers)]
        fed = fed or [call for call in calls if any(one.call is call for one in telling)]
    pool = _in_order(fed or calls, decisions, preferences)
    if best:
        choice = _by_loss(pool, best, decisions, record.parts.count)
    else:
        pairs = _loss_of_pairs(record, pool[0])
        choice = replace(
            _without_loss(pool, decisions, [] if pairs else meetings, preferences.classes),
            no_label=telling[0].loss if telling else None,
            compares_pairs=pairs,
        )
    choice = replace(choice, losses=tuple(one.loss for one in labelled if one.call is choice.call))
    choice = _preferred(choice, preferences, meetings)
    return replace(choice, image=_image(choice, preferences))


def _telling(record: StepRecord, calls: list[Call]) -> list[_Telling]:
    found = []
    for loss in record.losses:
        if loss.target.origin.calls or loss.kind.compares == PAIRS:
            continue
        fed = [call for call in calls if _feeds(call, loss.answer, loss.inside)]
        found += [_Telling(rank(record, loss, call), loss, call) for call in fed]
    return sorted(found, key=lambda one: one.rank)  # of equals, in the order of the step


def _in_order(calls: list[Call], decisions: list[Answer], preferences: Preferences) -> list[Call]:
    asked = [call for call in calls if any(_comes_from(image, preferences) for image in call.images)]
    pool = asked or calls
    decided = [call for call in pool if any(_feeds(call, decision) for decision in decisions)]
    if len({id(call.module) for call in decided}) == 1 and len({id(call.module) for call in pool}) > 1:
        return decided + [call for call in pool if call not in decided]
    return pool


def _loss_of_pairs(record: StepRecord, call: Call) -> str:
    pairs = [loss for loss in record.losses if loss.kind.compares == PAIRS]
    return next((loss.name for loss in pairs if _feeds(call, loss.answer)), "")


def _feeds(call: Call, answer: Answer, inside: tuple[int, ...] = ()) -> bool:
    return call.number in answer.origin.calls or call.number in inside


def _is(leaf: OutputLeaf, answer: Answer) -> bool:
    return not leaf.same.isdisjoint(answer.same)


def _by_loss(pool: list[Call], best: list[_Telling], decisions: list[Answer], rows: int | None) -> Choice:
    same_module = [call for call in pool if call.module is pool[0].module]
    exact = _exact(same_module, best)
    if exact:
        decided = [one for one in exact if any(_is(one[1], decision) for decision in decisions)]
        is_open = len({leaf.path for _, leaf, _ in exact}) > 1
        is_decided = len({leaf.path for _, leaf, _ in decided}) == 1
        call, leaf, loss = decided[0] if is_open and is_decided else exact[0]
        others = tuple(one[1] for one in exact if one[0] is call and one[1] is not leaf)
        return Choice(tuple(pool), call, leaf=leaf, loss=loss, others=others)
    loss = next(one.loss for one in best if one.call is pool[0])
    made_from = _only(_decided_on(pool[0], decisions))
    if made_from is None and len(same_module) == 1:
        made_from = _before_rows_were_left_out(pool[0], loss.answer, rows)
    return Choice(tuple(pool), pool[0], leaf=made_from, loss=loss, needs_step=made_from is None)


def _exact(calls: list[Call], best: list[_Telling]) -> list[tuple[Call, OutputLeaf, SeenLoss]]:
    """The outputs that a loss took as they were."""
    found = []
    for call in calls:
        losses = [one.loss for one in best if one.call is call]
        for leaf in options(call):
            found += [(call, leaf, loss) for loss in losses if _is(leaf, loss.answer)]
    return found


def _only(leaves: list[OutputLeaf]) -> OutputLeaf | None:
    return leaves[0] if len({leaf.path for leaf in leaves}) == 1 else None


def _decided_on(call: Call, decisions: list[Answer]) -> list[OutputLeaf]:
    return [leaf for leaf in options(call) if any(_is(leaf, decision) for decision in decisions)]


def _used_for(call: Call, answer: Answer) -> list[OutputLeaf]:
    used = {path for number, path in answer.origin.outputs if number == call.number}
    return [leaf for leaf in options(call) if leaf.path in used]


def _before_rows_were_left_out(call: Call, answer: Answer, rows: int | None) -> OutputLeaf | None:
    """The output with a row for each image, where the loss took fewer."""
    leaf = _only(_used_for(call, answer))
    is_whole = leaf is not None and leaf.shape[:1] == (rows,)
    return leaf if is_whole and answer.shape[:1] != (rows,) else None


def _without_loss(
    pool: list[Call], decisions: list[Answer], meetings: list[Meeting], classes: int | None
) -> Choice:
    call = pool[0]
    fitting = options(call)
    meeting = next((one for one in meetings if _feeds(call, one.answer)), None)
    decision = next((one for one in decisions if _feeds(call, one)), None)
    by_decision = _decided_on(call, decisions)
    by_meeting = _decided_on(call, [meeting.answer] if meeting else [])
    derived = _used_for(call, meeting.answer) if meeting else []
    by_width = [leaf for leaf in fitting if classes and leaf.shape[1:2] == (classes,)]
    ways = [_only(leaves) for leaves in (by_decision, by_meeting, derived, fitting, by_width)]
    only = next((leaf for leaf in ways if leaf is not None), None)
    leaf = only or fitting[0]
    is_made = not by_decision and not by_meeting  # what the step goes on with is no output as it was
    needs_step = is_made and decision is not None  # the step decides on what it made of this call
    is_other = is_made and meeting is not None and meeting.answer.shape != leaf.shape
    is_indirect = is_other and not needs_step
    return Choice(
        calls=tuple(pool),
        call=call,
        leaf=leaf,
        asked=() if only else tuple(fitting),
        decision=decision,
        meeting=None if is_indirect else meeting,
        indirect=meeting if is_indirect else None,
        needs_step=needs_step,
    )


def _preferred(choice: Choice, preferences: Preferences, meetings: list[Meeting]) -> Choice:
    if preferences.scores is None or callable(preferences.scores):
        return choice
    path = preferences.scores if isinstance(preferences.scores, tuple) else (preferences.scores,)
    call = choice.call
    given = next((leaf for leaf in options(call) if _same_path(leaf.path, path, call)), None)
    if given is None:
        return choice
    left = [leaf for leaf in (*choice.others, choice.leaf) if leaf is not None and leaf is not given]
    loss = next((loss for loss in choice.losses if _is(given, loss.answer)), None)
    met = (one for one in meetings if (call.number, given.path) in one.answer.origin.outputs)
    meeting = None if loss else next(met, None)
    return replace(
        choice,
        leaf=given,
        others=tuple(left),
        asked=(),
        needs_step=False,
        loss=loss,
        meeting=meeting,
        no_label=choice.no_label if loss is None and meeting is None else None,
    )


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
