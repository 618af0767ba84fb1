"""What docs/ promises of time and memory, on a GPU: one page, docs/benchmark_gpu.md, and the raw figures beside it.

    python benchmarks/gpu.py                      # all parts, some four minutes on one GPU
    python benchmarks/gpu.py --parts look wait    # these anew; what the JSON file has of the others stays
    python benchmarks/gpu.py --smoke --out trial # all parts in small on the CPU: no figure of it means anything

look     Grad-CAM beside the inference forward of the same images, in float32 and under bfloat16 autocast, and three peers where
         they are installed.
wait     what the training loop waits for a look (``overhead.py``).
tests    the shortcut tests' passes and time (``shortcut_tests.py``).
share    looks and tests as a share of an epoch (``overhead.py``).
methods  Ablation-CAM and Score-CAM, which ask the model hundreds of times.

Each part has a limit of time; rows that it leaves no time for are named as such. A part that fails does not keep the others.
"""

import argparse
import json
import logging
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import methods
import overhead
import shortcut_tests as tests_of_shortcuts
import torch
from side_by_side import compare, installed, seconds, surroundings
from timed_training import Figures
from torch import Tensor

DOCS = Path(__file__).parent.parent / "docs"
PACKAGES = ("torchvision", "pytorch-lightning", "grad-cam", "torchcam", "captum")
TIMED_OUT = 124  # the exit code, as that of timeout(1)
PATIENCE = 3.0  # seconds that the rounds of one row of look may take
Row = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    device: torch.device
    side: int
    models: tuple[str, ...] = tuple(name for name in methods.ROWS if name not in ("alexnet", "vgg16"))
    images: tuple[int, ...] = (16, 64, 256)
    wait: tuple[tuple[str, int], ...] = (
        ("resnet18", 16),
        ("resnet18", 64),
        ("resnet50", 64),
        ("resnet18", 256),
    )
    share: tuple[tuple[str, int], ...] = (("resnet18", 64), ("resnet50", 64))
    expensive: tuple[tuple[str, str], ...] = (
        ("resnet18", "ablationcam"),
        ("resnet18", "scorecam"),
        ("resnet50", "ablationcam"),
        ("resnet50", "scorecam"),
    )
    validation: int = 512
    rounds: int = 15
    least_rounds: int = 5
    looks: int = overhead.LOOKS
    training_batch: int = overhead.TRAINING_BATCH
    beside_peers: tuple[str, ...] = tuple(methods.LAYERS)  # models at which peers are measured, too
    expensive_peers: bool = True

    def side_for(self, model: str) -> int:
        """Pixels a side: a vision transformer takes one size."""
        return 224 if model.startswith("vit") else self.side


def full() -> Size:
    return Size(torch.device("cuda"), 224)


def smoke() -> Size:
    return Size(
        torch.device("cpu"),
        32,
        images=(1,),
        wait=(("resnet18", 4),),
        share=(("resnet18", 16),),
        expensive=(("resnet18", "ablationcam"), ("resnet18", "scorecam")),
        validation=16,
        rounds=1,
        least_rounds=1,
        looks=3,
        training_batch=4,
        beside_peers=("resnet18",),
        expensive_peers=False,
    )


def peers() -> list[str]:
    """Libraries that do the same and are installed here."""
    return [name for name, distribution in methods.DISTRIBUTIONS.items() if installed(distribution)]


# --- parts: each yields one row after the other -----------------------------------------------------------------------------------


def precisions(device: torch.device) -> dict[str, Callable[[], AbstractContextManager]]:
    return {
        "fp32": nullcontext,
        "bf16": partial(torch.autocast, device.type, dtype=torch.bfloat16),
    }


def look(size: Size) -> Iterator[Callable[[], Row]]:
    for name in size.models:
        for precision in precisions(size.device):
            for count in size.images:
                yield partial(one_look, size, name, precision, count)


def one_look(size: Size, name: str, precision: str, count: int) -> Row:
    inference, runs, reasons = libraries(
        size,
        name,
        "gradcam",
        count,
        peers() if name in size.beside_peers else [],
        precisions(size.device)[precision],
    )
    inference()
    each = seconds(inference, size.device)
    rounds = int(PATIENCE / (1.5 * each * (1 + len(runs))))
    timed = compare(
        {"inference": inference, **runs},
        size.device,
        max(size.least_rounds, min(size.rounds, rounds)),
        warm_ups=2 if size.rounds > 1 else 0,
    )
    return {
        "model": name,
        "precision": precision,
        "images": count,
        "timed": {library: asdict(one) for library, one in timed.items()},
        "reasons": reasons,
    }


def expensive(size: Size) -> Iterator[Callable[[], Row]]:
    for name, method in size.expensive:
        yield partial(one_expensive, size, name, method)


def one_expensive(size: Size, name: str, method: str) -> Row:
    others = [peer for peer in peers() if method in methods.PEERS[peer][1]] if size.expensive_peers else []
    inference, runs, reasons = libraries(size, name, method, 1, others, nullcontext)
    rounds = size.least_rounds
    timed = compare({"inference": inference, **runs}, size.device, rounds, warm_ups=min(1, size.rounds - 1))
    return {
        "model": name,
        "method": method,
        "timed": {library: asdict(one) for library, one in timed.items()},
        "reasons": reasons,
    }


def libraries(
    size: Size,
    name: str,
    method: str,
    count: int,
    others: list[str],
    precision: Callable[[], AbstractContextManager],
) -> tuple[Callable[[], Tensor], dict[str, Callable[[], object]], dict[str, str]]:
    """Inference, ours and those peers that can, as functions to be timed; and why the others cannot."""
    side = size.side_for(name)
    model = methods.build(name).to(size.device)
    torch.manual_seed(1)
    images = torch.randn(count, 3, side, side, device=size.device)

    def inference() -> Tensor:
        with torch.inference_mode(), precision():
            return model(images)

    def explained(library: str, case: methods.Case) -> object:
        with precision():
            return methods.run(library, case, method)

    runs: dict[str, Callable[[], object]] = {}
    reasons: dict[str, str] = {}
    for library in (methods.OURS, *others):
        case = methods.Case(deepcopy(model), methods.LAYERS[name], images, 0, batch=32)
        run = partial(explained, library, case)
        cell = methods.Cell()
        with methods.excused(cell, unless=library == methods.OURS):
            run()
            runs[library] = run
        if cell.reason:
            reasons[library] = cell.reason
    return inference, runs, reasons


def options_of(size: Size) -> argparse.Namespace:
    """As ``overhead.py`` reads them."""
    return argparse.Namespace(
        size=size.side,
        max_batch=64,
        rounds=min(size.rounds, 7),
        validation=size.validation,
        no_cue=False,
        looks=size.looks,
        training_batch=size.training_batch,
    )


def wait(size: Size) -> Iterator[Callable[[], Row]]:
    for name, count in size.wait:
        yield partial(of_a_training, overhead.wait, size, name, count)


def share(size: Size) -> Iterator[Callable[[], Row]]:
    for name, count in size.share:
        yield partial(of_a_training, overhead.share, size, name, count)


def of_a_training(measured: Callable[..., Figures], size: Size, name: str, count: int) -> Row:
    return asdict(measured(name, count, options_of(size), size.device))


def shortcut_tests(size: Size) -> Iterator[Callable[[], Row]]:
    for name, count in size.share:
        yield partial(one_test, size, name, count)


def one_test(size: Size, name: str, count: int) -> Row:
    found = tests_of_shortcuts.cost(
        name, count, size.side, overhead.CLASSES, 64, size.least_rounds, size.device, others=4 * count
    )
    return {"model": name, "images": count, **asdict(found)}


# --- the page ---------------------------------------------------------------------------------------------------------------------


def milliseconds(timed: Row) -> float:
    return 1e3 * sorted(timed["times"])[len(timed["times"]) // 2]


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def library_cells(row: Row, libraries: list[str]) -> list[str]:
    base = row["timed"]["inference"]
    cells = [f"{milliseconds(base):.2f} ms", f"{base['peak'] / 1e6:.0f} MB"]
    for library in libraries:
        timed = row["timed"].get(library)
        if timed is None:
            cells.append(row["reasons"].get(library, "-"))
            continue
        memory = timed["peak"] / base["peak"] if base["peak"] else float("nan")
        cells.append(f"{median(timed['ratios']):.2f} / {timed['peak'] / 1e6:.0f} MB / {memory:.2f}")
    return cells


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def libraries_table(rows: list[Row], first: Callable[[Row], str], note: str) -> str:
    known = [methods.OURS, *methods.DISTRIBUTIONS]
    there = [name for name in known if any(name in row["timed"] or name in row["reasons"] for row in rows)]
    missing = [name for name in known if name not in there]
    text = markdown(
        ["", "inference", "peak", *there], [[first(row), *library_cells(row, there)] for row in rows]
    )
    return (
        f"{text}\n\nA cell: time, as a ratio to inference / peak of tensor memory / as a ratio to inference. {note}"
        + (f" Not measured here: {', '.join(missing)}." if missing else "")
    )


def look_table(rows: list[Row]) -> str:
    return libraries_table(
        rows,
        lambda row: f"{row['model']}, {row['images']}, {row['precision']}",
        "fp32 is torch's default: convolutions may use TF32, matrix products do not. bf16: autocast, for inference too.",
    )


def expensive_table(rows: list[Row]) -> str:
    return libraries_table(rows, lambda row: f"{row['method']}, {row['model']}, 1 image", "In float32.")


def tests_table(rows: list[Row]) -> str:
    cells = [
        [
            f"{row['model']}, {row['images']} images: {name}",
            f"{milliseconds(timed):.1f} ms",
            f"{median(timed['ratios']):.2f}",
            f"{row['passes'][name]:.2f}" if name in row["passes"] else "1",
        ]
        for row in rows
        for name, timed in row["timed"].items()
    ]
    return markdown(["", "time", "ratio", "forward passes of the probe"], cells)


def figures_table(header: str, cells: Callable[[Figures], str], rows: list[Row]) -> str:
    rule = f"|{'---|' * (header.count('|') - 1)}"
    return "\n".join([header, rule, *(cells(Figures(**row)) for row in rows)])


@dataclass(frozen=True)
class Part:
    """What is measured, and how it is shown."""

    title: str
    rows: Callable[[Size], Iterator[Callable[[], Row]]]
    table: Callable[[list[Row]], str]
    limit: int  # seconds


PARTS: dict[str, Part] = {
    "look": Part("A look beside the inference forward", look, look_table, 110),
    "wait": Part(
        "What the loop waits",
        wait,
        partial(figures_table, overhead.WAIT, overhead.wait_row),
        60,
    ),
    "tests": Part("The shortcut tests", shortcut_tests, tests_table, 30),
    "share": Part(
        "Looks and tests as a share of an epoch of 1000 batches",
        share,
        partial(figures_table, overhead.SHARE, overhead.share_row),
        60,
    ),
    "methods": Part("Methods that ask the model hundreds of times", expensive, expensive_table, 50),
}


def page(found: dict[str, Any]) -> str:
    """Markdown of all parts that were ever measured, each with where."""
    smoked = any(part["smoke"] for part in found.values())
    lines = [
        "# On a GPU",
        "",
        "Written by `python benchmarks/gpu.py`; `.ci/gpu` runs it after the tests. The raw figures stand beside, in JSON. How to read",
        "the tables of the loop and of the share: [benchmark_overhead.md](benchmark_overhead.md).",
    ]
    if smoked:
        lines += ["", "**A trial in small on a CPU: these figures mean nothing.**"]
    for name, part in PARTS.items():
        if name not in found:
            continue
        own = found[name]
        lines += ["", f"## {part.title}", "", f"{own['surroundings']}. Took {own['seconds']:.0f} s.", ""]
        if own["rows"]:
            lines.append(part.table(own["rows"]))
        if own["missed"]:
            lines += ["", f"The time limit left out {own['missed']} rows."]
        if own["failed"]:
            lines += ["", *(f"Failed: {words}" for words in own["failed"])]
    return "\n".join(lines) + "\n"


def run(part: Part, size: Size, limit: float, keep: Callable[[Row], None]) -> None:
    """All rows that there is time for; ``keep`` takes the part as it stands after each of them."""
    start = time.perf_counter()
    state: Row = {
        "surroundings": surroundings(size.device, *PACKAGES),
        "smoke": size.device.type == "cpu",
        "rows": [],
        "failed": [],
        "missed": 0,
    }
    for make in part.rows(size):
        if time.perf_counter() - start > limit:
            state["missed"] += 1
            continue
        try:
            state["rows"].append(make())
        except Exception as error:  # noqa: BLE001 - the other rows are wanted all the same
            traceback.print_exc()
            state["failed"].append(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
        if size.device.type == "cuda":
            torch.cuda.empty_cache()
        keep({**state, "seconds": time.perf_counter() - start})
    keep({**state, "seconds": time.perf_counter() - start})


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--smoke", action="store_true", help="small, and on the CPU")
    parser.add_argument("--out", type=Path, default=DOCS, help="a folder for the page and the figures")
    parser.add_argument("--seconds", type=float, help="after which no row of a part begins")
    arguments = parser.parse_args()
    if arguments.smoke and arguments.out.resolve() == DOCS.resolve():
        parser.error("--smoke measures nothing worth keeping: give another folder with --out")
    if not (arguments.smoke or torch.cuda.is_available()):
        parser.error("no CUDA device; --smoke runs all of it in small on the CPU")

    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    size = smoke() if arguments.smoke else full()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "benchmark_gpu.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def keep(name: str, part: Row) -> None:
        found[name] = part
        path.write_text(json.dumps(found, indent=1))
        path.with_suffix(".md").write_text(page(found))

    for name in arguments.parts:
        part = PARTS[name]
        run(part, size, arguments.seconds or part.limit, partial(keep, name))
        own = found[name]
        print(
            f"{name}: {len(own['rows'])} rows in {own['seconds']:.0f} s, {len(own['failed'])} failed, {own['missed']} missed",
            file=sys.stderr,
        )
    if any(found[name]["failed"] for name in arguments.parts):
        return 1
    return TIMED_OUT if any(found[name]["missed"] for name in arguments.parts) else 0


if __name__ == "__main__":
    sys.exit(main())
