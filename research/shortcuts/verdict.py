"""What the judgements of many runs say together: found and false alarms with intervals, as a table and as a picture."""

from collections import defaultdict
from collections.abc import Iterable
from statistics import median
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from scipy.stats import beta

from lightning_cam.shortcuts.cues import CUES
from research.shortcuts.artefacts import FAMILIES, KNOWN
from research.shortcuts.bank import RELIES, reliance
from research.shortcuts.domains import DOMAINS, HONEST

PLANTED, HEALTHY = ("coded", "one"), ("clean", "broken", "decoy")
CORNERS = tuple(f"cell_{row}_{column}" for row in (0, 3) for column in (0, 3))


RIGHT_CUES = {  # keys or prefixes that name what was planted; written before the rule was run on it
    "corner_patch": (*CORNERS, "border"),
    "random_patch": ("attended",),
    "tint": ("colour", "mean_tone"),
    "frame": ("border",),
    "stripes": ("detail", "mean_image"),
    "watermark": ("cell", "detail", "mean_image"),
    "blur": ("spectrum", "mean_spectrum", "amplitude", "mean_amplitude"),
    "gamma": ("mean_tone", "colour"),
    "chromatic": ("detail",),
    "grating": ("amplitude", "mean_amplitude"),
    "posterize": ("mean_tone", "detail", "spectrum", "mean_spectrum", "amplitude", "mean_amplitude"),
    "timestamp": ("border", "cell_3", "attended"),
}


Run = dict[str, Any]  # as ``judge`` returns it


def interval(hits: int, count: int) -> str:
    """Share, and its 95 % interval after Clopper and Pearson."""
    low, high = bounds(hits, count)
    return f"{hits:3d}/{count:<3d} {hits / count:.2f} [{low:.2f}, {high:.2f}]"


def bounds(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share, after Clopper and Pearson."""
    low = beta.ppf(0.025, hits, count - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, count - hits) if hits < count else 1.0
    return float(low), float(high)


def counts(run: Run) -> bool:
    """Of planted runs only those that verifiably rely on the artefact at some evaluation."""
    return run["setup"]["kind"] not in PLANTED or onset(run) is not None


def onset(run: Run) -> int | None:
    """The first epoch with verified reliance."""
    return next((epoch for epoch, row in enumerate(run["epochs"]) if reliance(row) > RELIES), None)


def seen(run: Run, looks: int, stages: tuple[int, ...] = (1, 2), tiers: str = "AB") -> int | None:
    """The first epoch at which a cue of these stages and tiers had held so many looks in a row; None: never."""
    for epoch, row in enumerate(run["epochs"]):
        for finding in row["findings"]:
            if (
                finding["looks"] >= looks
                and finding["tier"] in tiers
                and CUES[finding["cue"]].stage in stages
            ):
                return epoch
    return None


def named(run: Run) -> tuple[bool, bool]:
    """Whether what held twice in a row names the artefact, and, where one class alone carries it, that class."""
    twice = [finding for row in run["epochs"] for finding in row["findings"] if finding["looks"] >= 2]
    right = RIGHT_CUES.get(run["setup"]["family"] or "", ())
    carrier = run["carrier"]
    return (
        any(finding["cue"].startswith(right) for finding in twice),
        carrier is not None
        and any(finding["label"] == carrier for finding in twice)
        and not any(finding["label"] not in (carrier, None) for finding in twice),
    )


def group(setup: dict[str, Any]) -> str:
    """The line of the table that a run belongs to."""
    family = "" if setup["family"] is None else "known" if setup["family"] in KNOWN else "undesigned"
    weak = f" {setup['correlation']:g}" if setup["correlation"] < 1 else ""
    faint = f" strength {setup['strength']:g}" if setup["strength"] < 1 else ""
    return f"{setup['domain']} {setup['kind']} {family}{weak}{faint}".strip()


def table(runs: Iterable[Run], by_family: bool = False) -> str:
    """A line per group of runs: how many were found, by what, how early, at which cost."""
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in filter(counts, runs):
        groups[
            f"{group(run['setup'])} {run['setup']['family'] or ''}" if by_family else group(run["setup"])
        ].append(run)
    head = (
        f"{'runs':44s} {'once':26s} {'twice in a row':26s} {'warning (tier A, twice)':26s} "
        "stage 1  stage 2  cue    class  lead  accuracy  passes"
    )
    return "\n".join([head, *(f"{name:44s} {line(some)}" for name, some in groups.items()), LEGEND])


LEGEND = """once, twice: a cue held at one look, at two in a row, over all tiers. stage 1, stage 2: share of runs in which one of
that stage held twice. cue, class: of the runs found twice, how many were named rightly. lead: median of epochs from the first
look with verified reliance to the first with a finding. accuracy: median validation accuracy at the first finding. passes:
forward passes of the probe, a look. Planted runs count where aligned less shuffled accuracy passed 0.2 at some epoch."""


def line(runs: list[Run]) -> str:
    """One group's figures."""
    count = len(runs)
    first = [(run, epoch) for run in runs if (epoch := seen(run, 1)) is not None]
    twice = [run for run in runs if seen(run, 2) is not None]
    warned = sum(seen(run, 2, tiers="A") is not None for run in runs)
    stages = [sum(seen(run, 2, (stage,)) is not None for run in runs) / count for stage in (1, 2)]
    planted, one = runs[0]["setup"]["kind"] in PLANTED, runs[0]["setup"]["kind"] == "one"
    names = [named(run) for run in twice]
    cue = f"{sum(right for right, _ in names) / len(names):5.2f}" if planted and names else "    -"
    label = f"{sum(right for _, right in names) / len(names):5.2f}" if one and names else "    -"
    leads = [epoch - start for run, epoch in first if (start := onset(run)) is not None]
    lead = f"{median(leads):+4.0f}" if planted and leads else "   -"
    accuracy = (
        f"{median(run['epochs'][epoch]['val_images'] for run, epoch in first):8.2f}" if first else "       -"
    )
    passes = sum(row["passes"] for run in runs for row in run["epochs"]) / sum(
        len(run["epochs"]) for run in runs
    )
    return (
        f"{interval(len(first), count):26s} {interval(len(twice), count):26s} {interval(warned, count):26s} "
        f"{stages[0]:7.2f}  {stages[1]:7.2f}  {cue}  {label}  {lead}  {accuracy}  {passes:6.1f}"
    )


def summary(runs: list[Run]) -> str:
    """README's table: found twice in a row, and how many of these as a warning, of the runs of each kind and domain."""

    def cell(some: list[Run]) -> str:
        twice, warned = (sum(seen(run, 2, tiers=tiers) is not None for run in some) for tiers in ("AB", "A"))
        return f"{interval(twice, len(some)).strip()}, {warned}" if some else "-"

    def of(
        domain: str, kinds: Iterable[str], correlation: float, families: Iterable[str | None]
    ) -> list[Run]:
        wanted = {"strength": 1.0, "correlation": correlation}
        ours = [
            run
            for run in runs
            if run["setup"]["domain"] == domain and run["setup"]["kind"] in kinds and counts(run)
        ]
        return [
            run
            for run in ours
            if run["setup"]["family"] in families and wanted.items() <= run["setup"].items()
        ]

    undesigned = [family for family in FAMILIES if family not in KNOWN]
    rows = {
        "class-coded, 7 families": (("coded",), 1.0, KNOWN),
        "class-coded, 5 that no cue was made for": (("coded",), 1.0, undesigned),
        "on one class of many, 7 families": (("one",), 1.0, KNOWN),
        "on one class of many, 5 that no cue was made for": (("one",), 1.0, undesigned),
        "correlation 0.9, 7 families": (("coded",), 0.9, KNOWN),
        "healthy: clean, broken, decoy": (HEALTHY, 1.0, (None, *FAMILIES)),
    }
    present = [domain for domain in DOMAINS if any(run["setup"]["domain"] == domain for run in runs)]
    domains, honest = (
        [domain for domain in present if domain not in HONEST],
        [domain for domain in present if domain in HONEST],
    )
    found = {name: [cell(of(domain, *what)) for domain in domains] for name, what in rows.items()}
    lines = [f"| | {' | '.join(domains)} |", f"|---{'|---' * len(domains)}|"]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in found.items()]
    return "\n".join([*lines, *(f"{domain}: {cell(of(domain, HEALTHY, 1.0, (None,)))}" for domain in honest)])


def draw(runs: list[Run]) -> Figure:
    """Found twice in a row, family by family, beside false alarms of healthy runs, with 95 % intervals; one panel per domain."""
    domains = [
        domain
        for domain in ("digits", "shapes", "photographs")
        if any(run["setup"]["domain"] == domain for run in runs)
    ]
    figure, panels = plt.subplots(
        1, len(domains), figsize=(4.4 * len(domains), 5.4), sharey=True, squeeze=False, layout="constrained"
    )
    rows = [*FAMILIES, "healthy"]
    kinds = {
        "class-coded": (
            "tab:blue",
            "o",
            lambda setup: setup["kind"] == "coded" and setup["correlation"] == 1,
        ),
        "correlation 0.9": (
            "tab:purple",
            "s",
            lambda setup: setup["kind"] == "coded" and setup["correlation"] == 0.9,
        ),
        "on one class": ("tab:orange", "D", lambda setup: setup["kind"] == "one"),
        "healthy: false alarms": ("black", "x", lambda setup: setup["kind"] in HEALTHY),
    }
    for panel, domain in zip(panels[0], domains, strict=True):
        ours = [
            run
            for run in runs
            if run["setup"]["domain"] == domain and run["setup"]["strength"] == 1 and counts(run)
        ]
        for step, (label, (color, marker, chosen)) in enumerate(kinds.items()):
            places, shares, spans = [], [], []
            for place, family in enumerate(rows):
                some = [
                    run
                    for run in ours
                    if chosen(run["setup"]) and (family == "healthy" or run["setup"]["family"] == family)
                ]
                if some and (family == "healthy") == (label.startswith("healthy")):
                    hits = sum(seen(run, 2) is not None for run in some)
                    low, high = bounds(hits, len(some))
                    places.append(place + (0 if family == "healthy" else 0.22 * (step - 1)))
                    shares.append(hits / len(some))
                    spans.append((hits / len(some) - low, high - hits / len(some)))
            if places:
                style = {"fmt": marker, "color": color, "markersize": 5, "capsize": 2, "elinewidth": 1}
                panel.errorbar(shares, places, xerr=list(zip(*spans, strict=True)), label=label, **style)
        panel.set(
            title=domain,
            xlim=(-0.04, 1.04),
            xlabel="share of runs found twice in a row",
            ylim=(len(rows) - 0.4, -0.6),
        )
        panel.axhspan(len(KNOWN) - 0.5, len(FAMILIES) - 0.5, color="0.95", zorder=0)
        panel.grid(axis="x", color="0.9")
    panels[0, 0].set_yticks(range(len(rows)), [row.replace("_", " ") for row in rows])
    figure.legend(
        *panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False
    )
    return figure
