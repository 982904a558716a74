"""Seconds and peak memory of a piece of work."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass
class Cost:
    """Filled when the block ends. `peak_mib`: CUDA memory on a CUDA device, else what the process grew by."""

    seconds: float = 0.0
    peak_mib: float = 0.0


@contextmanager
def measured_cost(device: str = "cpu") -> Iterator[Cost]:
    cost = Cost()
    on_cuda = device.startswith("cuda")
    if on_cuda:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    before = _resident_mib()
    _forget_peak()
    start = time.perf_counter()
    try:
        yield cost
    finally:
        if on_cuda:
            torch.cuda.synchronize(device)
        cost.seconds = time.perf_counter() - start
        cost.peak_mib = torch.cuda.max_memory_allocated(device) / 2**20 if on_cuda else max(_peak_mib() - before, 0.0)


def _forget_peak() -> None:
    """Linux only; elsewhere the peak is that of the process so far."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return


def _peak_mib() -> float:
    return _status_mib("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _units_per_mib()


def _resident_mib() -> float:
    return _status_mib("VmRSS") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _units_per_mib()


def _status_mib(name: str) -> float | None:
    try:
        with open("/proc/self/status") as file:
            return next((float(line.split()[1]) / 1024 for line in file if line.startswith(name + ":")), None)
    except OSError:
        return None


def _units_per_mib() -> int:
    return 2**20 if sys.platform == "darwin" else 2**10
