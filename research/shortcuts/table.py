"""The table of the study: a row for each group of runs, as Markdown."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, median

from research.shortcuts.groups import MOST_FALSE, PARTS, Group, groups_of, mark_of, ordered
from research.shortcuts.setups import Setup
from research.shortcuts.verdict import Verdict, interval

HEAD = (
    "plans", "data", "runs", "there", "rely", "warned", "noticed only", "right cue", "right class", "lead", "cues", "mark",
    "rule of before", "others warned", "passes", "idle passes", "seconds", "preparation",
)  # fmt: skip
LEGEND = """\
there: runs that are trained and judged, and of how many where some are missing. rely: runs whose accuracy falls by more than 0.2 at
some epoch where the artefact is another class'. warned: of planted runs those that rely and have a warning, that is the same cue at
two looks in a row, at an epoch at which they rely; of clean, broken and decoy runs all that have a warning, which is then false;
with 95 % intervals after Clopper and Pearson. noticed only: likewise, a finding but no warning. right cue: of those warned, how many
were of a cue that names the artefact (right_cues.py). right class: of those warned where one class carries it, how many name it
first. lead: median of the epochs from the first two in a row with verified reliance to the first warning. cues: how many runs were
warned of each, or noticed where they were not warned. mark: what was aimed at, and whether it is reached. rule of before: warned by the
dominance of a cue in conflicts, on the same swaps, at two looks in a row. others warned: planted runs that never verifiably rely.
passes: of the probe, a look; idle: at looks where no cue told all classes apart. seconds: a look's tests. preparation: seconds for
predictivity, once a run. A row whose families are not named sums up those below it."""
MOST_CUES = 4  # that a cell names
MOST_NOTICES = 0.10  # of honest runs on real data


def gathered(
    verdicts: Mapping[str, Iterable[Verdict]], by_family: bool = False
) -> dict[Group, list[Verdict]]:
    """The runs of each row, in order.

    Args:
        verdicts: By part, "tuning" or "confirmation".
    """
    found: dict[Group, list[Verdict]] = defaultdict(list)
    for part, some in verdicts.items():
        for one in some:
            for group in groups_of(part, one.setup, by_family):
                found[group].append(one)
    return {group: found[group] for group in ordered(found)}


def table(
    verdicts: Mapping[str, Iterable[Verdict]],
    planned: Mapping[str, Iterable[Setup]],
    by_family: bool = False,
) -> str:
    """All rows, as Markdown.

    Args:
        planned: By part, all runs of the plans, there or not.
    """
    wanted = Counter(
        group
        for part, setups in planned.items()
        for setup in setups
        for group in groups_of(part, dict(vars(setup)), by_family)
    )
    lines = [_line(HEAD), _line(["---"] * len(HEAD))]
    lines += [
        _line(cells(group, some, wanted[group])) for group, some in gathered(verdicts, by_family).items()
    ]
    return "\n".join(lines)


def cells(group: Group, runs: Sequence[Verdict], wanted: int) -> list[str]:
    """One row."""
    counting = [run for run in runs if run.counts]
    others = [run for run in runs if not run.counts]
    warned = [run for run in counting if run.warned is not None]
    only = [run for run in counting if run.noticed and run.warned is None]
    leads = [run.lead for run in warned if run.lead is not None and run.is_planted]
    idle = [passes for run in runs for passes in run.idle]
    return [
        group.part,
        group.data,
        group.name,
        f"{len(runs)}" if len(runs) == wanted else f"{len(runs)} of {wanted}",
        f"{sum(run.relies for run in runs)}",
        interval(len(warned), len(counting)),
        f"{len(only)}",
        _share([run.right_cue for run in warned]),
        _share([run.right_class for run in warned]),
        f"{median(leads):+g}" if leads else "-",
        _cues([*warned, *only]),
        _mark(group, len(warned), len(only), len(counting)),
        interval(sum(run.dominated for run in counting), len(counting)),
        f"{sum(run.first is not None for run in others)}/{len(others)}" if others else "-",
        f"{mean(passes for run in runs for passes in run.passes):.1f}",
        f"{mean(idle):.1f}" if idle else "-",
        f"{mean(seconds for run in runs for seconds in run.seconds):.2f}",
        f"{mean(run.preparation for run in runs):.1f}",
    ]


def costs(verdicts: Mapping[str, Iterable[Verdict]]) -> str:
    """Passes a look, over all runs of each part."""
    lines = []
    for part in PARTS:
        runs = list(verdicts.get(part, ()))
        if runs:
            passes = [each for run in runs for each in run.passes]
            idle = [each for run in runs for each in run.idle]
            lines.append(
                f"{part}: {mean(passes):.1f} passes of the probe a look by the mean over {len(passes)} looks of {len(runs)} runs"
                + (
                    f", {mean(idle):.1f} over the {len(idle)} at which no cue told all classes apart."
                    if idle
                    else "."
                )
            )
    return "\n".join(lines)


def _share(flags: Iterable[bool | None]) -> str:
    known = [flag for flag in flags if flag is not None]
    return f"{sum(known)}/{len(known)}" if known else "-"


def _cues(runs: Iterable[Verdict]) -> str:
    most = Counter(cue for run in runs for cue in run.cues).most_common()
    more = f", {len(most) - MOST_CUES} more" if len(most) > MOST_CUES else ""
    return ", ".join(f"{cue} {count}" for cue, count in most[:MOST_CUES]) + more or "-"


def _mark(group: Group, warned: int, noticed: int, count: int) -> str:
    if group.data in MOST_FALSE:
        most = MOST_FALSE[group.data]
        parts = [f"at most {most} false: {_reached(warned <= most)}"]
        if group.data.startswith("real"):
            is_reached = warned + noticed <= MOST_NOTICES * count
            parts.append(f"at most {100 * MOST_NOTICES:.0f} % noticed: {_reached(is_reached)}")
        return "; ".join(parts)
    least = mark_of(group)
    if least is None or not count:
        return "-"
    return f"{least:g}: {_reached(warned / count >= least)}"


def _reached(holds: bool) -> str:
    return "reached" if holds else "missed"


def _line(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"
