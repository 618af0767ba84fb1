"""What a monitor that looks after every epoch would have found in a kept run, and what other scores say of it."""

import json
import os
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import lightning_cam
from lightning_cam.attribution.config import ExplainConfig
from lightning_cam.data.batch import Batch
from lightning_cam.data.probe import Probe
from lightning_cam.data.sampler import BalancedSampler
from lightning_cam.explainer import answer, find_layers
from lightning_cam.shortcuts.cues import CUES
from lightning_cam.shortcuts.examine import Asking, examine
from lightning_cam.shortcuts.findings import Finding, findings_state, follow
from lightning_cam.shortcuts.pairing import TestedProbe
from lightning_cam.shortcuts.predictivity import CueFeatures, told_of
from lightning_cam.shortcuts.report import ShortcutReport
from lightning_cam.shortcuts.result import Result
from research.shortcuts.bank import load, load_model
from research.shortcuts.baselines import baselines, data_baselines
from research.shortcuts.dominance import dominance
from research.shortcuts.prepare import Prepared, prepared
from research.shortcuts.setups import Setup

PROBE = 64
BATCH = 64  # of validation images
MASKED = ("composites",)  # domains whose rule is given the masks too
Run = dict[str, Any]

# The files that decide what is found: where one changes, runs are judged anew. All of the package's on shortcuts but these:
NOT_THE_RULE = ("__init__", "find", "partial_input")
# What the images and networks are made by, and what else is noted. Not plans.py: it says only which runs there are.
STUDY = (
    "artefact_tools", "artefacts", "artefacts_more", "composites", "domains", "fashion", "networks", "prepare", "setups", "bank",
    "baselines", "dominance", "judge",
)  # fmt: skip


def judge(setup: Setup, run: Run, epochs: Iterable[int] | None = None) -> Run:
    """What a monitor that looks after every epoch would have found.

    Args:
        epochs: Only these are looked at; None: all.
    """
    data = prepared(setup)
    names = data.class_names
    start = time.perf_counter()
    probe, told = seen(setup, data)
    seconds = time.perf_counter() - start
    beside = data_baselines(data.val_images, data.val_labels)
    findings: tuple[Finding, ...] = ()
    rows = []
    last = len(run["states"]) - 1
    for epoch in range(last + 1) if epochs is None else sorted({place % (last + 1) for place in epochs}):
        model = load_model(run["states"][epoch], len(names), setup)
        start = time.perf_counter()
        with torch.no_grad():
            report = look(model, probe, told, names)
        findings = follow(findings, report.findings, epoch)
        row = {
            "epoch": epoch,
            "findings": findings_state(findings),
            "results": [numbers(result) for result in report.results],
            "passes": report.passes,
            "seconds": time.perf_counter() - start,
            **run["accuracies"][epoch],
        }
        rows.append(
            row | ({"baselines": scores_beside(model, probe, data) | beside} if epoch == last else {})
        )
    return {
        "setup": run["setup"], "carrier": run["carrier"], "class_names": names, "epochs": rows, "seconds": seconds,
        "predictivities": {name: one.kappa for name, one in told.items()},
    }  # fmt: skip


def seen(setup: Setup, data: Prepared) -> tuple[Probe, dict[str, Any]]:
    """What a monitor takes from the first validation: the probe, and how well each cue tells the label."""
    sampler, kept = BalancedSampler(PROBE), CueFeatures(CUES)
    is_masked = data.masks is not None and setup.domain.startswith(MASKED)
    for rows in torch.arange(len(data.val_labels)).split(BATCH):
        images, labels = data.val_images[rows], data.val_labels[rows]
        masks = data.masks[rows] if is_masked and data.masks is not None else None
        sampler.offer(Batch(images, labels, masks))
        kept.add(images, labels, masks)
    probe, _ = sampler.probe(data.class_names)
    return probe, told_of(kept, len(data.class_names))[0]


def look(model: nn.Module, probe: Probe, told: dict[str, Any], names: tuple[str, ...]) -> ShortcutReport:
    """One look's tests."""

    def ask(images: Tensor, _: Tensor) -> Tensor:
        return model(images)

    labels = probe.labels
    if labels is None:
        raise ValueError("labels: the probe has none.")
    predicted = model(probe.images).argmax(dim=1)
    view = TestedProbe(probe.images, labels, predicted, probe.masks, len(names))
    return examine([view], Asking(ask, 512), CUES, [told], names)


def numbers(result: Result) -> dict[str, Any]:
    """What one test measured."""
    found = result.reliance
    return {
        "cue": result.cue, "label": result.label, "predictivity": result.predictivity, "points": found.points,
        "z": found.z, "excess": found.excess, "holds": result.holds, "may_warn": result.may_warn, **dominance(result),
    }  # fmt: skip


def scores_beside(model: nn.Module, probe: Probe, data: Prepared) -> dict[str, float]:
    """Other scores of the same network."""
    if not hasattr(model, "features"):
        return {}
    question = ExplainConfig("gradcam", "label", "features")
    (explanation,) = answer(
        question, model, probe.images, probe.labels, find_layers(question, model, probe.images)
    ).values()
    with torch.no_grad():
        answers = torch.cat([model(part) for part in data.val_images.split(256)])
    return baselines(explanation, probe, answers, data.val_labels)


def sources() -> list[Path]:
    """The files that decide what is found."""
    package, study = Path(lightning_cam.__file__).parent, Path(__file__).parent
    decide = sorted(path for path in (package / "shortcuts").glob("*.py") if path.stem not in NOT_THE_RULE)
    return [*decide, package / "data" / "sampler.py", *(study / f"{name}.py" for name in STUDY)]


def rule(files: Iterable[Path]) -> str:
    """A name for the rule that these files are: judgements of another rule are not used."""
    return f"judged-{zlib.crc32(b''.join(path.read_bytes() for path in files)):08x}"


THE_RULE = rule(sources())  # as it was when this was imported


def judgement(folder: Path, setup: Setup, epochs: tuple[int, ...] | None = None) -> Path:
    """The file of the judgement by the rule as it is now."""
    name = THE_RULE if epochs is None else f"{THE_RULE}-epochs{'_'.join(map(str, epochs))}"
    return folder / name / f"{setup.key}.json"


def judged(folder: Path, setup: Setup, epochs: tuple[int, ...] | None = None) -> Run:
    """The judgement from its file; made where there is none."""
    path = judgement(folder, setup, epochs)
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(judge(setup, load(folder, setup), epochs)))
        unfinished.rename(path)
    return json.loads(path.read_text())
