"""What else might tell a shortcut: scores of one trained epoch, larger is more suspicious, to set our rule beside."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_cam.attribution.task import class_probabilities
from lightning_cam.data.probe import Probe
from lightning_cam.explanation import Explanation
from lightning_cam.shortcuts.examine import check_subjects
from lightning_cam.shortcuts.rule import FURTHER, LEAST_Z, SEVERAL, TWO, lines_of_one
from lightning_cam.typing import Images, Labels, PerImage, Scores
from research.shortcuts.bank import RELIES, reliance
from research.shortcuts.domains import HONEST

OURS, BEFORE = "our rule", "dominance"
RANKED = ("digits", "shapes", "fashion", "composites", "photographs")
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
    """(n, H, W) brightness of images (n, 1 or 3, H, W)."""
    if images.shape[1] == 1:
        return images[:, 0]
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
    """Properties like those that Deepchecks looks at, of images in [0, 1]; of grey ones no colours."""
    flat = grey(images).flatten(1)
    found = {"brightness": flat.mean(dim=1), "RMS contrast": flat.std(dim=1)}
    if images.shape[1] == 3:
        shares = (images / images.sum(dim=1, keepdim=True).clamp(min=1e-6)).mean(dim=(2, 3))
        found |= dict(zip(("red", "green", "blue"), shares.unbind(1), strict=True))
    return found


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


def margin(test: Mapping[str, Any], classes: int) -> float:
    """How much of what the rule asks for a test shows: from 1 on it is a finding. Of several lines the one that is closest.

    Args:
        test: As ``judge`` notes it.
    """
    told, points, excess = test["predictivity"], test["points"], test["excess"]
    if test["label"] is not None:
        return max(
            min(told / f1, points / lost, excess / drawn) for f1, lost, drawn in lines_of_one(test["cue"])
        )
    lines = [(*TWO, 0.0)] if classes == 2 else [*SEVERAL, *FURTHER.get(test["cue"], ())]
    return max(
        min(test["z"] / LEAST_Z, *(value / least for value, least in zip((told, points, excess), line, strict=True) if least))
        for line in lines
    )  # fmt: skip


def last_scores(run: Run) -> dict[str, float]:
    """All scores of the last epoch. Ours: the largest ``margin`` of its tests; of the rule of before -log10 of the smallest p-value."""
    row, classes = run["epochs"][-1], len(run["class_names"])
    smallest = min((test["p_value"] * len(row["results"]) for test in row["results"]), default=1.0)
    return {
        OURS: max((margin(test, classes) for test in row["results"]), default=0.0),
        BEFORE: max(0.0, -math.log10(max(smallest, 1e-300))),
        **row["baselines"],
    }


def known(runs: Iterable[Run], name: str) -> list[float]:
    """One score of all runs. One that is not a number raises no alarm; where none is a number, there is no such score."""
    scores = [last_scores(run).get(name, math.nan) for run in runs]
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
    """One line per score: how well it ranks the last epoch's models of each domain, and what becomes of a threshold set on digits.

    The threshold is the largest score of a negative run on digits: above it lies no false alarm there. What is not known is -.
    """

    def of(side: list[Run], domain: str) -> list[Run]:
        honest = domain == "honest tasks"
        return [
            run for run in side if (run["setup"]["domain"] in HONEST if honest else of_kind(run) == domain)
        ]

    def of_kind(run: Run) -> str:
        return str(run["setup"]["domain"]).split("_")[0]

    def line(name: str, cells: Iterable[str]) -> str:
        return f"{name:16s}" + "".join(f"{cell:>13s}" for cell in cells)

    positives, negatives = sides(runs)
    healthy_digits = of(negatives, "digits")
    elsewhere = [domain for domain in RANKED if domain != "digits"]
    lines = [
        line("", ["AUROC", *[""] * (len(RANKED) - 1), "threshold", "found", *[""] * len(elsewhere), "false"]),
        line("score", [*RANKED, "digits", "digits", *elsewhere, *elsewhere, "honest tasks"]),
    ]
    for name in dict.fromkeys(name for run in positives + negatives for name in last_scores(run)):
        threshold = max(known(healthy_digits, name), default=math.inf)
        ranks = [
            auroc(known(of(positives, domain), name), known(of(negatives, domain), name)) for domain in RANKED
        ]
        found = [share(known(of(positives, domain), name), threshold) for domain in RANKED]
        false = [
            share(known(of(negatives, domain), name), threshold) for domain in (*elsewhere, "honest tasks")
        ]
        cells = [*ranks, threshold, *found, *false]
        lines.append(line(name, (f"{cell:.2f}" if math.isfinite(cell) else "-" for cell in cells)))
    return "\n".join(lines)
