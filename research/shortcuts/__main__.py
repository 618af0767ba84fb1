"""Are planted shortcuts found, and are healthy models left in peace? The default rule on every run of the bank.

python -m research.shortcuts --folder DIR --plan digits    # trains and judges what is not there, prints a table
"""

import argparse
import json
import os
import zlib
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import lightning_cam
from lightning_cam.attribution.config import ExplainConfig
from lightning_cam.data.batch import Batch
from lightning_cam.data.sampler import BalancedSampler
from lightning_cam.explainer import answer, find_layers
from lightning_cam.shortcuts.class_means import MOST_IMAGES, ClassMeans
from lightning_cam.shortcuts.cues import CUES
from lightning_cam.shortcuts.examine import check_subjects, examine
from lightning_cam.shortcuts.features import FEATURES
from lightning_cam.shortcuts.findings import UNTESTED, follow
from lightning_cam.shortcuts.pairing import TestedProbe
from research.shortcuts.bank import PLANS, Setup, fill, load, load_model, one_thread, prepared
from research.shortcuts.baselines import baseline_table, baselines, data_baselines, sides
from research.shortcuts.verdict import draw, summary, table

PROBE = 64

# The files of the package that decide what is found: where one changes, runs are judged anew.
RULE = (
    "shortcuts/examine.py",
    "shortcuts/pairing.py",
    "shortcuts/class_means.py",
    "shortcuts/findings.py",
    "shortcuts/cues.py",
    "shortcuts/features.py",
    "shortcuts/counts.py",
    "data/sampler.py",
)


def judge(setup: Setup, run: dict[str, Any]) -> dict[str, Any]:
    """What a monitor that looks after every epoch would have found, epoch by epoch."""
    data = prepared(setup)
    names = data.class_names
    collector, means = BalancedSampler(PROBE), ClassMeans(tuple(FEATURES))
    masks: Iterable[Tensor | None] = repeat(None) if data.masks is None else data.masks.split(64)
    for images, labels, seen_masks in zip(
        data.val_images.split(64), data.val_labels.split(64), masks, strict=False
    ):
        collector.offer(Batch(images, labels, seen_masks))  # the baselines' masks: the rule gets none
        means.add(images, labels, None, range(len(names)), MOST_IMAGES)
    probe, _ = collector.probe(names)
    on_offer = data_baselines(data.val_images, data.val_labels)
    tracker = UNTESTED
    rows = []
    for epoch, state in enumerate(run["states"]):
        model = load_model(state, len(names))
        question = ExplainConfig("gradcam", "label", "features")
        (explanation,) = answer(
            question, model, probe.images, probe.labels, find_layers(question, model, probe.images)
        ).values()

        def ask(images: Tensor, index: Tensor, model: torch.nn.Module = model) -> Tensor:
            with torch.no_grad():
                return model(images)

        subjects = TestedProbe(
            probe.images,
            check_subjects(probe),
            explanation.scores.argmax(dim=1),
            None,
            explanation.saliency,
            means,
            among=False,
        )
        report = examine(
            subjects,
            ask,
            CUES,
            classes=len(names),
            max_batch=512,
            class_names=names,
            thorough=tracker.is_thorough,
            tracker=tracker,
        )
        before = follow(tracker.findings, report.findings, {result.cue for result in report.results}, epoch)
        tracker = tracker.after(before, tracker.is_thorough or report.complete, report.pointed)
        now = [finding for finding in before if (finding.since or 0) + finding.looks - 1 <= epoch]
        tests = [
            [r.cue, r.label, r.tally.donor, r.tally.host, r.tally.third, r.p_value] for r in report.results
        ]
        found = {finding.key for finding in report.findings}
        with torch.no_grad():
            beside = {**baselines(explanation, probe, model(data.val_images), data.val_labels), **on_offer}
        rows.append({
            "findings": [dict(vars(finding)) for finding in now if finding.key in found],
            "passes": report.passes, "hosts": report.hosts, "tests": tests, "baselines": beside, **run["accuracies"][epoch],
        })  # fmt: skip
    return {"setup": run["setup"], "carrier": run["carrier"], "class_names": names, "epochs": rows}


def rule() -> str:
    """A name for the rule as it is now: judgements of another rule are not used."""
    package = Path(lightning_cam.__file__).parent
    sources = [
        *map(package.joinpath, RULE),
        *map(Path(__file__).with_name, ("bank.py", "baselines.py", "domains.py", "artefacts.py")),
    ]
    return f"judged-{zlib.crc32(b''.join(source.read_bytes() for source in sorted(sources))):08x}"


THE_RULE = rule()  # as it was when this was imported


def judged(folder: Path, setup: Setup) -> dict[str, Any]:
    """The judgement from its file; made where there is none."""
    path = folder / THE_RULE / f"{setup.key}.json"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(judge(setup, load(folder, setup))))
        unfinished.rename(path)
    return json.loads(path.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="where the bank is, or shall be")
    parser.add_argument("--plan", choices=[*PLANS, "all"], default="all")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--families", action="store_true", help="one line per family")
    parser.add_argument(
        "--picture", type=Path, help="where the picture goes, of all plans that were asked for"
    )
    arguments = parser.parse_args()
    everything: list[dict[str, Any]] = []
    for name in PLANS if arguments.plan == "all" else [arguments.plan]:
        setups = PLANS[name]()
        fill(arguments.folder, setups, arguments.workers)
        with ProcessPoolExecutor(
            arguments.workers, mp_context=get_context("spawn"), initializer=one_thread
        ) as pool:
            runs = list(pool.map(judged, [arguments.folder] * len(setups), setups))
        print(f"\n{name}\n{table(runs, arguments.families)}", flush=True)
        if name == arguments.plan or name != "tuning":  # what the rule was tuned on would flatter it
            everything += runs
    if all(sides(everything)):
        print(f"\nbeside other scores, at the last epoch\n{baseline_table(everything)}", flush=True)
    if everything:
        print(f"\n{summary(everything)}", flush=True)
    if arguments.picture:
        draw(everything).savefig(arguments.picture, dpi=150)


if __name__ == "__main__":
    main()
