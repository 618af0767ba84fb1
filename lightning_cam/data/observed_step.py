"""One call of the user's own validation step, recorded: which modules ran on which images, which losses were
computed with what. It changes nothing, and leaves nothing behind.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lightning_cam.data.derivation import Derivation, Origin, joined
from lightning_cam.data.losses import (
    DECISIONS,
    LOSSES,
    Answer,
    Meeting,
    Moment,
    SeenLoss,
    Target,
    answer_of,
    arguments_of_loss,
)
from lightning_cam.data.nested import Path, leaves
from lightning_cam.data.recorded_calls import Call, CallRecorder
from lightning_cam.data.recorded_parts import BatchParts, is_image_like

STEP = "validation_step"
MOST_MEETINGS = 64  # of one step; the first decides


class StepRecord:
    """What one step did.

    Attributes:
        parts: The parts of the batch, as they were before the step.
        calls: The calls of modules, in order.
        losses: The losses, in order.
        meetings: Where what a network gave met a part of the batch that went through none, in order.
        decisions: Whose argmax was taken, or who was compared with a threshold, in order.
        error: What the step raised.
        trouble: What ended the recording before the step's end.
    """

    def __init__(self, step: Callable, args: tuple, kwargs: dict[str, Any]) -> None:
        self.step, self.args, self.kwargs = step, args, kwargs
        self.trouble: Exception | None = None
        try:
            self.parts = BatchParts(args[0] if args else kwargs.get("batch"))
        except Exception as error:  # noqa: BLE001 - tensors that cannot be copied, or memory that runs out
            self.trouble, self.parts = error, BatchParts(None)
        self.calls: list[Call] = []
        self.losses: list[SeenLoss] = []
        self.meetings: list[Meeting] = []
        self.decisions: list[Answer] = []
        self.error: BaseException | None = None

    def run_again(self, batch: Any) -> Any:
        """The step with another batch, its other arguments as they were."""
        args = (batch, *self.args[1:]) if self.args else ()
        return self.step(*args, **(self.kwargs if self.args else {**self.kwargs, "batch": batch}))

    def note_trouble(self, trouble: Exception | None) -> None:
        """The recording is over; ``trouble`` is what ended it too early, if anything did."""
        self.trouble = trouble

    def note_error(self, error: BaseException) -> None:
        """The step raised ``error``."""
        self.error = error


class StepObserver:
    """Observes the next call of ``validation_step`` of ``module``, any object that has one; off by itself
    when it was called.

    Example:
        >>> class Task:
        ...     net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3))
        ...
        ...     def validation_step(self, batch, batch_idx):
        ...         return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        >>> task = Task()
        >>> with StepObserver(task) as observer:
        ...     loss = task.validation_step((torch.rand(2, 3, 4, 4), torch.tensor([0, 2])), 0)
        >>> [loss.name for loss in observer.record.losses]
        ['cross_entropy']
    """

    def __init__(self, module: Any) -> None:
        self.record: StepRecord | None = None
        self._module = module
        self._is_on = False
        self._before: tuple = ()  # what stood on the instance, if anything did

    def __enter__(self) -> "StepObserver":
        self.install()
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()

    def install(self) -> None:
        """Puts a wrapper on the instance, not on its class."""
        own = vars(self._module)
        step = getattr(self._module, STEP)
        self._before = (own[STEP],) if STEP in own else ()

        @functools.wraps(step)
        def observed(*args: Any, **kwargs: Any) -> Any:
            if not self._is_on:  # another observer's record holds this function, and replays it
                return step(*args, **kwargs)
            self.remove()  # before the step runs: it may call itself, or raise
            return self._observe(step, args, kwargs)

        own[STEP] = observed
        self._is_on = True

    def remove(self) -> None:
        """Takes the wrapper off, if it is still there."""
        if self._is_on:
            self._is_on = False
            del vars(self._module)[STEP]
            if self._before:
                vars(self._module)[STEP] = self._before[0]

    def _observe(self, step: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
        record = StepRecord(step, args, kwargs)
        self.record = record
        if record.trouble is not None:
            return step(*args, **kwargs)
        try:
            with recording(self._module, record):
                return step(*args, **kwargs)
        except BaseException as error:
            record.note_error(error)
            raise


@contextmanager
def recording(module: Any, record: StepRecord) -> Iterator[None]:
    """Fills ``record`` with what runs inside; the hooks and the mode are gone after it."""
    with ExitStack() as stack:
        if "torch._dynamo" in sys.modules:  # hooks within a compiled module would break the user's step
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        listener = _Listener(record)
        stack.enter_context(listener.calls.hooked(module))
        stack.enter_context(listener.derivation)
        try:
            yield
        finally:
            record.note_trouble(listener.derivation.error)


class _Listener:
    """Notes what the functions of torch are given."""

    def __init__(self, record: StepRecord) -> None:
        self._record = record
        self._counts: dict[str, int] = {}
        self._met: set[tuple] = set()
        self.derivation = Derivation(self._hear)
        self.calls = CallRecorder(record.calls, record.parts, self.derivation)
        for path, part in record.parts.originals.items():
            self.derivation.mark(part, Origin(parts=frozenset({path})))

    def _hear(self, name: str, args: tuple, kwargs: dict[str, Any], result: Any) -> None:
        index = self._counts.get(name, 0)
        self._counts[name] = index + 1
        if name in LOSSES:
            self._hear_loss(name, index, args, kwargs)
        if self.calls.is_inside_network():
            return
        self._hear_meeting(name, index, args, kwargs)
        if name in DECISIONS:
            path, given = next(leaves((args, kwargs)), ((), None))
            if given is not None and self.derivation.origin(given).calls:
                self._record.decisions.append(answer_of(self.derivation, given, Moment(name, index, path)))

    def _hear_loss(self, name: str, index: int, args: tuple, kwargs: dict[str, Any]) -> None:
        found = arguments_of_loss(args, kwargs)
        if found is not None:
            given, target, place = found
            answer = answer_of(self.derivation, given, Moment(name, index, place))
            running = tuple(call.number for call in self.calls.running)
            self._record.losses.append(SeenLoss(name, LOSSES[name], answer, self._target(target), running))

    def _hear_meeting(self, name: str, index: int, args: tuple, kwargs: dict[str, Any]) -> None:
        given = [(path, tensor, self.derivation.origin(tensor)) for path, tensor in leaves((args, kwargs))]
        if len(given) < 2 or len(self._record.meetings) >= MOST_MEETINGS:
            return
        answers = [one for one in given if one[2].calls]
        others = [
            one
            for one in given
            if not one[2].calls and any(not self._is_image(part) for part in one[2].parts)
        ]
        if not answers or not others:
            return
        path, tensor, origin = answers[0]
        key = (origin.calls, others[0][2].parts)
        if key not in self._met:  # later ones of the same two say nothing new
            self._met.add(key)
            answer = answer_of(self.derivation, tensor, Moment(name, index, path))
            answer = replace(answer, origin=joined(one[2] for one in answers))
            self._record.meetings.append(Meeting(name, answer, self._target(others[0][1])))

    def _is_image(self, part: Path) -> bool:
        return is_image_like(self._record.parts.originals[part])

    def _target(self, tensor: Tensor) -> Target:
        part, is_same = self._record.parts.equal_to(tensor, self.derivation.origin(tensor).parts)
        small = tensor.ndim <= 2
        values = None
        if small:
            with torch.inference_mode(False):
                values = tensor.detach().clone()
        return Target(
            origin=self.derivation.origin(tensor),
            shape=tuple(tensor.shape),
            part=part,
            is_same=is_same,
            is_whole=not tensor.is_floating_point() and not tensor.is_complex(),
            values=values,
        )
