"""How much memory a device has, and what to say of work that takes more."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from .errors import MGTError

GB = 2**30
LEEWAY = 0.8  # of an estimate, which nothing that would have worked is refused by
CHECK = "MGT_MEMORY_CHECK"  # 0 in the environment: for who knows of memory that is not counted here
LIMITS = [Path("/sys/fs/cgroup", name) for name in ("memory.max", "memory/memory.limit_in_bytes")]  # of a container


@dataclass(frozen=True)
class Room:
    """Bytes that a device has in all, and of which it can give now; None where nobody knows."""

    device: torch.device
    total: int | None = None
    free: int | None = None

    def note(self, needed: int, work: str, instead: str) -> str | None:
        """One sentence for work that takes more than is free. Raises MGTError where the device can never have it.

        work: what takes `needed` bytes, an estimate. instead: what to do."""
        takes = f"{work} takes about {shown(needed)} of memory"
        if self.total is not None and needed * LEEWAY > self.total and os.environ.get(CHECK) != "0":
            raise MGTError(
                f"{takes}, and this device ({self.device}) has {shown(self.total)}: {instead}; {CHECK}=0 in the "
                "environment has it tried all the same"
            )
        if self.free is not None and needed > self.free:
            return f"{takes}, of which {shown(self.free)} are free: it may be very slow or fail; {instead} if it does"
        return None


def room_on(device: torch.device) -> Room:
    """As torch and the system tell it."""
    if device.type == "cuda" and torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return Room(device, total, free + held)
    return main_memory(device) if device.type in ("cpu", "mps") else Room(device)


def main_memory(device: torch.device, table: Path = Path("/proc/meminfo"), limits: Sequence[Path] = LIMITS) -> Room:
    """As far as the system tells, which on Windows is not at all. Work that swaps is slow, and not impossible; what is
    free is told by Linux alone, without swapping and with caches that it would drop."""
    try:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return Room(device)
    physical = min(physical, *map(limit_in, limits))
    free, swap = (stated(name, table) for name in ("MemAvailable", "SwapTotal"))
    return Room(device, int(physical) + (swap or 0), None if free is None else int(min(free, physical)))


def stated(name: str, table: Path) -> int | None:
    """Bytes that a line of Linux's table says."""
    try:
        lines = table.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def limit_in(file: Path) -> float:
    """Bytes that a container may have; "max" is no limit, and so is a file that is not there."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return math.inf


def shown(size: float) -> str:
    """Bytes as people read them."""
    return f"{size / GB:.0f} GB" if size >= 10 * GB else f"{size / GB:.2g} GB"
