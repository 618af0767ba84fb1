"""The whole way without Lightning: from a model and images to explanations."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightning_cam.attribution import maps
from lightning_cam.attribution.capture import capture_layers, find_layer
from lightning_cam.attribution.config import ExplainConfig, MethodLike, name_of, row_of
from lightning_cam.attribution.evidence import Evidence
from lightning_cam.attribution.network import Forward, check_forward, like
from lightning_cam.attribution.target_layer import SMALLEST_MAP, TargetLayer, dimensions
from lightning_cam.attribution.targets import Target
from lightning_cam.checks import Normalization, check_images, check_labels, check_normalization
from lightning_cam.explanation import Confusions, Explanation
from lightning_cam.selectors import Selector, describe
from lightning_cam.typing import Activations, Cams, Gradients, Images, Labels, Scores, Truth


def explain(
    model: nn.Module,
    images: Tensor,
    *,
    method: str | MethodLike | Sequence[str | MethodLike] = "gradcam",
    target: str | int | Target = "predicted",
    labels: Tensor | None = None,
    target_layer: str | Sequence[str] | None = None,
    forward: Forward | None = None,
    scores: Selector = None,
    normalization: str | Normalization | None = None,
    max_batch: int | None = None,
) -> Explanation | dict[str, Explanation]:
    """Where a classifier looks: class activation maps of any ``nn.Module``, which is left as it was.

    Args:
        model: A classifier with feature maps or patch tokens. It is looked at in eval mode.
        images: (n, c, H, W), or one image (c, H, W), as the network gets them; moved to the model's device
            and dtype. Likewise volumes (n, c, D, H, W) and signals (n, c, T), for models whose first
            convolution is such.
        method: A key of ``METHODS``, a function of ``Evidence``, or a list of these: then a dict comes back,
            from one look.
        target: What to explain: a key of ``TARGETS``, a class index, or a function ``(scores, labels) ->
            (n,)``.
        labels: (n,) true classes, for targets that need them; zeros and ones (n, C) where an image has
            several.
        target_layer: Name of a submodule; None finds the last one with feature maps. Of a list of names the
            maps are fused.
        forward: Function ``(model, images) -> output``; None calls the model. A function ``(model, images,
            index)`` is told which image each row is, for models with further inputs.
        scores: How to read scores (n, C) from the output: key, index or function; None finds them. One score
            per image is a binary head's logit, explained as two classes. For a target function they may have
            positions, (n, C, h, w).
        normalization: What to undo for display: ``"imagenet"``, (mean, std) or None.
        max_batch: Most images sent through the model at once; None sends all.

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
    question = ExplainConfig(method, target, target_layer, forward, scores, normalization, max_batch)
    check_forward(model, forward)
    expected = dimensions(model) + 2
    if isinstance(images, Tensor) and images.ndim == expected - 1:
        images = images[None]
    check_images(images)
    if images.ndim != expected:
        raise ValueError(
            f"images: got {describe(images)}; the model's first convolution takes tensors of {expected} dimensions."
        )
    check_labels(labels, len(images), several=True)
    images = like(images, model)
    labels = None if labels is None else labels.to(images.device).long()
    found = answer(question, model, images, labels, find_layers(question, model, images))
    for note in dict.fromkeys(note for explanation in found.values() for note in explanation.notes):
        warnings.warn(note, stacklevel=2)
    return found if isinstance(method, list | tuple) else next(iter(found.values()))


def find_layers(question: ExplainConfig, model: nn.Module, images: Images) -> list[TargetLayer]:
    """The layers that the question names, or the one that is found."""
    names = question.layer_names or [None]
    return [find_layer(model, images, name, question.forward, question.scores) for name in names]


def answer(
    question: ExplainConfig,
    model: nn.Module,
    images: Images,
    labels: Truth | None,
    layers: Sequence[TargetLayer],
) -> dict[str, Explanation]:
    """``explain`` for images and labels on the model's device and layers that were found: by method, from one
    look a batch.
    """
    size = tuple(images.shape[2:])
    each = {name: method for name, method in question.methods.items() if row_of(method).parts is None}
    together = {name: method for name, method in question.methods.items() if name not in each}
    cams: dict[str, list[Cams]] = {name: [] for name in question.methods}
    reasons: dict[str, list[Labels]] = {name: [] for name in question.methods}
    confusions: dict[str, list[Confusions]] = {name: [] for name in each}
    seen: list[tuple[Evidence, ...]] = []
    finds_confusions = question.finds_confusions and labels is not None and labels.ndim == 1
    for part in torch.arange(len(images)).split(question.max_batch or len(images)):
        here = slice(int(part[0]), int(part[-1]) + 1)
        with capture_layers(
            model,
            images[here],
            target_layers=layers,
            target=question.target,
            labels=None if labels is None else labels[here],
            forward=question.forward,
            scores=question.scores,
            max_batch=question.max_batch,
            first=here.start,
            several_targets=finds_confusions and here.start < question.confusions,
        ) as evidences:
            for name, method in each.items():
                made, why = _mapped(name, method, evidences, size)
                cams[name].append(made)
                reasons[name].append(why)
                if finds_confusions and here.start < question.confusions:
                    confusions[name].append(_rivals(name, method, evidences, size))
            seen.append(tuple(_kept(evidence, images[here], bool(together)) for evidence in evidences))
        del evidences  # else two looks would be held at once
    parts, gathered = (
        {},
        [_gathered([evidences[place] for evidences in seen], images) for place in range(len(layers))],
    )
    for name, method in together.items():
        found = [_parts(method, evidence) for evidence in gathered]
        parts[name] = found[-1]
        cams[name].append(_fused([every[:, 0] for every in found]))
        reasons[name].append(_reasons(cams[name][0], gathered[-1], size))
    whole = gathered[-1]
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
            notes=_notes(torch.cat(cams[name]), scores, layers[-1]),
            normalization=check_normalization(question.normalization),
            parts=parts.get(name),
            confusions=_together(confusions.get(name, []), question.confusions),
        )
        for name in question.methods
    }


def _mapped(
    name: str, method: MethodLike, evidences: Sequence[Evidence], size: tuple[int, ...]
) -> tuple[Cams, Labels]:
    """One batch's maps, and why some show nothing."""
    # A replaced Evidence shares the backward, and tells whether this method asked for gradients.
    asked = [replace(evidence) for evidence in evidences]
    made = _fused([_checked(name, method(evidence), evidence.images) for evidence in asked])
    return made, _reasons(made, asked[-1], size)


def _rivals(
    name: str, method: MethodLike, evidences: Sequence[Evidence], size: tuple[int, ...]
) -> Confusions:
    """One batch's maps of the predicted classes, and of the labels less these: a difference of scores has
    that of gradients.
    """
    others = [evidence.with_classes(evidence.scores.argmax(dim=1)) for evidence in evidences]

    def apart(sign: int) -> Cams:
        pairs = zip(evidences, others, strict=True)
        both = [replace(own, differentiate=partial(_difference, own, other, sign)) for own, other in pairs]
        return _mapped(name, method, both, size)[0].clamp(min=0)

    return Confusions(_mapped(name, method, others, size)[0], apart(1) - apart(-1))


def _difference(own: Evidence, other: Evidence, sign: int) -> Gradients:
    return sign * (own.gradients - other.gradients)


def _together(confusions: Sequence[Confusions], most: int) -> Confusions | None:
    if not confusions:
        return None
    return Confusions(
        *(
            torch.cat(maps)[:most]
            for maps in zip(*((each.predicted, each.contrast) for each in confusions), strict=True)
        )
    )


def _parts(method: MethodLike, evidence: Evidence) -> Activations:
    row = row_of(method)
    if row.parts is None:
        raise ValueError(f"method: {name_of(method)} finds no parts.")
    return row.parts(evidence, **(method.keywords if isinstance(method, partial) else {})).detach().float()


def _fused(made: list[Tensor]) -> Cams:
    return (made[0] if len(made) == 1 else maps.fuse(made)).detach().float()


def _reasons(cams: Cams, evidence: Evidence, size: tuple[int, ...]) -> Labels:
    return maps.blank_reason(maps.upsample(cams, size), evidence.activations, vars(evidence).get("gradients"))


def _kept(evidence: Evidence, images: Images, with_activations: bool) -> Evidence:
    """What stays of a look when it is over: no function of the network, and activations only where they are
    still needed.
    """
    activations = evidence.activations if with_activations else evidence.activations[:, :0].clone()
    return replace(
        evidence,
        images=images,
        activations=activations,
        differentiate=_over,
        score=_over,
        tail=_over,
        with_images=_over,
        with_classes=_over,
    )


def _over(*arguments: Any) -> Any:
    raise ValueError(
        "method: a method that looks at all images together sees their activations alone, no gradients."
    )


def _gathered(parts: list[Evidence], images: Images) -> Evidence:
    """Several batches' evidence as one, of all images."""
    classes = [part.target_classes for part in parts if part.target_classes is not None]
    return replace(
        parts[0],
        images=images,
        activations=torch.cat([part.activations for part in parts]),
        scores=torch.cat([part.scores for part in parts]),
        target_scores=torch.cat([part.target_scores for part in parts]),
        target_classes=torch.cat(classes) if classes else None,
    )


def _checked(name: str, cams: Any, images: Images) -> Cams:
    if not (isinstance(cams, Tensor) and cams.ndim == images.ndim - 1 and len(cams) == len(images)):
        count = len(images)
        raise ValueError(
            f"method: {name!r} returned {describe(cams)} for {count} images; return one map per image, (n, h, w)."
        )
    return cams


def _notes(cams: Cams, scores: Scores, layer: TargetLayer) -> tuple[str, ...]:
    notes = [layer.note] if layer.note else []
    if not layer.note and min(cams.shape[1:]) < SMALLEST_MAP:
        grid = " x ".join(str(side) for side in cams.shape[1:])
        notes.append(f"target_layer: {layer.name!r} gives maps of only {grid}; try an earlier layer")
    sums, lowest, broken = torch.stack(
        [(scores.sum(dim=1) - 1).abs().amax(), scores.amin(), (~cams.isfinite()).flatten(1).any(dim=1).sum()]
    ).tolist()
    if scores.shape[1] > 1 and sums < 1e-3 and lowest >= 0:
        notes.append(
            "scores: the model's forward returns probabilities; explain the logits, before softmax, with scores= or forward="
        )
    if broken:
        notes.append(
            f"maps: {broken:.0f} of {len(cams)} are not finite (NaN or inf); look for NaN in the model's weights"
        )
    return tuple(notes)
