"""Where the time of a step goes: torch's profile of one, its dearest entries."""

from functools import partial

from torch.profiler import ProfilerActivity, profile

import mgt_core

from ..hardware import synchronize
from . import counts
from .rows import GRAPHS, DeviceRow
from .runs import pipeline_of
from .session import Session
from .tries import Tries

STEPS = 4  # of the run that the step is of
MOST = 40  # entries
NAMES = 120  # characters of a kernel's name, which may be a page of templates


def one_step(session: Session, tries: Tries) -> None:
    for row in (DeviceRow(), DeviceRow((GRAPHS,))):
        tries(f"profile, {row.name}", partial(profiled, session, row))


def profiled(session: Session, row: DeviceRow) -> dict:
    """entries: of the last step but one, by time on the device (on a CPU: by its own time)."""
    sample = counts.sampling(pipeline_of(session, row), session.settings, 1)
    sample(STEPS)
    found = profile(activities=[ProfilerActivity.CUDA if session.gpu else ProfilerActivity.CPU])

    def note(step: mgt_core.Step) -> None:
        synchronize(session.device)
        if step.index == STEPS - 3:
            found.start()
        if step.index == STEPS - 2:
            found.stop()

    sample(STEPS, note)
    entries = [entry for entry in found.key_averages() if not session.gpu or counts.on_device(entry)]
    return rows_of([(entry.key[:NAMES], entry.count, spent(entry, session.gpu)) for entry in entries])


def spent(entry, gpu: bool) -> float:
    """Seconds of all calls of it, without what it calls."""
    return (entry.self_device_time_total if gpu else entry.self_cpu_time_total) / 1e6


def rows_of(entries: list[tuple[str, int, float]]) -> dict:
    """entries: names, calls and seconds."""
    whole = sum(seconds for _, _, seconds in entries)
    dearest = sorted(entries, key=lambda entry: -entry[2])[:MOST]
    return {
        "seconds": whole,
        "kinds": len(entries),
        "calls": sum(calls for _, calls, _ in entries),
        "entries": [
            {"name": name, "calls": calls, "seconds": seconds, "share": seconds / whole if whole else 0.0}
            for name, calls, seconds in dearest
        ],
    }
