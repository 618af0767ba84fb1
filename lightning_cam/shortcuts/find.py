"""``find_shortcuts``: the whole way without Lightning."""

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor, nn

from lightning_cam.attribution.capture import predicting
from lightning_cam.attribution.config import ExplainConfig, Forward, ModelConfig
from lightning_cam.attribution.running import check_runnable, like, watched
from lightning_cam.attribution.task import AUTO, MULTICLASS, MULTILABEL, REGRESSION, check_task
from lightning_cam.attribution.task_decision import are_flags
from lightning_cam.checks import plain_labels
from lightning_cam.data.probe import Probe
from lightning_cam.explainer import answer, find_layers
from lightning_cam.selectors import Selector
from lightning_cam.shortcuts.class_means import ClassMeans
from lightning_cam.shortcuts.examine import NUMBERS, check_subjects, choose_cues, most_common
from lightning_cam.shortcuts.examine_labels import asked_of_labels, examine_task, label_subjects
from lightning_cam.shortcuts.pairing import TestedProbe
from lightning_cam.shortcuts.partial_input import observe
from lightning_cam.shortcuts.report import ShortcutReport
from lightning_cam.typing import Images, Truth


def find_shortcuts(
    model: nn.Module,
    probe: Probe | Images,
    cues: str | Collection[str] = "default",
    *,
    labels: Tensor | None = None,
    task: str = AUTO,
    target_layer: str | None = None,
    network: str | Forward | None = None,
    scores: Selector = None,
    max_batch: int | None = None,
) -> ShortcutReport:
    """Which cues decide against the object: all cues, once, on any classifier, which is left as it was.

    An image that the model gets right, the host, receives one cue of another class; the rest stays. Where the
    model then answers the class that gave the cue more often than the host's own, the cue dominates.

    Args:
        model: A classifier. It is asked in eval mode.
        probe: Images and labels, at least five of each class for the cues that need class means; 64 images
            serve well. Masks, where there are any, say where the object is. Or images alone, and ``labels``.
        cues: Keys of ``CUES``, or prefixes of such; "default": all.
        labels: Of ``probe``, where it has none: (n,) classes; or (n, C) zeros and ones, one per label that an
            image may have, NaN where nobody knows.
        task: A key of ``TASKS``; "auto" goes by the labels. With "multilabel" each label is tested against
            the rest, by those transplants in which host and donor differ in it: at most eight labels, which
            enough images have and lack. "regression" has no shortcut tests.
        target_layer: The layer whose map says what is attended to; None finds it.
        network: What is run: the name of a submodule, which is then run alone; a function ``(model, images)
            -> output``; None calls the model.
        scores: How to read scores (n, C) from the output: key, index or function; None finds them.
        max_batch: Most images sent through the model at once; None: as many as the probe has.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument does not fit; the message names argument, value and remedy.

    Example:
        >>> from lightning_cam import Probe
        >>> labels = torch.arange(20) % 2
        >>> images = torch.rand(20, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> images[:, :, :4, :4] = labels[:, None, None, None].float()  # a tag that tells the class
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 4, stride=16), nn.Flatten())  # and a model that reads it
        >>> model[0].weight.data = torch.tensor([-1.0, 1.0])[:, None, None, None].expand(2, 1, 4, 4) / 16
        >>> model[0].bias.data = torch.tensor([0.5, -0.5])
        >>> report = find_shortcuts(model, Probe(images, labels), target_layer="0")
        >>> sorted(finding.cue for finding in report.findings if finding.cue.startswith("cell"))
        ['cell_0_0']

    Source: Geirhos et al., ImageNet-trained CNNs are biased towards texture, ICLR 2019, for cue conflicts.
    https://arxiv.org/abs/1811.12231
    """
    chosen, probe = choose_cues(cues), _probe_of(probe, labels)
    known = task_of(probe.labels) if check_task(task) == AUTO else task
    truth = check_subjects(probe, known)
    reading = ModelConfig(network, scores, max_batch, task=known if truth.ndim == 2 else task)
    check_runnable(model, reading)
    images = like(probe.images, watched(model, reading))
    truth = truth.to(images.device)
    masks = None if probe.masks is None else probe.masks.to(images.device)
    saliency = None
    asked = chosen if truth.ndim == 1 else asked_of_labels(chosen, masks)
    if any(row.needs == "saliency" for row in asked.values()):
        config = ExplainConfig("gradcam", "label", target_layer, reading)
        layers = find_layers(config, model, images)
        (explanation,) = answer(config, model, images, truth, layers).values()
        saliency = explanation.saliency
    batch = max_batch or len(images)
    with predicting(model, len(images), reading, truth) as ask:
        everyone = torch.arange(len(images), device=images.device)
        outputs = ask(images, everyone)
        classes = outputs.shape[1]
        if classes == 1 and truth.ndim == 1:
            raise ValueError(f"task: {NUMBERS}")
        if truth.ndim == 2:
            subjects = label_subjects(images, truth, outputs, masks, saliency, chosen)
        else:
            means = ClassMeans({row.feature for row in chosen.values() if row.feature})
            for part in torch.arange(len(images)).split(batch) if images.ndim == 4 else ():
                own = None if masks is None else masks[part]
                means.add(images[part], truth[part], own, most_common(truth))
            predicted = outputs.argmax(dim=1)
            subjects = TestedProbe(images, truth, predicted, masks, saliency, means, among=True)
        report = examine_task(
            subjects,
            ask,
            chosen,
            classes=classes,
            max_batch=batch,
            class_names=probe.class_names,
            thorough=True,
        )
        return observe(report, ask, classes=classes, max_batch=batch)


def task_of(labels: Truth | None) -> str:
    """The task that labels alone tell: zeros and ones (n, C) are several, whole numbers (n,) classes."""
    if labels is None or not labels.is_floating_point():
        return MULTICLASS.name if labels is None or labels.ndim == 1 else MULTILABEL.name
    return MULTILABEL.name if labels.ndim == 2 and are_flags(labels) else REGRESSION.name


def _probe_of(probe: Probe | Images, labels: Tensor | None) -> Probe:
    labels = plain_labels(labels) if isinstance(labels, Tensor) else labels
    if isinstance(probe, Tensor):
        return Probe(probe, labels)
    if not isinstance(probe, Probe):
        raise TypeError(
            f"probe: got {type(probe).__name__}; give a Probe(images, labels), or images and labels=."
        )
    if labels is None:
        return probe
    if probe.labels is not None:
        raise ValueError("labels: the probe has labels of its own; give them in one place.")
    return replace(probe, labels=labels)
