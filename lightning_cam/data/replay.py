"""What was observed, run again: with the same images, to prove that it is understood, and with others."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lightning_cam.data.call_again import replay_call
from lightning_cam.data.losses import Moment
from lightning_cam.data.nested import Path, mapped, part_at, placed
from lightning_cam.data.observed_facts import STEP, ObservedCall
from lightning_cam.data.recorded_parts import sampled

TOLERANCE = 1e-4  # of the scores' spread; sound halves of a batch differ by at most 6e-8
QUIET = ("log", "log_dict", "print")  # what a replayed step must not tell the user's logger again


class ReachedError(BaseException):
    """Ends a replayed step; no Exception, so that the user's own handlers let it pass."""


class Stop(TorchFunctionMode):
    """Ends the step when a certain call of a function is reached, and keeps what it was given."""

    def __init__(self, moment: Moment) -> None:
        super().__init__()
        self.found: Tensor | None = None
        self.arguments: tuple[tuple, dict[str, Any]] | None = None  # all that it was given
        self._moment = moment
        self._count = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Counts the calls of that name."""
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") == self._moment.function:
            if self._count == self._moment.index:
                self.arguments = args, kwargs
                self.found = part_at(self.arguments, self._moment.argument)
                raise ReachedError
            self._count += 1
        return func(*args, **kwargs)


def replay_step(seen: ObservedCall, module: Any, images: Tensor, rows: Tensor | None = None) -> Tensor:
    """What the observed loss takes when the user's own step runs on its batch with other images; the step is
    ended there.

    Args:
        rows: As in ``replay_call``.

    Raises:
        ValueError: The step never came to that loss, or the observed batch was written into.
    """
    record, part = seen.record, seen.image_part
    if seen.answer is None or part is None:
        raise ValueError("replay: no loss was observed up to which the step could be run.")
    count = record.parts.count

    def put(place: Path, tensor: Tensor) -> Tensor:
        before = record.parts.small.get(place, tensor)
        if rows is not None and tensor.ndim and len(tensor) == count:
            return before[rows.to(before.device)]
        return before.clone()

    listed = record.parts.listed_images()
    if part == listed:
        batch = placed(record.parts.batch, part, list(images))
        rest = mapped(batch, lambda place, tensor: tensor if place[:-1] == part else put(place, tensor))
    else:
        rest = mapped(
            record.parts.batch, lambda place, tensor: images if place == part else put(place, tensor)
        )
    stop = Stop(seen.answer.moment)
    try:
        with quiet(module), stop:
            record.run_again(rest)
    except ReachedError:
        pass
    if stop.found is None:
        raise ValueError(f"replay: the step ended before its {seen.answer.moment.function}.")
    return stop.found


@contextmanager
def quiet(module: Any) -> Iterator[None]:
    """The module logs and prints nothing inside."""
    own = vars(module)
    before = {name: own[name] for name in QUIET if name in own}
    names = [name for name in QUIET if callable(getattr(module, name, None))]
    own.update(dict.fromkeys(names, _nothing))
    try:
        yield
    finally:
        for name in names:
            del own[name]
        own.update(before)


def _nothing(*args: Any, **kwargs: Any) -> None:
    pass


@dataclass(frozen=True)
class ReplayCheck:
    """How far a replay is from what was observed.

    Args:
        whole: The largest difference, of the whole batch again; None if it raised.
        half: Likewise of half of the batch; None if it raised, or there is no half.
        spread: Of the observed scores.
        tolerance: What counts as equal.
        error: What the replay of the whole raised, or that of the half.
    """

    whole: float | None
    half: float | None
    spread: float
    tolerance: float
    count: int
    error: str = ""

    @property
    def is_equal(self) -> bool:
        """Whether the same computation runs."""
        return self.whole is not None and self.whole <= self.tolerance

    @property
    def rows_are_independent(self) -> bool:
        """Whether an image's scores do not depend on the others, as far as half of the batch tells."""
        return self.count < 2 or (self.half is not None and self.half <= self.tolerance)

    @property
    def sentence(self) -> str:
        """What the user should know; "" where all is well."""
        if self.whole is None:
            return f"what was observed could not be replayed ({self.error})"
        if not self.is_equal:
            return (
                f"replayed, the scores differ by {self.whole:.2g} of a spread of {self.spread:.2g}: the step "
                "is random, trains inside validation, or runs other weights"
            )
        batches = f"probes are sent in batches of {self.count}"
        if self.half is None and self.count > 1:
            return f"half of the batch cannot be sent alone ({self.error}): {batches}"
        if not self.rows_are_independent:
            return f"half of the batch gives other scores than the whole: {batches}, as observed"
        return ""


Scoring = Callable[[Tensor, Tensor | None], Any]  # (images, rows) -> scores; rows of the observed batch


def check_replay(
    seen: ObservedCall, module: Any, context: Callable[[], AbstractContextManager[Any]]
) -> ReplayCheck:
    """Replays the observed batch, and half of it.

    Args:
        context: Made anew around each replay: eval mode, precision, and no trace afterwards.
    """
    images = observed_images(seen)
    if observed_scores(seen) is None or images is None:
        return ReplayCheck(None, None, 0.0, 0.0, 0, "the images were not kept")
    return check_scores(seen, lambda some, rows: replayed_scores(seen, module, some, rows), images, context)


def check_scores(
    seen: ObservedCall,
    scores: Scoring,
    images: Tensor,
    context: Callable[[], AbstractContextManager[Any]],
) -> ReplayCheck:
    """Compares what ``scores`` gives for the observed batch, and for half of it, with what was observed."""
    observed = observed_scores(seen)
    if observed is None:
        raise ValueError("replay: no scores were observed.")
    count = len(images)
    spread, tolerance = _scale(observed)
    whole, error = _difference(scores, context, images, None, observed)
    half = None
    if whole is not None and count > 1:
        rows = torch.arange(count // 2)
        rows_seen = len(observed) // 2 if observed.ndim else 0
        half, error = _difference(scores, context, images[: count // 2], rows, observed[:rows_seen])
    return ReplayCheck(whole, half, spread, tolerance, count, error)


def observed_scores(seen: ObservedCall) -> Tensor | None:
    """The scores of the observed batch, of dense ones a sample."""
    if seen.way == STEP:
        return seen.answer.sample if seen.answer is not None else None
    if seen.call is None or seen.scores is None:
        return None
    return next(leaf.sample for leaf in seen.call.outputs if leaf.path == seen.scores)


def observed_images(seen: ObservedCall) -> Tensor | None:
    """The images that a replay takes: of a call what the network received, of a step the batch's."""
    if seen.way != STEP:
        return None if seen.image is None else seen.image.images
    parts = seen.record.parts
    if seen.image_part is None:
        return None
    if seen.image_part == parts.listed_images():
        listed = [image for path, image in parts.images.items() if path[:-1] == seen.image_part]
        return torch.stack(listed) if len({image.shape for image in listed}) == 1 else None
    return parts.image_before(seen.image_part)


def replayed_scores(seen: ObservedCall, module: Any, images: Tensor, rows: Tensor | None = None) -> Tensor:
    """The scores of other images, in the way that was observed."""
    if seen.way == STEP:
        return replay_step(seen, module, images, rows)
    return part_at(replay_call(seen, images, rows), seen.scores or ())


def _difference(
    scoring: Scoring,
    context: Callable[[], AbstractContextManager[Any]],
    images: Tensor,
    rows: Tensor | None,
    observed: Tensor,
) -> tuple[float | None, str]:
    try:
        with context(), torch.no_grad():
            scores = sampled(scoring(images.clone(), rows))
        if scores.shape != observed.shape:
            return None, f"scores {tuple(scores.shape)}, not {tuple(observed.shape)}"
        difference = (scores.double() - observed.double()).abs().nan_to_num(nan=0.0)
        return float(difference.amax()), ""
    except Exception as error:  # noqa: BLE001 - whatever the user's forward raises: he reads of it
        return None, f"{type(error).__name__}: {error}"


def _scale(scores: Tensor) -> tuple[float, float]:
    finite = scores.double()[scores.isfinite()]
    if not len(finite):
        return 0.0, 0.0
    spread = float(finite.amax() - finite.amin())
    precision = 4 * torch.finfo(scores.dtype).eps if scores.dtype in (torch.float16, torch.bfloat16) else 0.0
    # Scores of an untrained network may hardly differ: then rounding is measured by their size.
    return spread, max(TOLERANCE, precision) * max(spread, 0.01 * float(finite.abs().amax()))
