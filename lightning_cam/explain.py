"""The whole way without Lightning: from a model and images to explanations."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lightning_cam.evidence import Evidence, MapContext
from lightning_cam.functional import maps
from lightning_cam.functional.methods import METHODS
from lightning_cam.functional.overlay import color_table, colorize, displayable, overlay
from lightning_cam.functional.statistics import STATISTICS
from lightning_cam.functional.targets import Target, check_target
from lightning_cam.layers import SMALLEST_MAP, TargetLayer
from lightning_cam.look import Forward, check_forward, find_layer, look
from lightning_cam.probe import check_images, check_labels
from lightning_cam.reading import IMAGENET, How, Normalization, check_how, describe
from lightning_cam.tables import choose
from lightning_cam.typing import Cams, Images, Labels, Masks, PerImage, Saliency, Scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Method = Callable[[Evidence], Cams]


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """Where the model looked, for a batch of images.

    Args:
        images: As the network saw them.
        cams: Raw maps, float32, at the target layer's resolution, as the method made them: signed where the paper's map is.
        scores: What the model answered, before softmax.
        target_classes: The class that each map explains; None where the target was a function.
        target_layer: Name of the layer looked at.
        method: Name of the method.
        reasons: Index into ``BLANK_REASONS`` of why a map shows nothing; 0 where it shows something.
        notes: What the caller should know: small maps, probabilities in place of scores, maps that are not finite.
        normalization: Mean and standard deviation to undo for display.
    """

    images: Images
    cams: Cams
    scores: Scores
    target_classes: Labels | None
    target_layer: str
    method: str
    reasons: Labels
    notes: tuple[str, ...] = ()
    normalization: Normalization | None = None

    def __repr__(self) -> str:
        n, h, w = self.cams.shape
        return f"Explanation({n} images, {self.method} at {self.target_layer}, {h} x {w})"

    @cached_property
    def saliency(self) -> Saliency:
        """Maps at the images' resolution in [0, 1]: upsampled, positive part divided by the maximum."""
        return maps.saliency(self.cams, (self.images.shape[2], self.images.shape[3]))

    @property
    def blank(self) -> tuple[str, ...]:
        """Why each map shows nothing, in words; empty where it shows something."""
        return tuple(maps.BLANK_REASONS[reason] for reason in self.reasons.tolist())

    def statistic(self, name: str | Callable[[MapContext], PerImage], masks: Masks | None = None) -> PerImage:
        """One number per image: a row of ``STATISTICS``, or a function of ``MapContext``.

        Raises:
            ValueError: No such statistic; the message names the closest one.
        """
        return choose(STATISTICS, name, "statistic")(MapContext(self.saliency, self.cams, masks))

    def figure(self, colormap: str = "inferno", opacity: float = 0.5, most: int = 16) -> "Figure":
        """A matplotlib figure: each input beside its overlay, at most ``most`` of them, with a colour bar."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.figure import Figure

        count = min(len(self.images), most)
        shown, _ = displayable(self.images[:count], *(self.normalization or ((), ())))
        over = overlay(shown, colorize(self.saliency[:count], color_table(colormap, shown.device)), opacity)
        pairs = torch.stack([shown, over], dim=1).permute(0, 1, 3, 4, 2).cpu().numpy()
        figure = Figure(figsize=(6.6, 3.1 * count), layout="constrained")
        axes = figure.subplots(count, 2, squeeze=False)
        for row, pair, blank, scores in zip(axes, pairs, self.blank, self.scores.softmax(dim=1).cpu(), strict=False):
            for axis, picture in zip(row, pair, strict=True):
                axis.imshow(picture)
                axis.set_axis_off()
            predicted = int(scores.argmax())
            row[0].set_title(f"class {predicted}, {100 * scores[predicted]:.0f} %", fontsize=10)
            row[1].set_title(f"blank: {blank}" if blank else f"{self.method} at {self.target_layer}", fontsize=10)
        bar = figure.colorbar(ScalarMappable(cmap=colormap), ax=axes[:, 1].tolist(), shrink=0.8)
        bar.set_label("share of the map's maximum", fontsize=9)
        return figure


@dataclass(frozen=True)
class Question:
    """What is asked of a model: all but the images. Arguments as in ``explain``.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument's value cannot be used.
    """

    method: str | Method | Sequence[str | Method] = "gradcam"
    target: str | int | Target = "predicted"
    target_layer: str | None = None
    forward: Forward | None = None
    scores: How = None
    normalization: str | Normalization | None = None
    max_batch: int | None = None

    def __post_init__(self) -> None:
        several = len(self.method) if isinstance(self.method, list | tuple) else 1
        if not several:
            raise ValueError("method: got an empty list; give at least one method.")
        if len(self.methods) < several:
            raise ValueError(f"method: of {several} methods some share a name; give functions names of their own.")
        check_target(self.target)
        check_how("scores", self.scores)
        if not (self.target_layer is None or isinstance(self.target_layer, str)):
            raise TypeError(f"target_layer: got {self.target_layer!r}; give the name of a submodule, such as 'layer4', or None.")
        if not (self.forward is None or callable(self.forward)):
            raise TypeError(f"forward: got {self.forward!r}; give a function (module, images) -> output, or None.")
        check_normalization(self.normalization)
        if self.max_batch is not None and (isinstance(self.max_batch, bool) or not isinstance(self.max_batch, int)):
            raise TypeError(f"max_batch: got {self.max_batch!r}; give a whole number, or None.")
        if self.max_batch is not None and self.max_batch < 1:
            raise ValueError(f"max_batch: got {self.max_batch}; give at least 1, or None.")

    @property
    def methods(self) -> dict[str, Method]:
        """The methods by name."""
        several: Sequence[Any] = self.method if isinstance(self.method, list | tuple) else [self.method]
        return {_name(method): choose(METHODS, method, "method") for method in several}

    @property
    def words(self) -> str:
        """The question in words, to tell it from another."""
        return f"{', '.join(self.methods)} at {self.target_layer or 'the last layer'}, target {self.target_name}"

    @property
    def target_name(self) -> str:
        """The target in a word or two."""
        return f"class {self.target}" if isinstance(self.target, int) else _name(self.target)


def explain(
    model: nn.Module,
    images: Tensor,
    *,
    method: str | Method | Sequence[str | Method] = "gradcam",
    target: str | int | Target = "predicted",
    labels: Tensor | None = None,
    target_layer: str | None = None,
    forward: Forward | None = None,
    scores: How = None,
    normalization: str | Normalization | None = None,
    max_batch: int | None = None,
) -> Explanation | dict[str, Explanation]:
    """Where a classifier looks: class activation maps of any ``nn.Module``, which is left as it was.

    Args:
        model: A classifier with 2-D feature maps. It is looked at in eval mode.
        images: (n, c, H, W), or one image (c, H, W), as the network gets them; moved to the model's device and dtype.
        method: A key of ``METHODS``, a function of ``Evidence``, or a list of these: then a dict comes back, from one look.
        target: What to explain: a key of ``TARGETS``, a class index, or a function ``(scores, labels) -> (n,)``.
        labels: (n,) true classes, for targets that need them.
        target_layer: Name of a submodule; None finds the last one with feature maps.
        forward: Function ``(model, images) -> output``; None calls the model.
        scores: How to read scores (n, C) from the output: key, index or function; None finds them.
        normalization: What to undo for display: ``"imagenet"``, (mean, std) or None.
        max_batch: Most images sent through the model at once; None sends all.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument does not fit the model; the message names argument, value and remedy.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
        >>> explanation = explain(model, torch.rand(2, 3, 16, 16))
        >>> explanation.target_layer, explanation.cams.shape, explanation.saliency.shape
        ('1', torch.Size([2, 14, 14]), torch.Size([2, 16, 16]))
    """
    question = Question(method, target, target_layer, forward, scores, normalization, max_batch)
    if isinstance(images, Tensor) and images.ndim == 3:
        images = images[None]
    check_images(images)
    check_forward(model, forward)
    check_labels(labels, len(images))
    images = like(images, model)
    labels = None if labels is None else labels.to(images.device).long()
    found = answer(question, model, images, labels, find_layer(model, images, target_layer, forward))
    for note in dict.fromkeys(note for explanation in found.values() for note in explanation.notes):
        warnings.warn(note, stacklevel=2)
    return found if isinstance(method, list | tuple) else next(iter(found.values()))


def answer(
    question: Question, model: nn.Module, images: Images, labels: Labels | None, layer: TargetLayer
) -> dict[str, Explanation]:
    """``explain`` for images and labels on the model's device and a layer that was found: by method, from one look a batch."""
    methods, size = question.methods, (images.shape[2], images.shape[3])
    cams: dict[str, list[Cams]] = {name: [] for name in methods}
    reasons: dict[str, list[Labels]] = {name: [] for name in methods}
    scores: list[Scores] = []
    classes: list[Labels] = []
    for part in torch.arange(len(images)).split(question.max_batch or len(images)):
        here = slice(int(part[0]), int(part[-1]) + 1)
        with look(
            model,
            images[here],
            target_layer=layer,
            target=question.target,
            labels=None if labels is None else labels[here],
            forward=question.forward,
            scores=question.scores,
            max_batch=question.max_batch,
        ) as evidence:
            for name, method in methods.items():
                seen = replace(evidence)  # shares the backward; tells whether this method asked for gradients
                made = method(seen)
                _check_cams(name, made, evidence)
                gradients = vars(seen).get("gradients")
                reasons[name].append(maps.blank_reason(maps.upsample(made, size), evidence.activations, gradients))
                cams[name].append(made.detach().float())
            scores.append(evidence.scores)
            if evidence.target_classes is not None:
                classes.append(evidence.target_classes)
    every_score, every_cam = torch.cat(scores), {name: torch.cat(parts) for name, parts in cams.items()}
    return {
        name: Explanation(
            images=images,
            cams=every_cam[name],
            scores=every_score,
            target_classes=torch.cat(classes) if classes else None,
            target_layer=layer.name,
            method=name,
            reasons=torch.cat(reasons[name]),
            notes=_notes(every_cam[name], every_score, layer),
            normalization=check_normalization(question.normalization),
        )
        for name in methods
    }


def check_normalization(normalization: str | tuple[Sequence[float], Sequence[float]] | None) -> Normalization | None:
    """Mean and standard deviation as tuples.

    Raises:
        ValueError: Neither "imagenet", nor (mean, std) of equal length with positive std, nor None.
    """
    if normalization is None:
        return None
    if normalization == "imagenet":
        return IMAGENET
    try:
        mean, std = (tuple(float(value) for value in values) for values in normalization)
    except (TypeError, ValueError):
        raise ValueError(f"normalization: got {normalization!r}; give 'imagenet', (mean, std) or None.") from None
    if len(mean) != len(std) or not mean or min(std) <= 0:
        raise ValueError(f"normalization: got {normalization!r}; mean and std need one value per channel, std above 0.")
    return mean, std


def _name(function: str | Callable) -> str:
    return function if isinstance(function, str) else getattr(function, "__name__", type(function).__name__)


def like(images: Images, model: nn.Module) -> Images:
    """Images on the model's device, and in its dtype where both are floating."""
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    if parameter is None:
        return images
    return images.to(parameter.device, parameter.dtype if images.is_floating_point() else images.dtype)


def _check_cams(name: str, cams: object, evidence: Evidence) -> None:
    count = len(evidence.images)
    if not (isinstance(cams, Tensor) and cams.ndim == 3 and len(cams) == count):
        raise ValueError(f"method: {name!r} returned {describe(cams)} for {count} images; return one map per image, (n, h, w).")


def _notes(cams: Cams, scores: Scores, layer: TargetLayer) -> tuple[str, ...]:
    notes = [layer.note] if layer.note else []
    if not layer.note and min(cams.shape[1:]) < SMALLEST_MAP:
        notes.append(f"target_layer: {layer.name!r} gives maps of only {cams.shape[1]} x {cams.shape[2]}; try an earlier layer")
    sums, lowest, broken = torch.stack(
        [(scores.sum(dim=1) - 1).abs().amax(), scores.amin(), (~cams.isfinite()).flatten(1).any(dim=1).sum()]
    ).tolist()
    if scores.shape[1] > 1 and sums < 1e-3 and lowest >= 0:
        notes.append(
            "scores: the model's forward returns probabilities; explain the logits, before softmax, with scores= or forward="
        )
    if broken:
        notes.append(f"maps: {broken:.0f} of {len(cams)} are not finite (NaN or inf); look for NaN in the model's weights")
    return tuple(notes)
