"""What the benchmarks share: time and memory of one run, and words for the machine that it ran on."""

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

import torch

from lightning_cam import __version__


@dataclass
class Timed:
    """One variant beside the first one, round by round.

    Args:
        times: Seconds, one a round; the rounds that warm up are left out.
        ratios: To the first variant in the same round, which saw the same load of the machine.
        peak: Bytes; 0 where memory was not asked for.
    """

    times: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    peak: int = 0

    @property
    def time(self) -> float:
        """Median seconds."""
        return statistics.median(self.times)

    @property
    def ratio(self) -> float:
        """Median ratio."""
        return statistics.median(self.ratios)


def compare(
    variants: Mapping[str, Callable[[], object]],
    device: torch.device,
    rounds: int,
    warm_ups: int = 2,
    memory: bool = True,
) -> dict[str, Timed]:
    """Each variant beside the first, interleaved."""
    found = {name: Timed() for name in variants}
    order = list(variants)
    for number in range(rounds + warm_ups):
        # Else each would always follow the same one, and find the caches as that leaves them.
        order = order[1:] + order[:1]
        taken = {name: seconds(variants[name], device) for name in order}
        if number >= warm_ups:
            base = taken[next(iter(variants))]
            for name, time_taken in taken.items():
                found[name].times.append(time_taken)
                found[name].ratios.append(time_taken / base)
    if memory:
        for name, run in variants.items():
            found[name].peak = peak_bytes(run, device)
    return found


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Wall time of one run, from an idle device to an idle device."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_bytes(run: Callable[[], object], device: torch.device) -> int:
    """Largest amount of tensor memory that the run holds at once, beyond what stood before."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        run()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def surroundings(device: torch.device, *distributions: str) -> str:
    """Machine and versions in words."""
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    others = [f"{name} {version(name)}, " for name in distributions if installed(name)]
    return f"{where}; torch {torch.__version__}, lightning_cam {__version__}, {''.join(others)}Python {platform.python_version()}"


def installed(distribution: str) -> bool:
    """Whether there is such a package here."""
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


def processor() -> str:
    """The processor in words."""
    try:
        with open("/proc/cpuinfo") as lines:
            name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"
