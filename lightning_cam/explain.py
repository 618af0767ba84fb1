"""The whole way without Lightning: from a model and images to explanations."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lightning_cam.drawing import how_drawn, part_legend
from lightning_cam.evidence import Evidence, MapContext
from lightning_cam.functional import maps
from lightning_cam.functional.methods import METHODS, Method
from lightning_cam.functional.overlay import (
    color_table,
    colorize,
    displayable,
    drawn_size,
    flat_saliency,
    flatten_maps,
    flatten_to_pictures,
    overlay,
    overlay_parts,
)
from lightning_cam.functional.statistics import STATISTICS
from lightning_cam.functional.targets import Target, check_target, probabilities
from lightning_cam.layers import SMALLEST_MAP, TargetLayer, dimensions
from lightning_cam.look import find_layer, look_at_layers
from lightning_cam.network import Forward, check_forward, like
from lightning_cam.probe import check_images, check_labels
from lightning_cam.reading import IMAGENET, How, Normalization, check_how, describe
from lightning_cam.tables import choose
from lightning_cam.typing import Activations, Cams, Images, Labels, Masks, PerImage, Saliency, Scores, Truth

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_TILES = (168, 448)  # smallest and largest longer side of volumes and signals in a figure, in pixels
FIGURE_INCHES = {1: (10.0, 2.6), 2: (6.6, 3.1), 3: (13.0, 2.6)}  # width, and height per image, by spatial dimensions

HowToMap = Callable[..., Cams]  # (evidence) -> cams: a row of METHODS, a partial of one, or the user's own


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """Where the model looked, for a batch of images.

    Args:
        images: As the network saw them.
        cams: Raw maps, float32, at the target layer's resolution, as the method made them: signed where the paper's map is.
        scores: What the model answered, before softmax; of outputs with positions (segmentation) their mean.
        target_classes: The class that each map explains; None where the target was a function.
        target_layer: Name of the layer looked at; of several that were fused, with + between.
        method: Name of the method.
        reasons: Index into ``BLANK_REASONS`` of why a map shows nothing; 0 where it shows something.
        notes: What the caller should know: small maps, probabilities in place of scores, maps that are not finite.
        normalization: Mean and standard deviation to undo for display.
        parts: (n, parts, *grid) where the method finds parts that the images share; ``cams`` is the first of them.
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
    parts: Activations | None = None

    def __repr__(self) -> str:
        grid = " x ".join(str(side) for side in self.cams.shape[1:])
        return f"Explanation({len(self.cams)} images, {self.method} at {self.target_layer}, {grid})"

    @cached_property
    def saliency(self) -> Saliency:
        """Maps at the images' resolution in [0, 1]: upsampled, positive part divided by the maximum."""
        return maps.saliency(self.cams, tuple(self.images.shape[2:]))

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
        """A matplotlib figure: each input beside its overlay, at most ``most`` of them, with a colour bar.

        Of volumes the three middle slices are shown, of signals traces. Where there are parts, each has its colour, and a legend.
        """
        from matplotlib.cm import ScalarMappable
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch

        count = min(len(self.images), most)
        own = tuple(self.images.shape[2:])
        size = own if len(own) == 2 else drawn_size(self.images, *FIGURE_TILES)
        shown, _ = displayable(self.images[:count], *(self.normalization or ((), ())))
        pictures = flatten_to_pictures(shown, size)
        blanks = self.blank
        if self.parts is None:
            colors = color_table(colormap, shown.device)
            over = overlay(pictures, colorize(flat_saliency(self.cams[:count], own, size), colors), opacity)
        else:
            strengths = maps.part_strengths(self.parts)[:count]
            over = overlay_parts(pictures, flatten_maps(strengths, own, size))
            blanks = tuple("" if part.any() else blank for part, blank in zip(strengths, blanks, strict=False))
        pairs = torch.stack([pictures, over], dim=1).permute(0, 1, 3, 4, 2).cpu().numpy()
        wide, high = FIGURE_INCHES[len(own)]
        if len(own) == 1:
            high *= 2 * size[0] / size[1]  # many channels need room
        figure = Figure(figsize=(wide, high * count), layout="constrained")
        axes = figure.subplots(count, 2, squeeze=False)
        for row, pair, blank, scores in zip(axes, pairs, blanks, probabilities(self.scores).cpu(), strict=False):
            for axis, picture in zip(row, pair, strict=True):
                axis.imshow(picture)
                axis.set_axis_off()
            predicted = int(scores.argmax())
            row[0].set_title(f"class {predicted}, {100 * scores[predicted]:.0f} %", fontsize=10)
            row[1].set_title(f"blank: {blank}" if blank else f"{self.method} at {self.target_layer}", fontsize=10)
        if how_drawn(self.images):
            figure.suptitle(how_drawn(self.images), fontsize=9)
        if self.parts is not None:
            legend = part_legend(self.parts.shape[1])
            patches = [Patch(color=(red / 255, green / 255, blue / 255), label=name) for name, (red, green, blue) in legend]
            title = "the stronger, the more opaque"
            figure.legend(handles=patches, loc="outside lower center", ncols=7, title=title, fontsize=9, title_fontsize=9)
            return figure
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

    method: str | HowToMap | Sequence[str | HowToMap] = "gradcam"
    target: str | int | Target = "predicted"
    target_layer: str | Sequence[str] | None = None
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
        if not (self.target_layer is None or all(isinstance(name, str) for name in self.layer_names or [None])):
            raise TypeError(
                f"target_layer: got {self.target_layer!r}; give the name of a submodule, such as 'layer4', a list of such, or None."
            )
        if not (self.forward is None or callable(self.forward)):
            raise TypeError(f"forward: got {self.forward!r}; give a function (module, images) -> output, or None.")
        check_normalization(self.normalization)
        if self.max_batch is not None and (isinstance(self.max_batch, bool) or not isinstance(self.max_batch, int)):
            raise TypeError(f"max_batch: got {self.max_batch!r}; give a whole number, or None.")
        if self.max_batch is not None and self.max_batch < 1:
            raise ValueError(f"max_batch: got {self.max_batch}; give at least 1, or None.")

    @property
    def methods(self) -> dict[str, HowToMap]:
        """The methods by name."""
        several: Sequence[Any] = self.method if isinstance(self.method, list | tuple) else [self.method]
        return {_name(method): choose(METHODS, method, "method") for method in several}

    @property
    def layer_names(self) -> list[Any]:
        """The layers that are named, none where the layer is to be found."""
        several = self.target_layer if isinstance(self.target_layer, list | tuple) else [self.target_layer]
        return [] if self.target_layer is None else list(dict.fromkeys(several))

    @property
    def words(self) -> str:
        """The question in words, to tell it from another."""
        return f"{', '.join(self.methods)} at {' + '.join(self.layer_names) or 'the last layer'}, target {self.target_name}"

    @property
    def target_name(self) -> str:
        """The target in a word or two."""
        return f"class {self.target}" if isinstance(self.target, int) else _name(self.target)


def explain(
    model: nn.Module,
    images: Tensor,
    *,
    method: str | HowToMap | Sequence[str | HowToMap] = "gradcam",
    target: str | int | Target = "predicted",
    labels: Tensor | None = None,
    target_layer: str | Sequence[str] | None = None,
    forward: Forward | None = None,
    scores: How = None,
    normalization: str | Normalization | None = None,
    max_batch: int | None = None,
) -> Explanation | dict[str, Explanation]:
    """Where a classifier looks: class activation maps of any ``nn.Module``, which is left as it was.

    Args:
        model: A classifier with feature maps or patch tokens. It is looked at in eval mode.
        images: (n, c, H, W), or one image (c, H, W), as the network gets them; moved to the model's device and dtype. Likewise
            volumes (n, c, D, H, W) and signals (n, c, T), for models whose first convolution is such.
        method: A key of ``METHODS``, a function of ``Evidence``, or a list of these: then a dict comes back, from one look.
        target: What to explain: a key of ``TARGETS``, a class index, or a function ``(scores, labels) -> (n,)``.
        labels: (n,) true classes, for targets that need them; zeros and ones (n, C) where an image has several.
        target_layer: Name of a submodule; None finds the last one with feature maps. Of a list of names the maps are fused.
        forward: Function ``(model, images) -> output``; None calls the model. A function ``(model, images, index)`` is told which
            image each row is, for models with further inputs.
        scores: How to read scores (n, C) from the output: key, index or function; None finds them. One score per image is a
            binary head's logit, explained as two classes. For a target function they may have positions, (n, C, h, w).
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
    check_forward(model, forward)
    expected = dimensions(model) + 2
    if isinstance(images, Tensor) and images.ndim == expected - 1:
        images = images[None]
    check_images(images)
    if images.ndim != expected:
        raise ValueError(f"images: got {describe(images)}; the model's first convolution takes tensors of {expected} dimensions.")
    check_labels(labels, len(images), several=True)
    images = like(images, model)
    labels = None if labels is None else labels.to(images.device).long()
    found = answer(question, model, images, labels, find_layers(question, model, images))
    for note in dict.fromkeys(note for explanation in found.values() for note in explanation.notes):
        warnings.warn(note, stacklevel=2)
    return found if isinstance(method, list | tuple) else next(iter(found.values()))


def find_layers(question: Question, model: nn.Module, images: Images) -> list[TargetLayer]:
    """The layers that the question names, or the one that is found."""
    names = question.layer_names or [None]
    return [find_layer(model, images, name, question.forward, question.scores) for name in names]


def answer(
    question: Question, model: nn.Module, images: Images, labels: Truth | None, layers: Sequence[TargetLayer]
) -> dict[str, Explanation]:
    """``explain`` for images and labels on the model's device and layers that were found: by method, from one look a batch."""
    size = tuple(images.shape[2:])
    each = {name: method for name, method in question.methods.items() if _row_of(method).parts is None}
    together = {name: method for name, method in question.methods.items() if name not in each}
    cams: dict[str, list[Cams]] = {name: [] for name in question.methods}
    reasons: dict[str, list[Labels]] = {name: [] for name in question.methods}
    seen: list[tuple[Evidence, ...]] = []
    for part in torch.arange(len(images)).split(question.max_batch or len(images)):
        here = slice(int(part[0]), int(part[-1]) + 1)
        with look_at_layers(
            model,
            images[here],
            target_layers=layers,
            target=question.target,
            labels=None if labels is None else labels[here],
            forward=question.forward,
            scores=question.scores,
            max_batch=question.max_batch,
            first=here.start,
        ) as evidences:
            for name, method in each.items():
                made, why = _mapped(name, method, evidences, size)
                cams[name].append(made)
                reasons[name].append(why)
            seen.append(tuple(_kept(evidence, images[here], bool(together)) for evidence in evidences))
        del evidences  # else two looks would be held at once
    parts = {}
    for name, method in together.items():
        found = [_parts(method, _gathered([evidences[place] for evidences in seen], images)) for place in range(len(layers))]
        parts[name] = found[-1]
        cams[name].append(_fused([maps[:, 0] for maps in found]))
        reasons[name].append(_reasons(cams[name][0], _gathered([evidences[-1] for evidences in seen], images), size))
    whole = _gathered([evidences[-1] for evidences in seen], images)
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
        )
        for name in question.methods
    }


def _mapped(name: str, method: HowToMap, evidences: Sequence[Evidence], size: tuple[int, ...]) -> tuple[Cams, Labels]:
    """One batch's maps, and why some show nothing."""
    # A replaced Evidence shares the backward, and tells whether this method asked for gradients.
    asked = [replace(evidence) for evidence in evidences]
    made = _fused([_checked(name, method(evidence), evidence.images) for evidence in asked])
    return made, _reasons(made, asked[-1], size)


def _row_of(method: HowToMap) -> Method:
    """The row of METHODS that a method is, or is a partial of; a function of the user's own gets a row of its own."""
    inner = method.func if isinstance(method, partial) else method
    return inner if isinstance(inner, Method) else Method(inner, "", False, "", "")


def _parts(method: HowToMap, evidence: Evidence) -> Activations:
    row = _row_of(method)
    if row.parts is None:
        raise ValueError(f"method: {_name(method)} finds no parts.")
    return row.parts(evidence, **(method.keywords if isinstance(method, partial) else {})).detach().float()


def _fused(made: list[Tensor]) -> Cams:
    return (made[0] if len(made) == 1 else maps.fuse(made)).detach().float()


def _reasons(cams: Cams, evidence: Evidence, size: tuple[int, ...]) -> Labels:
    return maps.blank_reason(maps.upsample(cams, size), evidence.activations, vars(evidence).get("gradients"))


def _kept(evidence: Evidence, images: Images, with_activations: bool) -> Evidence:
    """What stays of a look when it is over: no function of the network, and activations only where they are still needed."""
    activations = evidence.activations if with_activations else evidence.activations[:, :0].clone()
    return replace(evidence, images=images, activations=activations, differentiate=_over, score=_over, tail=_over, again=_over)


def _over(*arguments: Any) -> Any:
    raise ValueError("method: a method that looks at all images together sees their activations alone, no gradients.")


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
    if isinstance(function, partial):
        options = ", ".join(f"{key}={value!r}" for key, value in function.keywords.items())
        return f"{_name(function.func)}({options})"
    if isinstance(function, str):
        return function
    known = [name for name, row in METHODS.items() if row is function]
    return known[0] if known else getattr(function, "__name__", type(function).__name__)


def _checked(name: str, cams: Any, images: Images) -> Cams:
    if not (isinstance(cams, Tensor) and cams.ndim == images.ndim - 1 and len(cams) == len(images)):
        count = len(images)
        raise ValueError(f"method: {name!r} returned {describe(cams)} for {count} images; return one map per image, (n, h, w).")
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
        notes.append(f"maps: {broken:.0f} of {len(cams)} are not finite (NaN or inf); look for NaN in the model's weights")
    return tuple(notes)
