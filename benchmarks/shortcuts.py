"""Are planted shortcuts found, and are healthy models left in peace? The default rule on every run of the bank.

python benchmarks/shortcuts.py --folder DIR --plan digits    # trains and judges what is not there, prints a table
"""

import argparse
import json
import os
import zlib
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from artefacts import KNOWN
from bank import EPOCHS, PLANS, RELIES, Setup, fill, load, load_model, one_thread, prepared, reliance
from baselines import baseline_table, baselines, data_baselines, sides
from scipy.stats import beta
from torch import Tensor

import lightning_cam
from lightning_cam.class_means import ClassMeans
from lightning_cam.explain import answer, find_layers
from lightning_cam.findings import Finding, findings_state, follow, is_thorough
from lightning_cam.functional.cues import CUES, FEATURES
from lightning_cam.probe import Collector
from lightning_cam.question import Question
from lightning_cam.reading import Reading
from lightning_cam.shortcuts import check_subjects, examine
from lightning_cam.transplants import Subjects

PROBE = 64
RULE = ("shortcuts.py", "shortcut_report.py", "transplants.py", "class_means.py", "findings.py", "probe.py")


def judge(setup: Setup, run: dict[str, Any]) -> dict[str, Any]:
    """What a monitor that looks after every epoch would have found, epoch by epoch."""
    data = prepared(setup)
    names = data.class_names
    collector, means = Collector(PROBE), ClassMeans(tuple(FEATURES))
    masks: Iterable[Tensor | None] = repeat(None) if data.masks is None else data.masks.split(64)
    for images, labels, seen_masks in zip(data.val_images.split(64), data.val_labels.split(64), masks, strict=False):
        collector.offer(Reading(images, labels, seen_masks))  # the baselines' masks: the rule gets none
        means.add(images, labels, None, range(len(names)))
    probe, _ = collector.probe(names)
    on_offer = data_baselines(data.val_images, data.val_labels)
    before: tuple[Finding, ...] = ()
    rows = []
    for epoch in range(EPOCHS):
        model = load_model(run["states"][epoch], len(names))
        question = Question("gradcam", "label", "features")
        (explanation,) = answer(question, model, probe.images, probe.labels, find_layers(question, model, probe.images)).values()

        def ask(images: Tensor, index: Tensor, model: torch.nn.Module = model) -> Tensor:
            with torch.no_grad():
                return model(images)

        subjects = Subjects(
            probe.images, check_subjects(probe), explanation.scores.argmax(dim=1), None, explanation.saliency, means, among=False
        )
        report = examine(
            subjects, ask, CUES, classes=len(names), max_batch=512, class_names=names, thorough=is_thorough(epoch, before)
        )
        before = follow(before, report.findings, {result.cue for result in report.results}, epoch)
        now = [finding for finding in before if (finding.since or 0) + finding.looks - 1 <= epoch]
        tests = [[r.cue, r.label, r.tally.donor, r.tally.host, r.tally.third, r.p_value] for r in report.results]
        found = {(finding.cue, finding.label) for finding in report.findings}
        with torch.no_grad():
            beside = {**baselines(explanation, probe, model(data.val_images), data.val_labels), **on_offer}
        rows.append({
            "findings": findings_state([finding for finding in now if (finding.cue, finding.label) in found]),
            "passes": report.passes, "hosts": report.hosts, "tests": tests, "baselines": beside, **run["accuracies"][epoch],
        })  # fmt: skip
    return {"setup": run["setup"], "carrier": run["carrier"], "class_names": names, "epochs": rows}


def rule() -> str:
    """A name for the rule as it is now: judgements of another rule are not used."""
    package = Path(lightning_cam.__file__).parent
    sources = [
        *map(package.joinpath, RULE),
        *package.glob("functional/*.py"),
        *map(Path(__file__).with_name, ("bank.py", "baselines.py", "domains.py", "artefacts.py")),
    ]
    return f"judged-{zlib.crc32(b''.join(source.read_bytes() for source in sorted(sources))):08x}"


def judged(folder: Path, setup: Setup) -> dict[str, Any]:
    """The judgement from its file; made where there is none."""
    path = folder / rule() / f"{setup.key}.json"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(judge(setup, load(folder, setup))))
        unfinished.rename(path)
    return json.loads(path.read_text())


def interval(hits: int, count: int) -> str:
    """Share, and its 95 % interval after Clopper and Pearson."""
    low = beta.ppf(0.025, hits, count - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, count - hits) if hits < count else 1.0
    return f"{hits:3d}/{count:<3d} {hits / count:.2f} [{low:.2f}, {high:.2f}]"


def seen(run: dict[str, Any], looks: int, stages: tuple[int, ...] = (1, 2), tiers: str = "AB") -> int | None:
    """The first epoch at which a cue of these stages and tiers had held so many looks in a row; None: never."""
    for epoch, row in enumerate(run["epochs"]):
        for finding in row["findings"]:
            if finding["looks"] >= looks and finding["tier"] in tiers and CUES[finding["cue"]].stage in stages:
                return epoch
    return None


def group(setup: dict[str, Any]) -> str:
    """The line of the table that a run belongs to."""
    family = "" if setup["family"] is None else "known" if setup["family"] in KNOWN else "undesigned"
    weak = f" {setup['correlation']:g}" if setup["correlation"] < 1 else ""
    faint = f" strength {setup['strength']:g}" if setup["strength"] < 1 else ""
    return f"{setup['domain']} {setup['kind']} {family}{weak}{faint}".strip()


def table(runs: Iterable[dict[str, Any]], by_family: bool = False) -> str:
    """Found per group of runs; of planted runs only those that verifiably rely on the artefact are counted."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        planted = run["setup"]["kind"] in ("coded", "one")
        if not planted or max(reliance(row) for row in run["epochs"]) > RELIES:
            groups[f"{group(run['setup'])} {run['setup']['family'] or ''}" if by_family else group(run["setup"])].append(run)
    head = (
        f"{'runs':44s} {'found once':26s} {'twice':26s} {'tier A twice (warning)':26s} stage 1 twice  stage 2 twice  passes  lead"
    )
    lines = [head]
    for name, some in groups.items():
        count = len(some)
        hits = [sum(seen(run, *how) is not None for run in some) for how in ((1,), (2,), (2, (1, 2), "A"), (2, (1,)), (2, (2,)))]
        passes = sum(row["passes"] for run in some for row in run["epochs"]) / count / EPOCHS
        leads = []
        for run in some:
            onset = next((epoch for epoch, row in enumerate(run["epochs"]) if reliance(row) > RELIES), None)
            first = seen(run, 1)
            if onset is not None and first is not None:
                leads.append(first <= onset)
        lead = f"{sum(leads) / len(leads):.2f}" if leads else "-"
        lines.append(
            f"{name:44s} {interval(hits[0], count):26s} {interval(hits[1], count):26s} {interval(hits[2], count):26s} "
            f"{hits[3] / count:13.2f}  {hits[4] / count:13.2f}  {passes:6.1f}  {lead}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the bank is, or shall be")
    parser.add_argument("--plan", choices=[*PLANS, "all"], default="all")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--families", action="store_true", help="one line per family")
    arguments = parser.parse_args()
    compared: list[dict[str, Any]] = []
    for name in PLANS if arguments.plan == "all" else [arguments.plan]:
        setups = PLANS[name]()
        fill(arguments.folder, setups, arguments.workers)
        with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn"), initializer=one_thread) as pool:
            runs = list(pool.map(judged, [arguments.folder] * len(setups), setups))
        print(f"\n{name}\n{table(runs, arguments.families)}", flush=True)
        if name == arguments.plan or name != "tuning":  # what the rule was tuned on would flatter it
            compared += runs
    if all(sides(compared)):
        print(f"\nbeside other scores, at the last epoch\n{baseline_table(compared)}", flush=True)


if __name__ == "__main__":
    main()
