"""The whole way without Lightning: from a model and images to explanations."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, overload

import torch
from torch import Tensor, nn

from lightning_cam.attribution.capture import capture_layers, find_layer
from lightning_cam.attribution.config import (
    ExplainConfig,
    Forward,
    MethodLike,
    ModelConfig,
    TargetLike,
    method_row,
    readable_name,
)
from lightning_cam.attribution.evidence import Evidence, gathered, outlasting
from lightning_cam.attribution.mapping import (
    Confusions,
    LabelMaps,
    all_label_maps,
    blank_reasons,
    confused,
    fused,
    label_maps,
    mapped,
    together,
)
from lightning_cam.attribution.resolved_target import check_one_per_image
from lightning_cam.attribution.running import check_runnable, check_still, like, watched
from lightning_cam.attribution.target_layer import SMALLEST_MAP, TargetLayer, dimensions, small_map
from lightning_cam.attribution.task import AUTO, TASKS
from lightning_cam.attribution.task_decision import assumed_task, check_truth
from lightning_cam.checks import (
    Normalization,
    as_plain,
    check_class_names,
    check_images,
    check_labels,
    check_normalization,
    plain_labels,
)
from lightning_cam.explanation import Explanation
from lightning_cam.selectors import Selector, describe
from lightning_cam.typing import Activations, Cams, Images, Labels, Scores, Truth


@overload
def explain(
    model: nn.Module,
    images: Tensor,
    *,
    method: str | MethodLike = "gradcam",
    target: TargetLike = "predicted",
    labels: Tensor | None = None,
    target_layer: str | Sequence[str] | None = None,
    network: str | Forward | None = None,
    scores: Selector = None,
    normalization: str | Normalization | None = None,
    max_batch: int | None = None,
    task: str = AUTO,
    class_names: Sequence[str] | None = None,
) -> Explanation: ...


@overload
def explain(
    model: nn.Module,
    images: Tensor,
    *,
    method: list[Any] | tuple[Any, ...],
    target: TargetLike = "predicted",
    labels: Tensor | None = None,
    target_layer: str | Sequence[str] | None = None,
    network: str | Forward | None = None,
    scores: Selector = None,
    normalization: str | Normalization | None = None,
    max_batch: int | None = None,
    task: str = AUTO,
    class_names: Sequence[str] | None = None,
) -> dict[str, Explanation]: ...


def explain(
    model: nn.Module,
    images: Tensor,
    *,
    method: str | MethodLike | Sequence[str | MethodLike] = "gradcam",
    target: TargetLike = "predicted",
    labels: Tensor | None = None,
    target_layer: str | Sequence[str] | None = None,
    network: str | Forward | None = None,
    scores: Selector = None,
    normalization: str | Normalization | None = None,
    max_batch: int | None = None,
    task: str = AUTO,
    class_names: Sequence[str] | None = None,
) -> Explanation | dict[str, Explanation]:
    """Where a network looks: class activation maps of any ``nn.Module``, which is left as it was.

    Args:
        model: A network with feature maps or patch tokens. It is looked at in eval mode.
        images: (n, c, H, W), or one image (c, H, W), as the network gets them; moved to the model's device
            and dtype. Likewise volumes (n, c, D, H, W) and signals (n, c, T), for models whose first
            convolution is such.
        method: A key of ``METHODS``, a function of ``Evidence``, or a list of these: then a dict comes back,
            from one look.
        target: What to explain: a key of ``TARGETS``, a class by its name or index for all images, one class
            index per image in a list or a tensor (n,), or a function ``(scores, labels) -> (n,)``. Of a
            regression, "label" and "predicted" are its output; an index is that of an output.
        labels: (n,) true classes, for targets that need them; zeros and ones (n, C) where an image has
            several, NaN where nobody knows; numbers of a regression.
        target_layer: Name of a submodule; None finds the last one with feature maps. Of a list of names the
            maps are fused.
        network: What is run. None calls the model. The name of a submodule runs that one alone, such as
            ``"encoder"``; names of layers stay those of the whole model, such as ``"encoder.layer4"``. A
            function ``(model, images) -> output`` is called instead of the model; a function ``(model,
            images, index)`` is also told which image each row is, for models with further inputs.
        scores: How to read scores (n, C) from the output: key, index or function; None finds them. One score
            per image is a binary head's logit, explained as two classes, or the number of a regression: see
            ``task``. Probabilities of a sigmoid at the network's end are turned back into logits. For a
            target function scores may have positions, (n, C, h, w), and several are read as they are.
        normalization: What to undo for display: ``"imagenet"``, (mean, std) or None.
        max_batch: Most images sent through the model at once; None sends all.
        task: A key of ``TASKS``: "multiclass", "binary", "multilabel", "regression" or "none". "auto" decides
            by the labels, the number of outputs and the network's last operation, and asks where several fit;
            without labels one output is read as a logit, several as classes.
        class_names: One per class, for ``target`` and for figures.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument does not fit the model; the message names argument, value and remedy.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(
        ...     nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
        ... )
        >>> explanation = explain(model, torch.rand(2, 3, 16, 16))
        >>> explanation.target_layer, explanation.cams.shape, explanation.saliency.shape
        ('1', torch.Size([2, 14, 14]), torch.Size([2, 16, 16]))
    """
    names = check_class_names(class_names)
    reading = ModelConfig(network, scores, max_batch, task)
    config = ExplainConfig(method, target, target_layer, reading, normalization).named(names)
    check_runnable(model, reading)
    expected = dimensions(watched(model, reading)) + 2
    if isinstance(images, Tensor) and images.ndim == expected - 1:
        images = images[None]
    check_images(images)
    check_still(watched(model, reading), images)
    if images.ndim != expected:
        raise ValueError(
            f"images: got {describe(images)}; "
            f"the model's first convolution takes tensors of {expected} dimensions."
        )
    check_labels(labels, len(images), several=True)
    images = like(as_plain(images), watched(model, reading))
    labels = None if labels is None else plain_labels(as_plain(labels).to(images.device))
    found = answer(config, model, images, labels, find_layers(config, model, images))
    found = {name: replace(explanation, class_names=names) for name, explanation in found.items()}
    for note in dict.fromkeys(note for explanation in found.values() for note in explanation.notes):
        warnings.warn(note, stacklevel=2)
    return found if isinstance(method, list | tuple) else next(iter(found.values()))


def find_layers(config: ExplainConfig, model: nn.Module, images: Images) -> list[TargetLayer]:
    """The layers that ``config`` names, or the one that is found."""
    names = config.layer_names or [None]
    return [find_layer(model, images, name, config.model) for name in names]


def answer(
    config: ExplainConfig,
    model: nn.Module,
    images: Images,
    labels: Truth | None,
    layers: Sequence[TargetLayer],
) -> dict[str, Explanation]:
    """``explain`` for images and labels on the model's device and layers that were found: by method, from one
    look a batch.

    Where ``config`` leaves the task open, it is decided once, by all labels and the first batch's outputs.

    Args:
        labels: As ``plain_labels`` has them.
    """
    check_one_per_image(config.target_of(slice(None)), len(images))
    size = tuple(images.shape[2:])
    # Most methods explain each image by itself, batch by batch. A method that finds parts which the images
    # share needs all activations at once: its batches are gathered first.
    each = {name: method for name, method in config.methods.items() if method_row(method).parts is None}
    shared = {name: method for name, method in config.methods.items() if name not in each}
    cams: dict[str, list[Cams]] = {name: [] for name in config.methods}
    reasons: dict[str, list[Labels]] = {name: [] for name in config.methods}
    confusions: dict[str, list[Confusions]] = {name: [] for name in each}
    of_labels: dict[str, list[LabelMaps]] = {name: [] for name in each}
    seen: list[tuple[Evidence, ...]] = []
    finds_more = config.finds_confusions and labels is not None
    how = config.model
    # One look a batch gives the maps of all methods. What is kept of it holds neither graph nor network, so
    # that one batch at a time is in memory.
    for part in torch.arange(len(images)).split(config.model.max_batch or len(images)):
        here = slice(int(part[0]), int(part[-1]) + 1)
        with capture_layers(
            model,
            images[here],
            target_layers=layers,
            target=config.target_of(here),
            labels=None if labels is None else labels[here],
            config=how,
            first=here.start,
            several_targets=finds_more and here.start < config.confusions,
            truth=labels,
        ) as evidences:
            reading = evidences[0].reading
            how = replace(how, task=reading.task, activation=reading.activation)
            truth = (
                None if labels is None else check_truth(labels, evidences[0].scores.shape[1], reading.task)
            )
            for name, method in each.items():
                made, why = mapped(name, method, evidences, size)
                cams[name].append(made)
                reasons[name].append(why)
                if truth is None or not finds_more or here.start >= config.confusions:
                    continue
                if TASKS[reading.task].several:
                    of_labels[name].append(label_maps(name, method, evidences, truth[here], size))
                elif TASKS[reading.task].has_classes:
                    confusions[name].append(confused(name, method, evidences, size))
            seen.append(tuple(outlasting(evidence, images[here], bool(shared)) for evidence in evidences))
        del evidences  # else two looks would be held at once
    parts: dict[str, Activations] = {}
    wholes = [gathered([evidences[place] for evidences in seen], images) for place in range(len(layers))]
    for name, method in shared.items():
        found = [_parts(method, evidence) for evidence in wholes]
        parts[name] = found[-1]
        cams[name].append(fused([every[:, 0] for every in found]))
        reasons[name].append(blank_reasons(cams[name][0], wholes[-1], size))
    whole = wholes[-1]
    is_open = config.model.task == AUTO and not callable(config.target)
    assumed = assumed_task(reading, labels) if is_open else ()
    scores = whole.scores.flatten(2).mean(dim=2) if whole.scores.ndim > 2 else whole.scores
    return {
        name: Explanation(
            images=images,
            cams=torch.cat(cams[name]),
            scores=scores,
            target_classes=whole.target_classes,
            target_layer=" + ".join(layer.name for layer in layers),
            method=name,
            reasons=torch.cat(reasons[name]),
            notes=(*assumed, *_notes(torch.cat(cams[name]), scores, layers[-1])),
            normalization=check_normalization(config.normalization),
            parts=parts.get(name),
            confusions=together(confusions.get(name, []), config.confusions),
            task=reading.task,
            activation=reading.activation,
            labels=truth,
            label_maps=all_label_maps(of_labels.get(name, []), config.confusions),
        )
        for name in config.methods
    }


def _parts(method: MethodLike, evidence: Evidence) -> Activations:
    row = method_row(method)
    if row.parts is None:
        raise ValueError(f"method: {readable_name(method)} finds no parts.")
    return row.parts(evidence, **(method.keywords if isinstance(method, partial) else {})).detach().float()


def _notes(cams: Cams, scores: Scores, layer: TargetLayer) -> tuple[str, ...]:
    notes = [layer.note] if layer.note else []
    if not layer.note and min(cams.shape[1:]) < SMALLEST_MAP:
        small = small_map(layer.name, tuple(cams.shape[1:]))
        notes.append(f"{small}; try an earlier layer with method='layercam'")
    sums, lowest, broken = torch.stack(
        [(scores.sum(dim=1) - 1).abs().amax(), scores.amin(), (~cams.isfinite()).flatten(1).any(dim=1).sum()]
    ).tolist()
    if scores.shape[1] > 1 and sums < 1e-3 and lowest >= 0:
        notes.append(
            "scores: the model's forward returns probabilities; "
            "explain the logits, before softmax, with scores= or network="
        )
    if broken:
        notes.append(
            f"maps: {broken:.0f} of {len(cams)} are not finite (NaN or inf); "
            "look for NaN in the model's weights"
        )
    return tuple(notes)
