"""Whatever a look switches is switched back by the ``with`` that switched it."""

import random
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any, TypeGuard

import numpy as np
import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lightning_cam.devices import device_of

DICTS = (dict, OrderedDict, defaultdict, Counter)
CONTAINERS = (*DICTS, list, set, deque)
TABLES = frozenset(vars(nn.Module()))  # torch's own: of parameters, buffers, hooks


@contextmanager
def leaving_no_trace(model: nn.Module) -> Iterator[None]:
    """Eval mode, eager and outside inference mode; modes, attributes, buffers, RNG states and grad mode are
    put back after.
    """
    # What changes torch as a whole comes first. The copies of the model's own state come last: they are put
    # back first, while torch is still as it was when they were made.
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(torch.is_grad_enabled()))
        if "torch._dynamo" in sys.modules:  # else nothing can be compiled
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(_autocast_uncached())
        stack.enter_context(_nondeterminism_tolerated())
        stack.enter_context(_checkpoints_run_once())
        stack.enter_context(_recurrence_differentiable(model))
        stack.enter_context(_random_states(model))
        modules, containers = _reachable(model)
        stack.enter_context(_modes_and_attributes(model, modules))
        stack.enter_context(_contents(containers))
        stack.enter_context(_buffers(modules, containers))
        yield


@contextmanager
def in_full_precision(device: torch.device) -> Iterator[Callable[[], Any]]:
    """Autocast off and float32 by default, so that maps are computed in full; yields the context to run the
    model in, as it was.
    """
    # Training in half precision sets autocast or the default dtype. The model is to run as it does in
    # training, but methods are to compute in full: so both are off, and on again around the model alone.
    kind, default = device.type, torch.get_default_dtype()
    casts = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)

    @contextmanager
    def as_before() -> Iterator[None]:
        with ExitStack() as stack:
            if casts:
                # No cache: a weight cast here without grad would be found by the next training step.
                stack.enter_context(torch.autocast(kind, dtype, cache_enabled=False))
            torch.set_default_dtype(default)
            stack.callback(torch.set_default_dtype, torch.float32)
            yield

    dtype = torch.get_autocast_dtype(kind) if casts else None
    with ExitStack() as stack:
        if casts:
            stack.enter_context(torch.autocast(kind, enabled=False))
        stack.callback(torch.set_default_dtype, default)
        torch.set_default_dtype(torch.float32)
        yield as_before


def _reachable(model: nn.Module) -> tuple[list[nn.Module], list[Any]]:
    """Every module, also one that is kept in a list or dict, of which ``modules()`` does not tell; and those
    lists and dicts.
    """
    # Metrics, memories and teachers may be kept in plain lists or dicts, so that they are no submodules and
    # stay out of checkpoints. The look's forward reaches them all the same. Only plain containers are
    # searched: a class of the user's own may do anything when it is iterated or copied.
    modules: list[nn.Module] = []
    containers: list[Any] = []
    seen: set[int] = set()
    waiting: list[Any] = [model]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, nn.Module):
            modules.append(thing)
            held: Iterable[Any] = [
                *thing.children(),
                *(value for name, value in vars(thing).items() if name not in TABLES),
            ]
        else:
            containers.append(thing)
            held = thing.values() if isinstance(thing, dict) else thing
        waiting += [one for one in held if type(one) in CONTAINERS or isinstance(one, nn.Module)]
    return modules, containers


@contextmanager
def _modes_and_attributes(model: nn.Module, modules: list[nn.Module]) -> Iterator[None]:
    # The flag itself, not eval(): modules may override it, to merge weights for one.
    attributes = [(module, dict(vars(module))) for module in modules]
    # A traced or scripted module keeps its flag where no attribute is.
    modes = [(module, module.training) for module in modules if isinstance(module, torch.jit.ScriptModule)]
    try:
        for module in model.modules():
            module.training = False
        yield
    finally:
        for module, before in attributes:
            # Modes, and what a forward leaves behind: a cached feature would carry the look's graph.
            for name in vars(module).keys() - before.keys():
                del vars(module)[name]
            vars(module).update(before)
        for module, mode in modes:
            if module.training != mode:
                module.training = mode


@contextmanager
def _contents(containers: list[Any]) -> Iterator[None]:
    # A metric's state may be a list, to which each forward appends; counters may stand in a dict.
    copies = [(kept, kept.copy(), _ids(kept)) for kept in containers]
    try:
        yield
    finally:
        for kept, copy, ids in copies:
            if _ids(kept) != ids:
                kept.clear()
                (kept.extend if isinstance(kept, list | deque) else kept.update)(copy)


def _ids(container: Any) -> list[int]:
    """What a container holds, by identity: equality may be slow, or no truth value, as that of tensors."""
    return list(map(id, chain(*container.items()) if isinstance(container, dict) else container))


@contextmanager
def _buffers(modules: list[nn.Module], containers: list[Any]) -> Iterator[None]:
    # Which tensors are buffers, and what is in them: a forward in eval mode may do both, set a buffer anew (a
    # cached positional table) or write into it (a step counter, an exponential average).
    # Those of a traced or scripted module are no table of Python's; it can be told which tensors they are.
    scripted = [
        (module, dict(module.named_buffers(recurse=False)))
        for module in modules
        if isinstance(module, torch.jit.ScriptModule)
    ]
    plain = [module for module in modules if not isinstance(module, torch.jit.ScriptModule)]
    tables = [(module._buffers, dict(module._buffers)) for module in plain if module._buffers]
    # Tensors kept as plain attributes or in a dict may be written in place as well: running averages,
    # memories.
    dicts = [kept for kept in containers if type(kept) in DICTS]
    holders = [*(buffers for _, buffers in (*tables, *scripted)), *map(vars, modules), *dicts]
    kept_tensors = chain.from_iterable(filter(_is_plain, holder.values()) for holder in holders)
    copies = [(kept, kept.detach().clone()) for kept in kept_tensors]
    try:
        yield
    finally:
        with torch.inference_mode():  # where buffers may be inference tensors themselves
            for table, buffers in tables:
                table.clear()
                table.update(buffers)
            for module, own in scripted:
                for name, buffer in own.items():
                    if getattr(module, name) is not buffer:
                        setattr(module, name, buffer)
            # Only what changed is written: a write would raise the version of a tensor that the training's
            # graph may hold. NaN equals itself here.
            differs = [
                ((buffer != copy) & ((buffer == buffer) | (copy == copy))).any() for buffer, copy in copies
            ]
            # One wait for the device, not one a buffer.
            changed = (
                torch.stack([flag.to(differs[0].device) for flag in differs]).tolist() if differs else []
            )
            for (buffer, copy), is_changed in zip(copies, changed, strict=True):
                if is_changed:
                    buffer.copy_(copy)


def _is_plain(kept: object) -> TypeGuard[Tensor]:
    if not isinstance(kept, Tensor) or isinstance(kept, nn.Parameter):
        return False
    return kept.layout is torch.strided and not kept.is_meta and not is_lazy(kept)


@contextmanager
def _random_states(model: nn.Module) -> Iterator[None]:
    # A forward may draw numbers in eval mode too (stochastic depth, random patches), and so may a user's
    # function. Python's, numpy's and torch's states are three; of devices only the model's own is touched.
    device = device_of(model)
    python, numpy = random.getstate(), np.random.get_state()
    fork = (
        torch.random.fork_rng(devices=[])
        if device.type in ("cpu", "meta")
        else torch.random.fork_rng(devices=[device], device_type=device.type)
    )
    try:
        with fork:
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def _nondeterminism_tolerated() -> Iterator[None]:
    # Trainer(deterministic=True) forbids the backward of adaptive pooling on CUDA, which most classifiers
    # have in their tail.
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode(min(mode, 1))
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)


@contextmanager
def _recurrence_differentiable(model: nn.Module) -> Iterator[None]:
    # cuDNN has no backward through recurrent layers in eval mode.
    before = torch.backends.cudnn.enabled
    if not before or not any(isinstance(module, nn.RNNBase) for module in model.modules()):
        yield
        return
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = before


@contextmanager
def _autocast_uncached() -> Iterator[None]:
    # A weight that autocast casts without grad and caches would have no gradient in the training step that
    # finds it there.
    enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)


@contextmanager
def _checkpoints_run_once() -> Iterator[None]:
    # Reentrant gradient checkpointing cuts off the layers inside it, and refuses gradients of chosen tensors.
    table = vars(torch.utils.checkpoint)
    before = table["CheckpointFunction"]
    table["CheckpointFunction"] = _RunOnce
    try:
        yield
    finally:
        table["CheckpointFunction"] = before


class _RunOnce:
    """Stands for ``CheckpointFunction`` during a look."""

    @staticmethod
    def apply(function: Callable, preserve: bool, *args: Any) -> Any:
        """The function's own outputs, with its own graph."""
        return function(*args)
