"""One look at the model: what a method may see of it, and no trace left."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lightning_cam.attribution.closeness import without_gradient
from lightning_cam.attribution.config import ModelConfig, TargetLike
from lightning_cam.attribution.connection import connected
from lightning_cam.attribution.evidence import Evidence
from lightning_cam.attribution.fixed_batch import first_that_runs
from lightning_cam.attribution.network import Cut, Network, precise
from lightning_cam.attribution.preserve import leaving_no_trace
from lightning_cam.attribution.resolved_target import (
    PlainTarget,
    ResolvedTarget,
    check_target,
    resolve_target,
)
from lightning_cam.attribution.running import check_runnable, check_still, watched
from lightning_cam.attribution.target_layer import TargetLayer, automatic_layer, named_layer
from lightning_cam.selectors import describe
from lightning_cam.typing import (
    Gradients,
    Images,
    Index,
    Labels,
    Outputs,
    PerImage,
    PerRow,
    RowActivations,
    Rows,
    Truth,
)

PLAIN = ModelConfig()  # the model is called, its scores are found


def find_layer(
    model: nn.Module,
    images: Images,
    target_layer: str | None = None,
    config: ModelConfig = PLAIN,
) -> TargetLayer:
    """The target layer: the one named, or the automatic one, found by forwards of one image, or of a batch.

    Names are those of the whole model, also where ``config.network`` says that a submodule runs alone.

    Raises:
        ValueError: No such layer, or none that can be chosen without guessing; the message lists candidates.
            Or a lazy layer has not run yet: running it here would draw its weights.
    """
    check_runnable(model, config)
    if not has_run(watched(model, config)):
        raise ValueError(
            f"model: {type(model).__name__} has lazy layers without weights; "
            "run it once before looking at it."
        )
    check_still(watched(model, config), images)
    if target_layer is not None:
        return named_layer(model, target_layer)

    def found_with(count: int) -> TargetLayer:
        network = Network(model, replace(config, max_batch=count), any_shape=True)
        index = torch.arange(count, device=images.device) % len(images)

        def answer() -> Outputs:  # each time without a trace: what is left would answer the next question
            with leaving_no_trace(model):
                return network.scores(images[index].clone(), index)

        return automatic_layer(model, answer, tuple(images.shape[2:]), count)

    return first_that_runs(found_with, config.max_batch or max(2, len(images)))


@contextmanager
def capture(
    model: nn.Module, images: Images, *, target_layer: TargetLayer, **options: Any
) -> Iterator[Evidence]:
    """One look at one layer of the model with one batch of images; options as in ``capture_layers``."""
    with capture_layers(model, images, target_layers=[target_layer], **options) as (evidence,):
        yield evidence


@contextmanager
def capture_layers(
    model: nn.Module,
    images: Images,
    *,
    target_layers: Sequence[TargetLayer],
    target: TargetLike = "label",
    labels: Truth | None = None,
    config: ModelConfig = PLAIN,
    first: int = 0,
    several_targets: bool = False,
    truth: Tensor | None = None,
) -> Iterator[tuple[Evidence, ...]]:
    """One look at several layers with one batch of images: one Evidence a layer, from one forward and one
    backward.

    The graph is cut at the first layer that the forward reaches: what comes before runs without grad, the
    layer's output becomes a fresh leaf, and one backward from the scores to the layers runs when
    ``gradients`` are first asked for. Modes, buffers, RNG states, ``.grad`` and the grad mode are afterwards
    as before, also when something raises; hooks live only while the model runs. Inside the block the caller's
    autocast is off: it is on again wherever the model runs.

    Args:
        config: How to run and read the model. With no ``max_batch`` in it, ``score`` and ``tail`` send as
            many images through the model at once as there are, or 16.
        first: What the first image's index is to a ``config.network`` that takes it.
        several_targets: Keeps the graph behind the layers for ``with_classes``, which then needs no forward
            of its own.
        truth: Labels of all images, of which these may be some: they tell the task where ``config`` leaves it
            open; None takes ``labels``.

    Raises:
        ValueError: The forward does not reach a layer, a layer yields no map, labels are missing or outside
            the classes.
    """
    target = check_target(target)
    truth = labels if truth is None else truth
    with connected(model, len(images), config, target=target, first=first, truth=truth) as network:
        # Clones made here, outside inference mode, may be saved for backward; the caller's may not.
        known = None if labels is None else labels.clone()
        yield _evidences(
            network, list(target_layers), images.clone(), target, known, keeps_graph=several_targets
        )


@contextmanager
def scoring(
    model: nn.Module,
    images: Images,
    *,
    target: TargetLike = "label",
    labels: Truth | None = None,
    config: ModelConfig = PLAIN,
) -> Iterator[Callable[[Rows, Index], PerRow]]:
    """Target scores without a layer: yields ``(others, index) -> (m,)``, as ``Evidence.score``, and leaves as
    little trace.

    Which classes the target weighs is decided on ``images``; ``index`` says to which of them each row of
    ``others`` belongs.

    Raises:
        ValueError: No scores are found, or labels are missing or outside the classes.
    """
    target = check_target(target)
    with connected(model, len(images), config, target=target, truth=labels) as network:
        everyone = torch.arange(len(images), device=images.device)
        parts = network.batches(images.clone(), everyone)
        outputs = torch.cat([network.scores(some, which) for some, which in parts])
        known = None if labels is None else labels.clone()
        yield _scorer(network, resolve_target(target, outputs, known, network.reading.task))


@contextmanager
def predicting(
    model: nn.Module,
    count: int,
    config: ModelConfig = PLAIN,
    truth: Tensor | None = None,
) -> Iterator[Callable[[Rows, Index], Outputs]]:
    """Scores without a layer and without a target: yields ``(images, index) -> (m, C)``, at least float32,
    and leaves no trace.

    Args:
        count: How many images there are, of which ``index`` says to which each row belongs.
        truth: Labels, which tell the task where ``config`` leaves it open; None where nobody knows them.
    """
    with connected(model, count, config, truth=truth) as network:

        def ask(images: Rows, index: Index) -> Outputs:
            if truth is not None and not network.reader.knows_activation:
                _look_for_sigmoid(network, images[:1], index[:1])
            return torch.cat([network.scores(*part) for part in network.batches(images, index)])

        yield ask


def _look_for_sigmoid(network: Network, image: Images, index: Index) -> None:
    """Lets the graph of one image tell what ends the network."""
    first, kept = image.detach().clone(), (*network.model.parameters(), *network.model.buffers())
    differentiable = not any(tensor.is_inference() for tensor in kept if not is_lazy(tensor))
    network.scores(first.requires_grad_(first.is_floating_point()), index, differentiable)
    network.reader.end_search()


def _scorer(network: Network, settled: ResolvedTarget) -> Callable[[Rows, Index], PerRow]:
    def score(others: Rows, index: Index) -> PerRow:
        parts = [
            _target_score(settled, network.scores(some, which), which)
            for some, which in network.batches(others, index)
        ]
        return torch.cat(parts)

    return score


def _target_score(settled: ResolvedTarget, outputs: Outputs, index: Labels) -> PerImage:
    found = settled.score(outputs, index)
    if not (isinstance(found, Tensor) and found.shape == index.shape):
        raise ValueError(
            f"target: the function returned {describe(found)}; return one score per image, ({len(index)},)."
        )
    return found


def _evidences(
    network: Network,
    layers: list[TargetLayer],
    images: Images,
    target: PlainTarget | ResolvedTarget,
    labels: Truth | None = None,
    cut: Cut | None = None,
    keeps_graph: bool = False,
) -> tuple[Evidence, ...]:
    """What one look yields for each layer, around the forward ``cut`` where there was one already.

    Everything dear is made at first use and kept (``cache``): most methods ask for gradients, some for none,
    and several methods of one look share them.
    """
    everyone = torch.arange(len(images), device=images.device)
    cut = cut or network.cut(images, everyone, layers)
    outputs = cut.outputs.detach()
    settled = (
        target
        if isinstance(target, ResolvedTarget)
        else resolve_target(target, outputs, labels, network.reading.task)
    )

    # A model that runs its backbone under its own no_grad answers without a gradient although there is one:
    # then the forward runs once more, with grad on from its start.
    @cache
    def differentiable() -> Cut:
        with torch.enable_grad():
            if network.is_gradient_decided(cut.outputs):
                return cut
            return network.cut_under_grad(images, everyone, layers)

    @cache
    def differentiate() -> list[Gradients]:
        with torch.enable_grad():
            score = _target_score(settled, differentiable().outputs, everyone).sum()
            remedy = partial(without_gradient, network, images, everyone)
            return network.gradients(score, differentiable(), layers, remedy, keeps_graph)

    # Another class of the same images is another backward of the same forward, where its graph was kept.
    def with_classes(classes: Labels) -> tuple[Evidence, ...]:
        other = resolve_target("label", outputs, classes)
        return _evidences(
            network,
            layers,
            images,
            other,
            cut=differentiable() if keeps_graph else None,
            keeps_graph=keeps_graph,
        )

    def tail(layer: TargetLayer, activations: RowActivations, index: Index) -> PerRow:
        with torch.set_grad_enabled(activations.requires_grad):
            parts = network.from_layer(layer, images, activations, index)
            scores = torch.cat([_target_score(settled, answer, which) for answer, _, which in parts])
            # The parts come image by image; this puts the scores back into the order of the rows.
            return scores[torch.cat([rows for _, rows, _ in parts]).argsort()]

    def evidence(place: int, layer: TargetLayer) -> Evidence:
        return Evidence(
            images=images,
            activations=precise(cut.layouts[place].to_map(cut.leaves[place].detach())),
            scores=outputs,
            target_scores=_target_score(settled, outputs, everyone),
            target_classes=settled.classes,
            differentiate=lambda: differentiate()[place],
            score=_scorer(network, settled),
            tail=lambda activations, index: tail(layer, activations, index),
            with_images=lambda others: _evidences(network, [layer], others, settled)[0],
            with_classes=lambda classes: with_classes(classes)[place],
            reading=network.reading,
        )

    return tuple(evidence(place, layer) for place, layer in enumerate(layers))


def has_run(model: nn.Module) -> bool:
    """Whether no lazy layer still waits for its first forward."""
    return not any(is_lazy(parameter) for parameter in model.parameters())
