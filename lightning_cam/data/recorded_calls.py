"""The calls of modules within a step: which took images that no network had made, and what came out."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lightning_cam.data.derivation import Derivation, Origin, Output, joined
from lightning_cam.data.nested import Path, leaves, mapped
from lightning_cam.data.recorded_parts import BatchParts, copied, is_image, sampled

OWN_TABLES = frozenset(vars(nn.Module()))  # torch's own: of parameters, buffers, hooks


@dataclass(frozen=True)
class ImageArgument:
    """Images among the arguments of a call.

    Args:
        place: In (args, kwargs).
        parts: Of the batch, from which they derive.
        part: The one that is these images to the last bit, if one is.
        images: As they came in; None where a call around this one holds them.
    """

    place: Path
    shape: tuple[int, ...]
    parts: frozenset[Path]
    part: Path | None
    images: Tensor | None


@dataclass(frozen=True)
class OutputLeaf:
    """A tensor in what a call returned.

    Args:
        same: All outputs, of this and of inner calls, that this tensor is.
        sample: Some of its numbers, of dense ones; all of scores.
    """

    path: Path
    shape: tuple[int, ...]
    is_floating: bool
    same: frozenset[Output]
    sample: Tensor | None


@dataclass(eq=False)
class Call:
    """One call of a module.

    Attributes:
        arguments: (args, kwargs), kept only where images are among them and can be put back.
        has_parameters: Of its own, or of a module that it called.
        done: It returned something.
    """

    number: int
    name: str
    module: nn.Module
    parent: "Call | None"
    images: list[ImageArgument] = field(default_factory=list)
    arguments: tuple[tuple, dict[str, Any]] | None = None
    outputs: list[OutputLeaf] = field(default_factory=list)
    output: Any = None  # what it returned, with its tensors left out
    has_parameters: bool = False
    done: bool = False

    def ancestors(self) -> Iterator["Call"]:
        """The calls around this one, the nearest first."""
        call = self.parent
        while call is not None:
            yield call
            call = call.parent

    def keep_arguments(self, arguments: tuple[tuple, dict[str, Any]]) -> None:
        """With these it can be made again."""
        self.arguments = arguments

    def end(self, output: Any) -> None:
        """It is over; None where it raised."""
        self.done = output is not None
        if self.parent is not None and self.has_parameters:
            self.parent.note_parameters()

    def note_parameters(self) -> None:
        """A module with parameters ran within it."""
        self.has_parameters = True

    def keep_output(self, output: Any, outputs: list[OutputLeaf]) -> None:
        """What it returned: the containers without their tensors, and what is to be known of each tensor."""
        self.output, self.outputs = output, outputs


class CallRecorder:
    """Hooks on every module that can be reached, of one thread."""

    def __init__(self, calls: list[Call], parts: BatchParts, derivation: Derivation) -> None:
        self.running: list[Call] = []
        self._calls, self._parts, self._derivation = calls, parts, derivation
        self._thread = threading.get_ident()
        self._names: dict[int, str] = {}
        self._held: set[tuple[int, Path]] = set()  # of which module's images, at which place, some are held

    @contextmanager
    def hooked(self, root: Any) -> Iterator[None]:
        """Records the calls that are made inside."""
        reached = reachable_modules(root)
        self._names = {id(module): name for module, name in reached}
        handles = []
        try:
            for module, _ in reached:
                # Before the user's own hooks, which run again in a replay; and after them.
                handles.append(module.register_forward_pre_hook(self._enter, prepend=True, with_kwargs=True))
                handles.append(module.register_forward_hook(self._leave, with_kwargs=True, always_call=True))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def is_inside_network(self) -> bool:
        """Whether a module with parameters that took images is running."""
        return any(call.images and call.has_parameters for call in self.running)

    def _enter(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        if threading.get_ident() != self._thread or self._derivation.error is not None:
            return  # a replica of DataParallel; or what is known is no longer whole
        parent = self.running[-1] if self.running else None
        call = Call(
            number=len(self._calls),
            name=self._names.get(id(module), ""),
            module=module,
            parent=parent,
            has_parameters=next(module.parameters(), None) is not None,
        )
        self._calls.append(call)
        self.running.append(call)
        with self._derivation.noting():
            self._note_images(call, args, kwargs)

    def _note_images(self, call: Call, args: tuple, kwargs: dict[str, Any]) -> None:
        is_outermost = not _is_within_network(call)
        for place, tensor in leaves((args, kwargs)):
            origin = self._derivation.origin(tensor)
            if is_image(tensor) and not origin.calls:
                part = self._parts.equal_image(tensor)
                images = None if part is None else self._parts.image_before(part)
                key = (id(call.module), place)
                if images is None and is_outermost and key not in self._held:
                    for source in origin.parts:
                        self._parts.release(source)  # before the copy: one batch is held, not two
                    with torch.inference_mode(False):
                        images = copied(tensor)
                if images is not None:
                    self._held.add(key)
                call.images.append(ImageArgument(place, tuple(tensor.shape), origin.parts, part, images))
        if call.images and all(image.images is not None for image in call.images):
            held = {image.place: image.images for image in call.images}

            def kept(place: Path, tensor: Tensor) -> Tensor | None:
                if place in held:
                    return held[place]
                with torch.inference_mode(False):
                    return copied(tensor) if tensor.ndim <= 2 else tensor.detach()

            call.keep_arguments(mapped((args, kwargs), kept))

    def _leave(self, module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> None:
        if threading.get_ident() != self._thread or self._derivation.error is not None:
            return
        while self.running and self.running[-1].module is not module:
            self.running.pop()  # a call whose end was not told
        if not self.running:
            return
        call = self.running.pop()
        call.end(output)
        with self._derivation.noting():
            if call.has_parameters:
                self._mark(call, args, kwargs, output)
            if call.images and call.has_parameters:
                emptied = mapped(output, lambda place, tensor: None)
                call.keep_output(emptied, [self._leaf(call, *one) for one in leaves(output)])

    def _mark(self, call: Call, args: tuple, kwargs: dict[str, Any], output: Any) -> None:
        # Also where the forward hides how: by numpy, or a function of autograd of its own.
        given = self._derivation.origin(args, kwargs)
        for path, tensor in leaves(output):
            followed = self._derivation.origin(tensor)
            before = followed if followed.parts else joined([followed, given])
            origin = Origin(
                before.parts, before.calls | {call.number}, before.outputs | {(call.number, path)}
            )
            self._derivation.mark(tensor, origin)
            self._derivation.mark_output(tensor, (call.number, path))

    def _leaf(self, call: Call, path: Path, tensor: Tensor) -> OutputLeaf:
        sample = None
        if tensor.ndim <= 2 or not _is_within_network(call):
            with torch.inference_mode(False):
                sample = copied(sampled(tensor))
        return OutputLeaf(
            path=path,
            shape=tuple(tensor.shape),
            is_floating=tensor.is_floating_point(),
            same=frozenset(self._derivation.same(tensor)),
            sample=sample,
        )


def _is_within_network(call: Call) -> bool:
    return any(outer.images and outer.has_parameters for outer in call.ancestors())


def reachable_modules(root: Any) -> list[tuple[nn.Module, str]]:
    """Every module that can be reached from ``root``, also through plain lists and dicts, with its name.
    Scripted modules take no hooks.
    """
    found: list[tuple[nn.Module, str]] = []  # no table: metrics compare and hash by what they hold
    seen: set[int] = set()
    waiting: deque[tuple[str, Any]] = deque([("", root)])
    while waiting:
        name, thing = waiting.popleft()
        if id(thing) in seen or isinstance(thing, torch.jit.ScriptModule):
            continue
        seen.add(id(thing))
        if isinstance(thing, nn.Module):
            found.append((thing, name))
        waiting.extend(_held(name, thing, is_root=thing is root))
    return found


def _held(name: str, thing: Any, is_root: bool) -> list[tuple[str, Any]]:
    held: list[tuple[str, Any]]
    dot = f"{name}." if name else ""
    if isinstance(thing, nn.Module) or is_root:
        children = list(thing.named_children()) if isinstance(thing, nn.Module) else []
        others = [(key, value) for key, value in vars(thing).items() if key not in OWN_TABLES]
        held = [(f"{dot}{key}", value) for key, value in children + others]
    elif isinstance(thing, dict):
        held = [(f"{name}[{key!r}]", value) for key, value in thing.items()]
    else:
        held = [(f"{name}[{index}]", value) for index, value in enumerate(thing)]
    kinds = (nn.Module, dict, list, tuple, set, deque)
    return [(key, value) for key, value in held if isinstance(value, kinds)]
