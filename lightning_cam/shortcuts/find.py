"""``find_shortcuts``: the whole way without Lightning."""

from collections.abc import Collection

import torch
from torch import nn

from lightning_cam.attribution.capture import predicting
from lightning_cam.attribution.config import ExplainConfig, Forward, ModelConfig
from lightning_cam.attribution.running import check_runnable, like, watched
from lightning_cam.data.probe import Probe
from lightning_cam.explainer import answer, find_layers
from lightning_cam.selectors import Selector
from lightning_cam.shortcuts.class_means import ClassMeans
from lightning_cam.shortcuts.examine import check_subjects, choose_cues, examine, most_common
from lightning_cam.shortcuts.pairing import TestedProbe
from lightning_cam.shortcuts.partial_input import observe
from lightning_cam.shortcuts.report import ShortcutReport


def find_shortcuts(
    model: nn.Module,
    probe: Probe,
    cues: str | Collection[str] = "default",
    *,
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
            serve well. Masks, where there are any, say where the object is.
        cues: Keys of ``CUES``, or prefixes of such; "default": all.
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
    reading = ModelConfig(network, scores, max_batch)
    chosen = choose_cues(cues)
    if not isinstance(probe, Probe):
        raise TypeError(f"probe: got {type(probe).__name__}; give a Probe(images, labels).")
    labels = check_subjects(probe)
    check_runnable(model, reading)
    images = like(probe.images, watched(model, reading))
    labels = labels.to(images.device)
    masks = None if probe.masks is None else probe.masks.to(images.device)
    saliency = None
    if any(row.needs == "saliency" for row in chosen.values()):
        config = ExplainConfig("gradcam", "label", target_layer, reading)
        layers = find_layers(config, model, images)
        (explanation,) = answer(config, model, images, labels, layers).values()
        saliency = explanation.saliency
    batch = max_batch or len(images)
    means = ClassMeans({row.feature for row in chosen.values() if row.feature})
    for part in torch.arange(len(images)).split(batch) if images.ndim == 4 else ():
        means.add(images[part], labels[part], None if masks is None else masks[part], most_common(labels))
    with predicting(model, len(images), reading) as ask:
        outputs = ask(images, torch.arange(len(images), device=images.device))
        subjects = TestedProbe(images, labels, outputs.argmax(dim=1), masks, saliency, means, among=True)
        classes = outputs.shape[1]
        report = examine(
            subjects,
            ask,
            chosen,
            classes=classes,
            max_batch=batch,
            class_names=probe.class_names,
            thorough=True,
        )
        return observe(report, ask, classes=classes, max_batch=batch)
