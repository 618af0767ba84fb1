"""What the benchmarks share: time and memory of one run, and words for the machine that it ran on."""

import platform
import time
from collections.abc import Callable
from importlib.metadata import version

import torch

from lightning_cam import __version__


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Wall time of one run."""
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_bytes(run: Callable[[], object], device: torch.device) -> int:
    """Largest amount of tensor memory that the run holds at once, beyond what stood before."""
    if device.type == "cuda":
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
    others = [f"{name} {version(name)}, " for name in distributions]
    return f"{where}; torch {torch.__version__}, lightning_cam {__version__}, {''.join(others)}Python {platform.python_version()}"


def processor() -> str:
    """The processor in words."""
    try:
        with open("/proc/cpuinfo") as lines:
            name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"
