"""One look at the model: the only hooks and the only autograd of this package. It leaves no trace."""

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lightning_cam.evidence import Evidence
from lightning_cam.functional.targets import TARGETS, Target, label_score, target_classes
from lightning_cam.layers import TargetLayer, automatic_layer, named_layer
from lightning_cam.reading import How, describe, read_scores
from lightning_cam.tables import choose
from lightning_cam.typing import Activations, Gradients, Images, Labels, PerImage, Scores

Forward = Callable[[nn.Module, Tensor], Any]


def find_layer(model: nn.Module, images: Images, target_layer: str | None = None, forward: Forward | None = None) -> TargetLayer:
    """The target layer: the one named, or the automatic one, found by a forward of the first image.

    Raises:
        ValueError: No such layer, or none that can be chosen without guessing; the message lists candidates. Or a lazy layer has
            not run yet: running it here would draw its weights.
    """
    check_forward(model, forward)
    if not has_run(model):
        raise ValueError(f"model: {type(model).__name__} has lazy layers without weights; run it once before looking at it.")
    if target_layer is not None:
        return named_layer(model, target_layer)
    with leaving_no_trace(model), torch.no_grad():
        return automatic_layer(model, partial(forward or _call, model, images[:1].clone()))


@contextmanager
def look(
    model: nn.Module,
    images: Images,
    *,
    target_layer: TargetLayer,
    target: str | int | Target = "label",
    labels: Labels | None = None,
    forward: Forward | None = None,
    scores: How = None,
    max_batch: int | None = None,
) -> Iterator[Evidence]:
    """One look at the model with one batch of images.

    The graph is cut at the target layer: what comes before runs without grad, the layer's output becomes a fresh leaf, and one
    backward from the scores to that leaf runs when ``gradients`` are first asked for. Modes, buffers, RNG states, ``.grad`` and
    the grad mode are afterwards as before, also when something raises; hooks live only while the model runs.

    Args:
        max_batch: Most rows that ``score`` and ``tail`` send through the model at once; None: as many as there are images.

    Raises:
        ValueError: The forward does not reach the layer, the layer yields no map, labels are missing or outside the classes.
    """
    check_forward(model, forward)
    with leaving_no_trace(model):
        network = _Network(model, target_layer, forward or _call, scores, max_batch or len(images))
        # Clones made here, outside inference mode, may be saved for backward; the caller's may not.
        yield _evidence(network, images.clone(), target, None if labels is None else labels.clone())


def _evidence(network: "_Network", images: Images, target: str | int | Target, labels: Labels | None) -> Evidence:
    scores, leaf = network.cut(images)
    classes = target_classes(target, scores.detach(), labels)

    def target_score(scores: Scores, index: Labels) -> PerImage:
        if classes is not None:
            return label_score(scores, classes[index])
        found = choose(TARGETS, target, "target")(scores, None if labels is None else labels[index])
        if not (isinstance(found, Tensor) and found.shape == index.shape):
            raise ValueError(f"target: the function returned {describe(found)}; return one score per image, ({len(index)},).")
        return found

    @cache
    def differentiate() -> Gradients:
        everyone = torch.arange(len(images), device=images.device)
        with torch.enable_grad():
            answer, start = (scores, leaf) if network.is_settled(scores) else network.cut_under_grad(images)
            return network.gradient(target_score(answer, everyone).sum(), start)

    def score(others: Images, index: Labels) -> PerImage:
        rows = zip(others.split(network.max_batch), index.split(network.max_batch), strict=True)
        return torch.cat([target_score(network.scores(some), which) for some, which in rows])

    def tail(activations: Activations, index: Labels) -> PerImage:
        rows = zip(activations.split(network.max_batch), index.split(network.max_batch), strict=True)
        with torch.enable_grad():
            return torch.cat([target_score(network.from_layer(images[which], some)[0], which) for some, which in rows])

    def again(others: Images) -> Evidence:
        same: str | Target = "label" if classes is not None else choose(TARGETS, target, "target")
        return _evidence(network, others, same, labels if classes is None else classes)

    return Evidence(images, _precise(leaf.detach()), scores.detach(), classes, differentiate, score, tail, again)


class _Network:
    """The model as two functions: images to scores, and activations at the target layer to scores."""

    def __init__(self, model: nn.Module, layer: TargetLayer, forward: Forward, how: How, max_batch: int) -> None:
        self.model, self.layer, self.forward, self.how, self.max_batch = model, layer, forward, how, max_batch
        self.module = model.get_submodule(layer.path)
        self.outer_grad = False
        self.obstacle = ""

    def scores(self, images: Images) -> Scores:
        """(m, C), at least float32, without gradients."""
        with torch.no_grad():
            return self._read(images)

    def from_layer(self, images: Images, activations: Activations) -> tuple[Scores, Tensor]:
        """As ``cut``, with a gradient wherever there can be one."""
        scores, leaf = self.cut(images, activations)
        return (scores, leaf) if self.is_settled(scores) else self.cut_under_grad(images, activations)

    def is_settled(self, scores: Scores) -> bool:
        """Whether there is a gradient, or none to be had."""
        return scores.requires_grad or self.outer_grad or bool(self.obstacle)

    def cut_under_grad(self, images: Images, activations: Activations | None = None) -> tuple[Scores, Tensor]:
        """As ``cut``, with grad on from the start, now and from now on.

        The user's own no_grad around the backbone switches grad off again when it ends, unless it was on before.
        """
        self.outer_grad = True
        return self.cut(images, activations)

    def gradient(self, score: Tensor, leaf: Tensor) -> Gradients:
        """The score's gradient at the leaf, at least float32."""
        gradient = torch.autograd.grad(score, leaf, allow_unused=True)[0] if score.requires_grad else None
        if gradient is None:
            reason = self.obstacle or "the score does not depend on this layer by a gradient; name a layer that it passes through"
            raise ValueError(f"target_layer: no gradient at {self.layer.name!r}: {reason}, or use method='eigencam'.")
        return _precise(gradient.detach())

    def cut(self, images: Images, activations: Activations | None = None) -> tuple[Scores, Tensor]:
        """Scores (m, C) as a function of the target layer's output, and that output: the given one, or a fresh leaf."""
        leaves: list[Tensor] = []

        def replace_output(module: nn.Module, args: Any, output: Any) -> Tensor:
            self._check_map(output, len(images))
            if leaves:
                raise ValueError(f"target_layer: {self.layer.name!r} runs more than once in one forward; name one that runs once.")
            with torch.inference_mode(False):
                leaf = output.detach().clone() if activations is None else activations.to(output.dtype)
                leaves.append(leaf.requires_grad_() if activations is None else leaf)
            torch.set_grad_enabled(not self.obstacle)
            # Downstream sees a clone: an in-place ReLU would edit the evidence.
            return leaf.clone()

        scores = None
        handle = self.module.register_forward_hook(replace_output)
        try:
            with torch.set_grad_enabled(self.outer_grad and not self.obstacle):
                scores = self._read(images)
        except RuntimeError as error:
            if self.obstacle or "Inference tensors cannot be saved for backward" not in str(error):
                raise
            self.obstacle = "the model keeps tensors made in inference mode; use Trainer(inference_mode=False)"
        finally:
            handle.remove()
        if scores is None:
            return self.cut(images, activations)
        if not leaves:
            raise ValueError(f"target_layer: the forward never reaches {self.layer.name!r}; name a layer that it runs through.")
        return scores, leaves[0]

    def _read(self, images: Images) -> Scores:
        scores = read_scores(self.forward(self.model, images), self.how)
        if len(scores) != len(images):
            raise ValueError(
                f"scores: the model gave {len(scores)} rows for {len(images)} images; say how to read them with scores=."
            )
        return _precise(scores)

    def _check_map(self, output: Any, count: int) -> None:
        if not (isinstance(output, Tensor) and output.ndim == 4 and output.is_floating_point() and len(output) == count):
            raise ValueError(
                f"target_layer: {self.layer.name!r} yields {describe(output)} for {count} images; "
                "name a layer that yields one map (n, k, h, w)."
            )


@contextmanager
def leaving_no_trace(model: nn.Module) -> Iterator[None]:
    """Eval mode, eager and outside inference mode; modes, attributes, buffers, RNG states and grad mode are put back after."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(torch.is_grad_enabled()))
        if "torch._dynamo" in sys.modules:  # else nothing can be compiled
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(_autocast_uncached())
        stack.enter_context(_nondeterminism_tolerated())
        stack.enter_context(_random_states(model))
        stack.enter_context(_modes_and_attributes(model))
        stack.enter_context(_buffers(model))
        yield


def has_run(model: nn.Module) -> bool:
    """Whether no lazy layer still waits for its first forward."""
    return not any(is_lazy(parameter) for parameter in model.parameters())


def check_forward(model: nn.Module, forward: Forward | None) -> None:
    """Refuses a module without a ``forward`` of its own, unless a function replaces it.

    Raises:
        TypeError: ``model`` is no module, or ``forward`` no function.
        ValueError: The module has no ``forward``.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: got {describe(model)}; give a torch.nn.Module.")
    if forward is not None and not callable(forward):
        raise TypeError(f"forward: got {forward!r}; give a function (module, images) -> output.")
    missing = getattr(type(model).forward, "__qualname__", "") in ("LightningModule.forward", "_forward_unimplemented")
    if missing and forward is None and "forward" not in vars(model):
        raise ValueError(
            f"forward: {type(model).__name__} has no forward; define one that returns the class scores, "
            "or say how to run it: forward=lambda module, images: module.net(images)."
        )


def _call(model: nn.Module, images: Tensor) -> Any:
    return model(images)


def _precise(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


@contextmanager
def _modes_and_attributes(model: nn.Module) -> Iterator[None]:
    # The flag itself, not eval(): modules may override it, to merge weights for one.
    attributes = [(module, dict(vars(module))) for module in model.modules()]
    try:
        for module, _ in attributes:
            module.training = False
        yield
    finally:
        for module, before in attributes:
            # Modes, and what a forward leaves behind: a cached feature would carry the look's graph.
            for name in vars(module).keys() - before.keys():
                del vars(module)[name]
            vars(module).update(before)


@contextmanager
def _buffers(model: nn.Module) -> Iterator[None]:
    tables = [(module._buffers, dict(module._buffers)) for module in model.modules() if module._buffers]
    copies = [(buffer, buffer.clone()) for _, buffers in tables for buffer in buffers.values() if _is_plain(buffer)]
    try:
        yield
    finally:
        with torch.inference_mode():  # where buffers may be inference tensors themselves
            for table, buffers in tables:
                table.clear()
                table.update(buffers)
            differs = [((buffer != copy) & ((buffer == buffer) | (copy == copy))).any() for buffer, copy in copies]
            # One wait for the device, not one a buffer.
            changed = torch.stack([flag.to(differs[0].device) for flag in differs]).tolist() if differs else []
            for (buffer, copy), is_changed in zip(copies, changed, strict=True):
                if is_changed:
                    buffer.copy_(copy)


def _is_plain(buffer: Tensor | None) -> TypeGuard[Tensor]:
    return buffer is not None and buffer.layout is torch.strided and not buffer.is_meta and not is_lazy(buffer)


@contextmanager
def _random_states(model: nn.Module) -> Iterator[None]:
    device = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))
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
    # Trainer(deterministic=True) forbids the backward of adaptive pooling on CUDA, which most classifiers have in their tail.
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode(min(mode, 1))
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)


@contextmanager
def _autocast_uncached() -> Iterator[None]:
    # A weight that autocast casts without grad and caches would have no gradient in the training step that finds it there.
    enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)
