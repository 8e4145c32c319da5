"""How much memory a device has, and what to say of work that takes more."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from .errors import MGTError

GB = 2**30
LEEWAY = 0.8  # of an estimate, which nothing that would have worked is refused by


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
        if self.total is not None and needed * LEEWAY > self.total:
            raise MGTError(f"{takes}, and this device ({self.device}) has {shown(self.total)}: {instead}")
        if self.free is not None and needed > self.free:
            return f"{takes}, of which {shown(self.free)} are free: it may be very slow or fail; {instead} if it does"
        return None


def room_on(device: torch.device) -> Room:
    """As torch and the system tell it."""
    if device.type == "cuda" and torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return Room(device, total, free + held)
    if device.type == "mps":
        total = torch.mps.recommended_max_memory()
        return Room(device, total, total - torch.mps.current_allocated_memory())
    return main_memory(device) if device.type == "cpu" else Room(device)


def main_memory(device: torch.device) -> Room:
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has none of it
        return Room(device)
    return Room(device, total, available())


def available(table: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes that Linux would give without swapping, caches that it would drop included."""
    try:
        lines = table.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def shown(size: float) -> str:
    """Bytes as people read them."""
    return f"{size / GB:.0f} GB" if size >= 10 * GB else f"{size / GB:.2g} GB"
