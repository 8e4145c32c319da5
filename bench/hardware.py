"""What a measurement ran on, and how much memory it took."""

import ctypes
import gc
import os
import platform
import re
from pathlib import Path

import torch


def describe(device: torch.device) -> dict:
    """Processor, threads and versions, as figures need them beside them."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file() and (found := re.search(r"model name\s*:\s*(.+)", info.read_text())):
        cpu = found.group(1)
    return {
        "cpu": cpu,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "bfloat16_instructions": bfloat16_instructions(),
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "torch": torch.__version__,
        "system": platform.system(),
    }


def in_short() -> str:
    """Machine, threads and torch, in one line."""
    return f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def bfloat16_instructions() -> bool | None:
    """Whether the processor multiplies bfloat16; None where it does not say."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return None
    return bool(re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", info.read_text()))


class PeakMemory:
    """Peak of a stretch of work in bytes beside what was resident when it began: the allocator's on a GPU, the
    kernel's high-water mark of resident memory on Linux, None elsewhere (other systems only know the peak of
    the whole process)."""

    def __init__(self, device: torch.device):
        self.device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            self.before = torch.cuda.memory_allocated(device)
        else:
            self.before = reset_high_water()

    def read(self) -> int | None:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) - self.before
        return None if self.before is None else max(high_water() - self.before, 0)


def reset_high_water() -> int | None:
    """Bytes resident now, from which the kernel counts the next peak."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        pass
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return high_water()
    except OSError:
        return None


def high_water() -> int:
    return 1024 * int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text()).group(1))


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
