"""Are planted shortcuts found, and are healthy models left in peace? The default rule on every run of the bank, one table.

python -m research.shortcuts --folder DIR --plan digits                  # trains and judges what is not there yet
python -m research.shortcuts --folder DIR --plan all --judge-only        # judges what is trained
"""

import argparse
import os
import platform
import subprocess
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch

from research.shortcuts.bank import fill, missing, one_thread
from research.shortcuts.baselines import baseline_table, sides
from research.shortcuts.groups import PARTS, part_of
from research.shortcuts.judge import THE_RULE, judged, judgement
from research.shortcuts.picture import draw
from research.shortcuts.plans import PLANS, chosen_plans
from research.shortcuts.setups import Setup
from research.shortcuts.table import LEGEND, costs, table
from research.shortcuts.verdict import Run, verdict

BEGIN, END = "<!-- printed by research.shortcuts: begin -->", "<!-- printed by research.shortcuts: end -->"


def judge_all(folder: Path, setups: list[Setup], workers: int) -> None:
    """Judge all setups that are not judged by the rule as it is now."""
    todo = [setup for setup in setups if not judgement(folder, setup).exists()]
    start = time.perf_counter()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=one_thread) as pool:
        waiting = {pool.submit(judged, folder, setup): setup for setup in todo}
        for done, future in enumerate(as_completed(waiting), 1):
            future.result()
            rate = done / (time.perf_counter() - start)
            print(
                f"judged {done:4d}/{len(todo)}  {waiting[future].key:70s} {(len(todo) - done) / rate / 60:.0f} minutes left",
                flush=True,
            )


def where() -> str:
    """Which rule, commit, machine and versions the figures are from."""
    root = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        except (OSError, subprocess.CalledProcessError):  # no git, or no repository
            return ""
        return done.stdout.strip()

    commit = git("rev-parse", "--short", "HEAD") or "unknown"
    changed = (
        ", with changes that are not committed"
        if git("status", "--porcelain", "--untracked-files=no")
        else ""
    )
    chip = Path("/proc/cpuinfo")
    lines = chip.read_text().splitlines() if chip.exists() else []
    model = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return (
        f"Rule {THE_RULE.removeprefix('judged-')}, commit {commit}{changed}. {model}, {os.cpu_count()} cores, "
        f"torch {torch.__version__}, Python {platform.python_version()}."
    )


def results(runs: dict[str, list[Run]], planned: dict[str, list[Setup]], by_family: bool) -> str:
    """All that is told of the runs, as Markdown.

    Args:
        runs: Judgements by part, "tuning" or "confirmation"; likewise ``planned``.
    """
    verdicts = {part: [verdict(run) for run in some] for part, some in runs.items()}
    parts = [where(), table(verdicts, planned, by_family), LEGEND, costs(verdicts)]
    for part in PARTS:
        if all(sides(runs.get(part, ()))):
            parts.append(
                f"Beside other scores of the last epoch ({part}):\n\n```\n{baseline_table(runs[part])}\n```"
            )
    return "\n\n".join(parts)


def put(path: Path, text: str) -> None:
    """Write a table: between the two marks of a page that has them, else as a file of its own."""
    page = path.read_text() if path.exists() else ""
    if BEGIN in page and END in page:
        before, rest = page.split(BEGIN, 1)
        text = f"{before}{BEGIN}\n{text}\n{END}{rest.split(END, 1)[1]}"
    path.write_text(text if text.endswith("\n") else f"{text}\n")


def main(words: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="research.shortcuts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="where the bank is, or shall be")
    parser.add_argument(
        "--plan", choices=[*PLANS, "all"], action="append", help="may be given again; default: all"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--judge-only", action="store_true", help="train nothing: only runs that are there")
    parser.add_argument("--families", action="store_true", help="a row for each family")
    parser.add_argument("--table", type=Path, help="a file for the table, or a page with marks for it")
    parser.add_argument("--picture", type=Path, help="a file for the picture")
    arguments = parser.parse_args(None if words is None else list(words))
    runs: dict[str, list[Run]] = {}
    planned: dict[str, list[Setup]] = {}
    for name in chosen_plans(arguments.plan):
        setups = PLANS[name]()
        if not arguments.judge_only:
            fill(arguments.folder, setups, arguments.workers)
        absent = missing(arguments.folder, setups)
        there = [setup for setup in setups if setup not in absent]
        judge_all(arguments.folder, there, arguments.workers)
        runs.setdefault(part_of(name), []).extend(judged(arguments.folder, setup) for setup in there)
        planned.setdefault(part_of(name), []).extend(setups)
        print(f"{name}: {len(there)} of {len(setups)} runs are there and judged", flush=True)
    if not any(runs.values()):
        parser.error(
            f"--folder: {str(arguments.folder)!r} has no run of these plans; leave out --judge-only to train them"
        )
    text = results(runs, planned, arguments.families)
    print(f"\n{text}", flush=True)
    if arguments.picture:
        draw({part: [verdict(run) for run in some] for part, some in runs.items()}).savefig(
            arguments.picture, dpi=110
        )
        if arguments.table:
            link = os.path.relpath(arguments.picture, arguments.table.parent)
            text = f"![Share of runs warned, by group, with 95 % intervals]({link})\n\n{text}"
    if arguments.table:
        put(arguments.table, text)


if __name__ == "__main__":
    main()
