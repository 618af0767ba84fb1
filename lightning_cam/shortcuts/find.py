"""``find_shortcuts``: the whole way without Lightning."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_cam.attribution.capture import predicting
from lightning_cam.attribution.config import Forward, ModelConfig
from lightning_cam.attribution.running import check_runnable, like, watched
from lightning_cam.attribution.task import AUTO, MULTICLASS, MULTILABEL, REGRESSION, check_task
from lightning_cam.attribution.task_decision import are_flags
from lightning_cam.checks import plain_labels
from lightning_cam.data.probe import Probe
from lightning_cam.selectors import Selector
from lightning_cam.shortcuts.cue_images import Conflicts, conflicts, gathered, said_of
from lightning_cam.shortcuts.cues import Cue
from lightning_cam.shortcuts.examine import NUMBERS, Asking, check_subjects, choose_cues, examine, label_views
from lightning_cam.shortcuts.findings import FindingKey
from lightning_cam.shortcuts.pairing import TestedProbe
from lightning_cam.shortcuts.partial_input import observe
from lightning_cam.shortcuts.predictivity import CueFeatures, label_flags, told_of
from lightning_cam.shortcuts.report import ShortcutReport
from lightning_cam.typing import Images, Truth


def find_shortcuts(
    model: nn.Module,
    probe: Probe | Images,
    cues: str | Collection[str] = "default",
    *,
    data: Iterable[Any] | None = None,
    labels: Tensor | None = None,
    task: str = AUTO,
    network: str | Forward | None = None,
    scores: Selector = None,
    max_batch: int | None = None,
) -> ShortcutReport:
    """Which cues tell the label and are relied on by the model, which is left as it was.

    First, without the model: how well can the label be told from each cue alone (``predictivity``)? Then, of
    those that tell it: probe images receive the cue from another image of their own class, and from one of
    another class. The accuracy lost between the two is the ``reliance``: what a swap destroys is in both, so
    it cancels.

    Args:
        model: A classifier. It is asked in eval mode.
        probe: Images and labels, at least two of each class; 64 to 128 images serve well. Masks, where there
            are any, say where the object is. Or images alone, and ``labels``.
        cues: Keys of ``CUES``, or prefixes of such; "default": all.
        data: Batches ``(images, labels)`` or ``(images, labels, masks)``, as a validation loader gives them,
            by which predictivity is measured; some 500 images serve well. None: the probe itself, which is
            small for it: then values are too low, and the tests rather silent.
        labels: Of ``probe``, where it has none: (n,) classes; or (n, C) zeros and ones, one per label that an
            image may have, NaN where nobody knows.
        task: A key of ``TASKS``; "auto" goes by the labels. With "multilabel" each label is tested against
            the rest. "regression" has no shortcut tests.
        network: What is run: the name of a submodule, which is then run alone; a function ``(model, images)
            -> output``; None calls the model.
        scores: How to read scores (n, C) from the output: key, index or function; None finds them.
        max_batch: Most images sent through the model at once; None: as many as the probe has.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument does not fit; the message names argument, value and remedy.

    Example:
        >>> from lightning_cam import Probe
        >>> labels = torch.arange(60) % 2
        >>> images = torch.rand(60, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> images[:, :, :4, :4] = labels[:, None, None, None].float()  # a tag that tells the class
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 4, stride=16), nn.Flatten())  # and a model that reads it
        >>> model[0].weight.data = torch.tensor([-1.0, 1.0])[:, None, None, None].expand(2, 1, 4, 4) / 16
        >>> model[0].bias.data = torch.tensor([0.5, -0.5])
        >>> report = find_shortcuts(model, Probe(images, labels))
        >>> [finding.cue for finding in report.findings if finding.cue.startswith("cell")]
        ['cell_0_0']

    Source: Geirhos et al., Shortcut learning in deep neural networks, Nature Machine Intelligence 2020;
    Hermann et al., On the foundations of shortcut learning, ICLR 2024, for predictivity.
    https://arxiv.org/abs/2310.16228
    """
    chosen, probe = choose_cues(cues), _probe_of(probe, labels)
    known = task_of(probe.labels) if check_task(task) == AUTO else task
    truth = check_subjects(probe, known)
    reading = ModelConfig(network, scores, max_batch, task=known if truth.ndim == 2 else task)
    check_runnable(model, reading)
    images = like(probe.images, watched(model, reading))
    truth = truth.to(images.device)
    masks = None if probe.masks is None else probe.masks.to(images.device)
    kept = _features(chosen, images, truth, masks, data)
    with predicting(model, len(images), reading, truth) as ask:
        everyone = torch.arange(len(images), device=images.device)
        outputs = ask(images, everyone)
        classes = outputs.shape[1]
        if classes == 1 and truth.ndim == 1:
            raise ValueError(f"task: {NUMBERS}")
        first = truth if truth.ndim == 1 else label_flags(truth)[:, 0]
        whole = TestedProbe(images, first, first, masks, classes)
        told = told_of(kept, max(classes, 2))
        if truth.ndim == 2:
            views = label_views(whole, truth, outputs, told)
        else:
            views = [replace(whole, predicted=outputs.argmax(dim=1))]
        asking = Asking(ask, max_batch or len(images))
        report = examine(views, asking, chosen, [told[view.column or 0] for view in views], probe.class_names)
        report = observe(report, asking)
        if data is None or not report.findings:
            return report
        parts = (_checked(batch, truth)[0].to(images) for batch in data)
        answered = [ask(part, everyone[:1].expand(len(part))) for part in parts]
        return report.with_conflicts(natural_conflicts(report, data, torch.cat(answered)))


def natural_conflicts(
    report: ShortcutReport, data: Iterable[Any], scores: Tensor
) -> dict[FindingKey, Conflicts]:
    """Of each finding, accuracy on the images that contradict its cue, and on the rest; no image is made.

    Args:
        data: Batches ``(images, labels)`` or ``(images, labels, masks)``.
        scores: (n, C) what the model answers to their images.
    """
    cues = {finding.cue: report.result_of(finding).row for finding in report.findings}
    features, truth = gathered(cues, data, images=0, labels=1)
    found = {}
    for finding in report.findings:
        view = report.result_of(finding).subjects
        said, _ = view.read(scores)
        here = conflicts(said_of(features[finding.cue], truth, view.column), said)
        if here is not None:
            found[finding.key] = here
    return found


def _features(
    cues: dict[str, Cue], images: Images, truth: Truth, masks: Tensor | None, data: Iterable[Any] | None
) -> CueFeatures:
    kept = CueFeatures(cues)
    if data is None:
        kept.add(images, truth, masks)
        return kept
    for batch in data:
        kept.add(*_checked(batch, truth))
    if not kept.kept:
        raise ValueError("data: it gave no image whose values are finite; give a validation loader.")
    return kept


def _checked(batch: Any, truth: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Images, labels and masks of a batch, which fit together and are labelled as the probe is."""
    is_of_tensors = isinstance(batch, (tuple, list)) and all(isinstance(part, Tensor) for part in batch)
    if not is_of_tensors or len(batch) not in (2, 3):
        raise TypeError(
            f"data: got a batch of {type(batch).__name__}; give batches (images, labels) or "
            "(images, labels, masks), all of them tensors."
        )
    images, labels, *rest = batch
    labels = plain_labels(labels)
    if labels.shape != (len(images), *truth.shape[1:]):
        raise ValueError(
            f"data: got labels {tuple(labels.shape)} for {len(images)} images; the probe's are "
            f"{tuple(truth.shape)}: give as many per image."
        )
    if rest and (rest[0].dtype != torch.bool or rest[0].shape != (len(images), *images.shape[2:])):
        raise ValueError(
            f"data: got masks {tuple(rest[0].shape)} of {rest[0].dtype} for images {tuple(images.shape)}; "
            "give one (H, W) mask of truth values per image."
        )
    return images, labels, rest[0] if rest else None


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
