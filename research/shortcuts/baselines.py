"""What else might tell a shortcut: scores of one trained epoch, larger is more suspicious, to set our rule beside."""

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_cam.attribution.task import class_probabilities
from lightning_cam.data.probe import Probe
from lightning_cam.explanation import Explanation
from lightning_cam.shortcuts.examine import check_subjects
from lightning_cam.typing import Images, Labels, PerImage, Scores
from research.shortcuts.bank import RELIES, reliance
from research.shortcuts.domains import HONEST

OURS = "transplants"
LUMA = (0.299, 0.587, 0.114)
Run = dict[str, Any]  # as ``judge`` returns it


def rescaled(predicted: Labels, labels: Labels) -> float:
    """Balanced accuracy, the mean over the classes of the share that is right; rescaled: 0 is chance, 1 is perfect."""
    classes, own = labels.unique(return_inverse=True)
    member = F.one_hot(own).double()
    right = (predicted == labels).double()
    chance = 1 / len(classes)
    return (float((right @ member / member.sum(dim=0)).mean()) - chance) / (1 - chance)


def told(values: Tensor, labels: Labels) -> float:
    """How well values (n, f) tell the label, as ``rescaled``: each image takes the class of the nearest mean, itself left out.

    Several values are weighed alike; one value has the same order of distances in its own unit as in units of the spread within
    classes. A squared distance from a mean of m images is divided by 1 + 1 / m, its growth by chance: else an image, missing from
    its own class' mean, would seem nearer to all others, and values that say nothing would score far below 0. What is left: they
    score about 0 on average, and where means happen to agree still below.
    """
    classes, own = labels.unique(return_inverse=True)
    # What differs by rounding alone, as the share of red in grey images, tells nothing.
    exact = values.double().round(decimals=6)
    exact = exact - exact.amin(dim=0)
    member = F.one_hot(own).double()
    counts = member.sum(dim=0)
    means = member.T @ exact / counts[:, None]
    distances = torch.cdist(exact, means, compute_mode="donot_use_mm_for_euclid_dist").square()
    # Without the image its class has m = count - 1, and its distance grows by count / m: together, over 1 + 1 / m, by count / m.
    nearness = distances * (counts / (counts + 1 - 2 * member))
    lonely = (member == 1) & (counts == 1)  # no other image of its class: nobody can tell it
    return rescaled(classes[torch.where(lonely, torch.inf, nearness).argmin(dim=1)], labels)


def grey(images: Images) -> Tensor:
    """(n, H, W) brightness of images (n, 3, H, W)."""
    return torch.einsum("nchw,c->nhw", images, images.new_tensor(LUMA))


def cleanlab_properties(images: Images) -> dict[str, PerImage]:
    """Properties like those that cleanlab looks at, of images in [0, 1]."""
    shades = grey(images)
    flat = shades.flatten(1)
    edges = F.conv2d(shades[:, None], shades.new_tensor([[[[0, 1, 0], [1, -4, 1], [0, 1, 0]]]]))
    levels = (flat * 255).round().long().clamp(0, 255)
    counts = flat.new_zeros(len(flat), 256).scatter_add(1, levels, torch.ones_like(flat))
    return {
        "brightness": flat.mean(dim=1),
        "darkness": flat.quantile(0.05, dim=1),
        "blurriness": edges.flatten(1).var(dim=1),
        "information": torch.special.entr(counts / flat.shape[1]).sum(dim=1) / math.log(2),
        "odd contrast": flat.std(dim=1),
    }


def deepchecks_properties(images: Images) -> dict[str, PerImage]:
    """Properties like those that Deepchecks looks at, of images in [0, 1]."""
    red, green, blue = (images / images.sum(dim=1, keepdim=True).clamp(min=1e-6)).mean(dim=(2, 3)).unbind(1)
    flat = grey(images).flatten(1)
    return {
        "red": red,
        "green": green,
        "blue": blue,
        "brightness": flat.mean(dim=1),
        "RMS contrast": flat.std(dim=1),
    }


def data_baselines(images: Images, labels: Labels) -> dict[str, float]:
    """How well the best single property tells the label (``told``): the data's scores, whatever the model does with them.

    Args:
        images: As ``prepared`` normalizes them.
    """
    shown = (images * 0.25 + 0.5).clamp(0, 1)

    def best(properties: dict[str, PerImage]) -> float:
        return max(told(values[:, None], labels) for values in properties.values())

    return {
        "cleanlab_like": best(cleanlab_properties(shown)),
        "deepchecks_like": best(deepchecks_properties(shown)),
    }


def baselines(explanation: Explanation, probe: Probe, scores: Scores, labels: Labels) -> dict[str, float]:
    """The model's scores.

    The maps are those that our rule gets, of the true class: they may tell it because they were asked for it.

    Args:
        explanation: Of the probe.
        scores: What the model answers to all validation images.
        labels: Theirs.
    """
    right = (scores.argmax(dim=1) == labels).float()
    return {
        "border_energy": float(explanation.statistic("border_mass").nanmean()),
        "outside_mask": 1 - float(explanation.statistic("mass_inside", probe.masks).nanmean()),
        "class_from_cam": told(explanation.saliency.flatten(1), check_subjects(probe)),
        "accuracy": float(right.mean()),
        "confidence": float(class_probabilities(scores).amax(dim=1).mean()),
    }


def auroc(positives: Iterable[float], negatives: Iterable[float]) -> float:
    """How often a positive scores above a negative, a tie counts half; NaN where there are none of either."""
    above, below = (
        torch.tensor([*positives], dtype=torch.float64),
        torch.tensor([*negatives], dtype=torch.float64),
    )
    return float(((above[:, None] > below).double() + (above[:, None] == below).double() / 2).mean())


def sides(runs: Iterable[Run]) -> tuple[list[Run], list[Run]]:
    """Runs that fully rely on a full artefact of every class at the last epoch, and runs that have nothing to rely on."""
    positives, negatives = [], []
    for run in runs:
        setup = run["setup"]
        if setup["kind"] in ("clean", "broken", "decoy"):
            negatives.append(run)
        elif (
            setup["kind"] == "coded"
            and setup["correlation"] == setup["strength"] == 1
            and reliance(run["epochs"][-1]) > RELIES
        ):
            positives.append(run)
    return positives, negatives


def last_scores(run: Run) -> dict[str, float]:
    """All scores of the last epoch: ours is -log10 of the look's smallest adjusted p-value."""
    row = run["epochs"][-1]
    smallest = min((p_value for *_, p_value in row["tests"]), default=1.0)
    return {OURS: max(0.0, -math.log10(max(smallest, 1e-300))), **row["baselines"]}


def known(runs: Iterable[Run], name: str) -> list[float]:
    """One score of all runs. One that is not a number raises no alarm; where none is a number, there is no such score."""
    scores = [last_scores(run)[name] for run in runs]
    return (
        []
        if all(map(math.isnan, scores))
        else [-math.inf if math.isnan(score) else score for score in scores]
    )


def share(scores: list[float], threshold: float) -> float:
    """How many lie above the threshold, in [0, 1]; NaN where there is neither score nor threshold."""
    return (
        sum(score > threshold for score in scores) / len(scores)
        if scores and threshold < math.inf
        else math.nan
    )


def baseline_table(runs: Iterable[Run]) -> str:
    """One line per score: how well it ranks the last epoch's models, and what becomes of a threshold that was set on digits.

    The threshold is the largest score of a negative run on digits: above it lies no false alarm there. What is not known is -.
    """

    def of(side: list[Run], *domains: str) -> list[Run]:
        return [run for run in side if run["setup"]["domain"] in domains]

    def line(name: str, cells: Iterable[str]) -> str:
        return f"{name:16s}" + "".join(f"{cell:>9s}" for cell in cells)

    positives, negatives = sides(runs)
    digits, healthy_digits = of(positives, "digits"), of(negatives, "digits")
    shapes, healthy_shapes = of(positives, "shapes"), of(negatives, "shapes")
    honest = of(negatives, *HONEST)
    lines = [
        line("", ("AUROC", "", "threshold", "found", "", "false", "")),
        line("score", ("digits", "shapes", "digits", "digits", "shapes", "shapes", "honest")),
    ]
    for name in dict.fromkeys(name for run in positives + negatives for name in last_scores(run)):
        threshold = max(known(healthy_digits, name), default=math.inf)
        pairs = ((digits, healthy_digits), (shapes, healthy_shapes))
        ranks = (auroc(known(planted, name), known(healthy, name)) for planted, healthy in pairs)
        shares = (share(known(some, name), threshold) for some in (digits, shapes, healthy_shapes, honest))
        lines.append(
            line(
                name, (f"{cell:.2f}" if math.isfinite(cell) else "-" for cell in (*ranks, threshold, *shares))
            )
        )
    return "\n".join(lines)
