"""Keeps a process at work until the time is over: what ends it or holds it up is noted, and another one goes on."""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mgt_core.errors import MGTError

from .journal import Journal

GRACE = 30.0  # seconds beyond the time, for what was begun within it
LOOK = 0.5  # seconds between two looks at the journal
LOST = 75  # status of a worker whose device answers no more; another process may go on


def keep(file: Path, arguments: Sequence[str], until: float) -> None:
    """Run the worker with `arguments` until it comes to its end by itself, again and again where it does not.

    file: its journal, which there is. until: when the time is over, in seconds since the epoch."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        while not ended(file, arguments, until):
            pass
    finally:
        signal.signal(signal.SIGTERM, before)


def ended(file: Path, arguments: Sequence[str], until: float) -> bool:
    """Whether one worker came to the end of what can be done."""
    worker = subprocess.Popen([sys.executable, "-m", "bench.device.worker", *arguments])
    try:
        why = watch(worker, file, until)
    finally:
        worker.kill()
        worker.wait()
    if why is None:
        return True
    journal = Journal.open(file)
    if not journal.broke(why) and worker.returncode != LOST:
        journal.head(ended=why)  # before or between tries, where another worker would end too
        return True
    return time.time() >= until


def watch(worker: subprocess.Popen, file: Path, until: float) -> str | None:
    """Why the worker did not come to its end by itself; None where it did."""
    while True:
        try:
            status = worker.wait(LOOK)
        except subprocess.TimeoutExpired:
            if held_up := late(file, until):
                return held_up
            continue
        return None if status == 0 else f"its process ended with status {status}"


def late(file: Path, until: float) -> str | None:
    """What of the worker takes too long, if so."""
    if time.time() > until + GRACE:
        return f"it was not done {GRACE:.0f} s after the time was over"
    try:
        running = Journal.open(file).running()
    except MGTError:
        return None
    if running and time.time() - running[2]["since"] > running[2]["limit"]:
        return f"it took longer than {running[2]['limit']:.0f} s"
    return None
