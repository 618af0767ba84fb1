"""The picture of the study: how many runs are warned, beside the rule of before; and how many honest ones are."""

from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from research.shortcuts.domains import HONEST
from research.shortcuts.groups import ALL, Group, data_of
from research.shortcuts.table import gathered
from research.shortcuts.verdict import PLANTED, Verdict, bounds

OURS, BEFORE = ("tab:blue", "o", "warned"), ("0.55", "D", "the rule of before, on the same swaps")
TASKS = tuple(map(data_of, HONEST))


def draw(verdicts: Mapping[str, Iterable[Verdict]]) -> Figure:
    """Runs that rely: share warned, by group (the table has more rows), above; honest runs: false warnings, below; with 95 % intervals.

    Args:
        verdicts: By part; of the two, confirmation is drawn where it is there.

    Raises:
        ValueError: There is no run.
    """
    part = "confirmation" if verdicts.get("confirmation") else "tuning"
    rows = gathered({part: verdicts.get(part, ())})
    planted = {
        group: some
        for group, some in rows.items()
        if _is_planted(some) and _counting(some) and _is_shown(group, rows)
    }
    honest = {group: some for group, some in rows.items() if not _is_planted(some)}
    if not rows:
        raise ValueError("verdicts: there is no run; train and judge a plan first.")
    heights = [max(1, len(planted)) + 1.5, max(1, len(honest)) + 1.5]
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(9.5, 0.27 * sum(heights) + 1.2), height_ratios=heights, layout="constrained"
    )
    _panel(above, planted, f"Runs that rely on what was planted ({part})")
    _panel(below, honest, "Honest runs: every warning is false. Below the line: honest tasks")
    below.set_xlabel("share of runs, with 95 % intervals")
    tasks = [place for place, group in enumerate(honest) if group.data in TASKS]
    if tasks and tasks[0]:
        below.axhline(tasks[0] - 0.5, color="0.4", linewidth=0.8)
    figure.legend(*above.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def _panel(panel: Axes, rows: Mapping[Group, Sequence[Verdict]], title: str) -> None:
    for step, (color, marker, label) in ((-0.16, OURS), (0.16, BEFORE)):
        shares, low, high = [], [], []
        for some in rows.values():
            counting = _counting(some)
            hits = sum(one.warned is not None if step < 0 else one.dominated for one in counting)
            ends = bounds(hits, len(counting))
            shares.append(hits / len(counting))
            low.append(shares[-1] - ends[0])
            high.append(ends[1] - shares[-1])
        places = [place + step for place in range(len(rows))]
        panel.errorbar(
            shares, places, xerr=[low, high], label=label, color=color, fmt=marker, markersize=5, capsize=2, elinewidth=1
        )  # fmt: skip
    names = [f"{group.data}, {group.name}  ({len(_counting(some))})" for group, some in rows.items()]
    panel.set_yticks(range(len(rows)), names, fontsize=8)
    for text, group in zip(panel.get_yticklabels(), rows, strict=True):
        text.set_fontweight("bold" if group.kind in ("planted", "honest") else "normal")
    panel.set(xlim=(-0.03, 1.03), ylim=(len(rows) - 0.4, -0.6))
    panel.set_title(title, loc="left", fontsize=10)
    panel.grid(axis="x", color="0.9")


def _is_shown(group: Group, rows: Iterable[Group]) -> bool:
    """Sums, and rows that no sum holds; and families where all classes have an artefact of their own, but for composites'."""
    is_summed = Group(group.part, group.data, group.kind, ALL) in rows
    return (
        group.families == ALL or not is_summed or (group.kind == "class-coded" and group.data != "composites")
    )


def _counting(some: Iterable[Verdict]) -> list[Verdict]:
    return [one for one in some if one.counts]


def _is_planted(some: Sequence[Verdict]) -> bool:
    return any(one.setup["kind"] in PLANTED for one in some)
