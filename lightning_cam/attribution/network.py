"""The model as two functions, cut at the layers looked at: the only hooks that change an output, and the only
backward.
"""

import inspect
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_cam.attribution.layout import Layout, first_tensor, layout
from lightning_cam.attribution.outputs import read_scores
from lightning_cam.attribution.target_layer import TargetLayer
from lightning_cam.devices import is_out_of_memory
from lightning_cam.selectors import Selector, describe
from lightning_cam.typing import Gradients, Images, Index, Labels, Outputs, RowActivations

Forward = Callable[
    ..., Any
]  # (module, images) -> output, or (module, images, index): which image each row is


@dataclass(frozen=True, eq=False)
class Cut:
    """What the network answered, as a function of its layers' outputs; those outputs, and how they hold a
    map.
    """

    outputs: Outputs
    leaves: list[Tensor]
    layouts: list[Layout]


class Network:
    """The model as two functions: images to scores, and activations at a layer to scores."""

    def __init__(
        self,
        model: nn.Module,
        forward: Forward | None,
        how: Selector,
        max_batch: int,
        first: int = 0,
        any_shape: bool = False,
        precision: Callable[[], Any] = ExitStack,
    ) -> None:
        self.model, self.how, self.max_batch, self.first = model, how, max_batch, first
        self.forward: Forward = forward or _call
        self.any_shape, self.precision = any_shape, precision
        self.takes_index = _takes_index(self.forward)
        self.outer_grad = False
        self.obstacle = ""
        self.fixed_batch = False

    def batches(self, images: Images, index: Labels) -> list[tuple[Tensor, Tensor]]:
        """Rows that go through the model at once."""
        return list(zip(images.split(self.max_batch), index.split(self.max_batch), strict=True))

    def scores(self, images: Images, index: Labels) -> Outputs:
        """(m, C), at least float32, without gradients."""
        with torch.no_grad():
            return self._read(images, index)

    def from_layer(
        self, layer: TargetLayer, images: Images, activations: RowActivations, index: Index
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Outputs for activations of the images ``index``, in parts: with each its rows, and the images that
        these are of.

        Where an image has several rows, what comes before the layer runs once for it, and what follows on all
        its rows; where the model fixes the size of its batch before the layer, the image is repeated.
        """
        parts = []
        several = not self.fixed_batch and len(index.unique()) < len(index)
        for image in index.unique().tolist() if several else []:
            rows = (index == image).nonzero()[:, 0]
            own = activations if len(rows) == len(index) else activations[rows]
            try:
                parts.append(
                    (self._tail(layer, images[image : image + 1], own, index[rows]), rows, index[rows])
                )
            except (RuntimeError, _FixedBatchError) as error:
                if is_out_of_memory(error):
                    raise
                self.fixed_batch, parts = True, []
                break
        if parts:
            return parts
        for rows in torch.arange(len(index), device=index.device).split(self.max_batch):
            which = index[rows]
            parts.append((self._tail(layer, images[which], activations[rows], which), rows, which))
        return parts

    def _tail(self, layer: TargetLayer, images: Images, activations: RowActivations, index: Index) -> Tensor:
        outputs = self.cut(images, index[: len(images)], [layer], activations).outputs
        if not (self.is_gradient_decided(outputs) or not activations.requires_grad):
            outputs = self.cut_under_grad(images, index[: len(images)], [layer], activations).outputs
        return outputs

    def is_gradient_decided(self, outputs: Outputs) -> bool:
        """Whether there is a gradient, or none to be had."""
        return outputs.requires_grad or self.outer_grad or bool(self.obstacle)

    def cut_under_grad(
        self,
        images: Images,
        index: Labels,
        layers: list[TargetLayer],
        activations: RowActivations | None = None,
    ) -> Cut:
        """As ``cut``, with grad on from the start, now and from now on.

        The user's own no_grad around the backbone switches grad off again when it ends, unless it was on
        before.
        """
        self.outer_grad = True
        return self.cut(images, index, layers, activations)

    def gradients(
        self, score: Tensor, cut: Cut, layers: list[TargetLayer], keeps_graph: bool = False
    ) -> list[Gradients]:
        """The score's gradients at the layers, at least float32; with ``keeps_graph`` they can be asked for
        of another score.
        """
        found: Sequence[Tensor | None] = [None] * len(layers)
        if score.requires_grad:
            found = torch.autograd.grad(score, cut.leaves, allow_unused=True, retain_graph=keeps_graph)
        gradients = []
        for layer, gradient, own in zip(layers, found, cut.layouts, strict=True):
            if gradient is None:
                unknown = "the score does not depend on this layer by a gradient; name a layer that it passes through"
                raise ValueError(
                    f"target_layer: no gradient at {layer.name!r}: {self.obstacle or unknown}, or use method='eigencam'."
                )
            gradients.append(precise(own.to_map(gradient.detach())))
        return gradients

    def cut(
        self,
        images: Images,
        index: Labels,
        layers: list[TargetLayer],
        activations: RowActivations | None = None,
    ) -> Cut:
        """Outputs (m, C) as a function of the layers' outputs, and those: fresh leaves, or the given
        activations in their place.
        """
        rows = len(images) if activations is None else len(activations)
        leaves: dict[str, Tensor] = {}
        layouts: dict[str, Layout] = {}

        def replace_output(layer: TargetLayer, module: nn.Module, output: Any) -> Any:
            whole = first_tensor(output)
            own = self._layout(layer, module, whole, images)
            if layer.path in leaves:
                raise ValueError(
                    f"target_layer: {layer.name!r} runs more than once in one forward; name one that runs once."
                )
            with torch.inference_mode(False):
                if activations is not None:
                    leaf = own.from_map(activations.to(whole.dtype), whole.detach())
                elif leaves and whole.requires_grad:
                    leaf = whole  # it follows an earlier layer
                else:
                    leaf = whole.detach().clone().requires_grad_()
            leaves[layer.path], layouts[layer.path] = leaf, own
            torch.set_grad_enabled(not self.obstacle and (activations is None or activations.requires_grad))
            # Downstream sees a clone: an in-place ReLU would edit the evidence.
            return (leaf.clone(), *output[1:]) if isinstance(output, tuple) else leaf.clone()

        outputs = None
        handles = [
            self.model.get_submodule(layer.path).register_forward_hook(
                lambda module, args, output, layer=layer: replace_output(layer, module, output)
            )
            for layer in layers
        ]
        try:
            with torch.set_grad_enabled(
                self.outer_grad and not self.obstacle and (activations is None or activations.requires_grad)
            ):
                outputs = self._read(images, index, rows)
        except RuntimeError as error:
            if self.obstacle or "Inference tensors cannot be saved for backward" not in str(error):
                raise
            self.obstacle = (
                "the model keeps tensors made in inference mode; use Trainer(inference_mode=False)"
            )
        finally:
            for handle in handles:
                handle.remove()
        if outputs is None:
            return self.cut(images, index, layers, activations)
        for layer in layers:
            if layer.path not in leaves:
                raise ValueError(
                    f"target_layer: the forward never reaches {layer.name!r}; name a layer that it runs through."
                )
        paths = [layer.path for layer in layers]
        return Cut(outputs, [leaves[path] for path in paths], [layouts[path] for path in paths])

    def _read(self, images: Images, index: Labels, rows: int | None = None) -> Tensor:
        with self.precision():
            answer = (
                self.forward(self.model, images, index + self.first)
                if self.takes_index
                else self.forward(self.model, images)
            )
        outputs = read_scores(answer, self.how, self.any_shape)
        if len(outputs) != (rows or len(images)):
            if rows is not None and rows != len(images):
                raise _FixedBatchError
            raise ValueError(
                f"scores: the model gave {len(outputs)} rows for {len(images)} images; say how to read them with scores=."
            )
        return precise(outputs)

    def _layout(self, layer: TargetLayer, module: nn.Module, output: Any, images: Images) -> Layout:
        is_map = isinstance(output, Tensor) and output.is_floating_point() and len(output) == len(images)
        own = layout(module, tuple(output.shape), tuple(images.shape[2:])) if is_map else None
        if own is None:
            raise ValueError(
                f"target_layer: {layer.name!r} yields {describe(output)} for {len(images)} images; "
                "name a layer that yields one map (n, k, h, w), or tokens (n, t, k) on a grid."
            )
        return own


class _FixedBatchError(Exception):
    """The model does not take more rows at the layer than it got images."""


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
    missing = getattr(type(model).forward, "__qualname__", "") in (
        "LightningModule.forward",
        "_forward_unimplemented",
    )
    if missing and forward is None and "forward" not in vars(model):
        raise ValueError(
            f"forward: {type(model).__name__} has no forward; define one that returns the class scores, "
            "or say how to run it: forward=lambda module, images: module.net(images)."
        )


def like(images: Images, model: nn.Module) -> Images:
    """Images on the model's device, and in its dtype where both are floating."""
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    if parameter is None:
        return images
    return images.to(parameter.device, parameter.dtype if images.is_floating_point() else images.dtype)


def _call(model: nn.Module, images: Tensor) -> Any:
    return model(images)


def precise(tensor: Tensor) -> Tensor:
    """At least float32."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _takes_index(forward: Forward) -> bool:
    """Whether a function asks for a third argument, the index of each row's image."""
    try:
        parameters = inspect.signature(forward).parameters.values()
    except (TypeError, ValueError):
        return False  # of some built-in functions nobody knows
    return (
        sum(
            p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
            for p in parameters
        )
        == 3
    )
