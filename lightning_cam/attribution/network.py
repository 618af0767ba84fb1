"""The model as two functions, cut at the layers looked at: the only hooks that change an output, and the only
backward.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_cam.attribution.config import ModelConfig
from lightning_cam.attribution.fixed_batch import BatchSize, FixedBatchError, RowsError
from lightning_cam.attribution.layout import CONVOLUTIONS, Layout, Size, first_tensor
from lightning_cam.attribution.output_reader import OutputReader
from lightning_cam.attribution.outputs import find_scores
from lightning_cam.attribution.running import runner, takes_index
from lightning_cam.attribution.target_layer import RUN_ONCE, TargetLayer
from lightning_cam.attribution.task import OutputReading
from lightning_cam.attribution.tokens import layout_of
from lightning_cam.checks import as_plain
from lightning_cam.devices import is_out_of_memory
from lightning_cam.typing import Gradients, Images, Index, Labels, Outputs, RowActivations


@dataclass(frozen=True, eq=False)
class Cut:
    """What the network answered, as a function of its layers' outputs; those outputs, and how they hold a
    map.
    """

    outputs: Outputs
    leaves: list[Tensor]
    layouts: list[Layout]


class Network:
    """The model as two functions: images to scores, and activations at a layer to scores.

    Args:
        config: How to run the model, and how to read what it answers.
        rows: How many rows go through it at once where ``config.max_batch`` does not say.
        first: What the first image's index is to a function that takes it.
        any_shape: Whether scores may have positions, (n, C, ...).
        precision: Makes the context that the model runs in.
        target: What is explained, and
        truth: the labels, both for the decision which task it is where ``config`` leaves it open.
    """

    def __init__(
        self,
        model: nn.Module,
        config: ModelConfig,
        rows: int = 1,
        *,
        first: int = 0,
        any_shape: bool = False,
        precision: Callable[[], Any] = ExitStack,
        target: Any = None,
        truth: Tensor | None = None,
    ) -> None:
        self.model, self.how = model, config.scores
        self.max_batch, self.first = config.max_batch or rows, first
        self.forward = runner(model, config.network)
        self.any_shape, self.precision = any_shape, precision
        self.takes_index = takes_index(self.forward)
        # What is learnt about the model while it runs, each at the first run that shows it:
        self.outer_grad = False  # grad must be on before the forward starts, not only behind the layer
        self.obstacle = ""  # why there can be no gradient, in words
        self.fixed_batch = False  # it takes no more rows at a layer than it got images
        self.reader = OutputReader(config, target, truth)
        self.batch = BatchSize(self.max_batch)  # it may take just so many images at once
        self.known: dict[str, tuple[Size, ...]] = {}  # by layer: grids of the convolutions before it

    def batches(self, images: Images, index: Labels) -> list[tuple[Tensor, Tensor]]:
        """Rows that go through the model at once."""
        return list(zip(images.split(self.max_batch), index.split(self.max_batch), strict=True))

    def scores(self, images: Images, index: Labels, is_differentiable: bool = False) -> Outputs:
        """(m, C), at least float32, without gradients unless they are asked for."""
        with torch.set_grad_enabled(is_differentiable):
            return self.batch.ask(len(images), lambda: self._read(images, index))

    def from_layer(
        self, layer: TargetLayer, images: Images, activations: RowActivations, index: Index
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Outputs for activations of the images ``index``, in parts: with each its rows, and the images that
        these are of.

        Where an image has several rows, what comes before the layer runs once for it, and what follows on all
        its rows; where the model fixes the size of its batch before the layer, the image is repeated.
        """
        parts = []
        several = not (self.fixed_batch or self.batch.is_fixed) and len(index.unique()) < len(index)
        # The cheap way. A method such as Ablation-CAM asks for hundreds of rows of one image, which differ
        # only at the layer: one image goes in, and the hook at the layer puts all its rows in its place.
        for image in index.unique().tolist() if several else []:
            rows = (index == image).nonzero()[:, 0]
            own = activations if len(rows) == len(index) else activations[rows]
            try:
                parts.append(
                    (self._tail(layer, images[image : image + 1], own, index[rows]), rows, index[rows])
                )
            except (RuntimeError, FixedBatchError) as error:
                # Some models keep what depends on the size of the batch from before the layer: a reshape
                # to len(images), a positional table, a skip connection around it. Their shapes then clash
                # (RuntimeError), or they answer for one image only. That is so for every image.
                if is_out_of_memory(error):
                    raise
                self.fixed_batch, parts = True, []
                break
        if parts:
            return parts
        # The plain way: as many copies of the images as there are rows, from the start.
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
        self,
        score: Tensor,
        cut: Cut,
        layers: list[TargetLayer],
        remedy: Callable[[TargetLayer], str],
        keeps_graph: bool = False,
    ) -> list[Gradients]:
        """The score's gradients at the layers, at least float32; with ``keeps_graph`` they can be asked for
        of another score. Where there is none, ``remedy`` says of that layer what to do.
        """
        found: Sequence[Tensor | None] = [None] * len(layers)
        if score.requires_grad:
            found = torch.autograd.grad(score, cut.leaves, allow_unused=True, retain_graph=keeps_graph)
        gradients = []
        for layer, gradient, own in zip(layers, found, cut.layouts, strict=True):
            if gradient is None:
                raise ValueError(f"target_layer: no gradient at {layer.name!r}: {remedy(layer)}.")
            gradients.append(precise(own.to_map(gradient.detach())))
        return gradients

    def cut(
        self,
        images: Images,
        index: Labels,
        layers: list[TargetLayer],
        activations: RowActivations | Sequence[Tensor] | None = None,
    ) -> Cut:
        """Outputs (m, C) as a function of the layers' outputs, and those: fresh leaves, or the given
        activations in their place, of several layers one (m, k, *grid) each.
        """
        given = [activations] if isinstance(activations, Tensor) else list(activations or [])
        rows = len(given[0]) if given else len(images)
        if rows != len(images):
            return self._cut(images, index, layers, given, rows)
        return self.batch.ask(len(images), lambda: self._cut(images, index, layers, given, rows))

    def _cut(
        self,
        images: Images,
        index: Labels,
        layers: list[TargetLayer],
        given: list[Tensor],
        rows: int,
    ) -> Cut:
        count = len(images)
        instead = {layer.path: maps for layer, maps in zip(layers, given, strict=bool(given))}
        is_differentiated = not given or any(maps.requires_grad for maps in given)
        leaves: dict[str, Tensor] = {}
        layouts: dict[str, Layout] = {}

        # A forward hook's return value replaces the layer's output. So the graph can be cut there: what comes
        # before runs without grad and costs no memory, and what follows starts from a leaf that is ours.
        def replace_output(layer: TargetLayer, module: nn.Module, output: Any) -> Any:
            whole = first_tensor(output)
            self.known.setdefault(layer.path, tuple(grids))
            rows_sent, size = self.batch.rows(count), tuple(images.shape[2:])
            own = layout_of(layer.name, module, whole, rows_sent, size, self.known[layer.path], self.model)
            others = whole[count:]  # of images that are repeated to fill the batch
            whole = whole[:count]
            # A layer that runs twice has two outputs, and no single map.
            if layer.path in leaves:
                raise ValueError(
                    f"target_layer: {layer.name!r} runs more than once in one forward; "
                    f"name one that runs once. {RUN_ONCE}"
                )
            # Lightning validates in inference mode, whose tensors autograd refuses: the leaf is made outside.
            with torch.inference_mode(False):
                if instead:
                    leaf = own.from_map(instead[layer.path].to(whole.dtype), whole.detach())
                elif leaves and whole.requires_grad:
                    leaf = whole  # it follows an earlier layer: a cut here would end that one's gradient
                else:
                    leaf = whole.detach().clone().requires_grad_()
            leaves[layer.path], layouts[layer.path] = leaf, own
            # From here on grad is on, and stays so until the forward ends: what follows is differentiated.
            torch.set_grad_enabled(not self.obstacle and is_differentiated)
            # Downstream sees a clone: an in-place ReLU would edit the evidence.
            onwards = torch.cat([leaf, others.detach()]) if len(others) else leaf.clone()
            return (onwards, *output[1:]) if isinstance(output, tuple) else onwards

        def note_grid(module: nn.Module, args: Any, output: Any) -> None:
            grids.append(tuple(output.shape[2:]))

        outputs = None
        grids: list[Size] = []
        is_known = all(layer.path in self.known for layer in layers)
        convolutions = [] if is_known else [m for m in self.model.modules() if isinstance(m, CONVOLUTIONS)]
        handles = [
            *(module.register_forward_hook(note_grid) for module in convolutions),
            *(
                self.model.get_submodule(layer.path).register_forward_hook(
                    lambda module, args, output, layer=layer: replace_output(layer, module, output)
                )
                for layer in layers
            ),
        ]
        # On from the start only where an earlier forward showed that it must be; the hook switches it on, and
        # this block back.
        try:
            with torch.set_grad_enabled(self.outer_grad and not self.obstacle and is_differentiated):
                outputs = self._read(images, index, rows)
        except RuntimeError as error:
            # The model keeps inference tensors (a buffer that a former validation replaced). Nothing can be
            # differentiated then, but methods without gradients still work: once more, without grad.
            if self.obstacle or "Inference tensors cannot be saved for backward" not in str(error):
                raise
            self.obstacle = (
                "the model keeps tensors made in inference mode; use Trainer(inference_mode=False)"
            )
        finally:
            for handle in handles:
                handle.remove()
        if outputs is None:
            return self._cut(images, index, layers, given, rows)
        for layer in layers:
            if layer.path not in leaves:
                raise ValueError(
                    f"target_layer: the forward never reaches {layer.name!r}; "
                    "name a layer that it runs through."
                )
        paths = [layer.path for layer in layers]
        return Cut(outputs, [leaves[path] for path in paths], [layouts[path] for path in paths])

    def _read(self, images: Images, index: Labels, rows: int | None = None) -> Tensor:
        count = len(images)
        images, index = self.batch.filled(images, index)
        with self.precision():
            answer = (
                self.forward(self.model, images, index + self.first)
                if self.takes_index
                else self.forward(self.model, images)
            )
        found = find_scores(answer, self.how, self.any_shape)
        if rows is not None and rows != count:
            if len(found) != rows:
                raise FixedBatchError
        elif len(found) != len(images):
            raise RowsError(
                f"scores: the model gave {len(found)} rows for {len(images)} images; "
                "say how to read them with scores=."
            )
        return precise(self.reader.scores_of(as_plain(found)[: rows or count]))

    @property
    def reading(self) -> OutputReading:
        """How the outputs are read, once they were."""
        return self.reader.reading


def precise(tensor: Tensor) -> Tensor:
    """At least float32, and a plain tensor: what is kept of a look stands in checkpoints."""
    return as_plain(tensor).to(torch.promote_types(tensor.dtype, torch.float32))
