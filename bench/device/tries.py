"""Tries things one by one: what fails is noted with its traceback, and the next goes on."""

import gc
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import torch

from mgt_core.errors import MGTError, reason

from .journal import DONE, FAILED, LEFT_OUT, NO_TIME, RUNNING, Journal

MINUTE = 60.0
LAST_LINES = 60  # of a traceback
SHORT = 1.0  # seconds; of what takes longer a line is printed


class LeftOut(Exception):
    """Raised by what is tried where it cannot be here, saying why."""


class DeviceLost(Exception):
    """The device answers no more in this process, as after an illegal access; another process may go on."""


@dataclass(frozen=True)
class Tries:
    """Of one part. until: when its time is over, in seconds since the epoch."""

    journal: Journal
    part: str
    device: torch.device
    until: float

    def left(self) -> float:
        """Seconds."""
        return self.until - time.time()

    def __call__(self, name: str, work: Callable[[], dict], needs: float = 0.0, limit: float = 2 * MINUTE) -> dict:
        """The figures that `work` gives, or that it gave to another process; none of what did not come to an end.

        needs: seconds without which it is not begun; limit: seconds after which its process is ended. Raises DeviceLost
        where it left the device unusable."""
        if self.journal.settled(self.part, name):
            return self.journal.entry(self.part, name).get("figures", {})
        if self.left() <= needs:
            why = f"{max(self.left(), 0):.0f} s of the time for this were left"
            self.journal.note(self.part, name, NO_TIME, reason=why + (f", and it takes {needs:.0f}" if needs else ""))
            return {}
        self.journal.note(self.part, name, RUNNING, since=time.time(), limit=limit)
        started = time.perf_counter()
        status, found = self.tried(work)
        seconds = round(time.perf_counter() - started, 3)
        self.journal.note(self.part, name, status, **found, seconds=seconds)
        if status != DONE or seconds > SHORT:
            why = found.get("error") or found.get("reason", "")
            print(f"{self.part}: {name}: {status}, {seconds:.1f} s", why, file=sys.stderr, flush=True)
        if status == FAILED:
            release(self.device)
            if not answers(self.device):
                raise DeviceLost(name)
        return found.get("figures", {})

    @staticmethod
    def tried(work: Callable[[], dict]) -> tuple[str, dict]:
        try:
            return DONE, {"figures": work()}
        except LeftOut as why:
            return LEFT_OUT, {"reason": str(why)}
        except Exception as error:
            lines = traceback.format_exc().splitlines()[-LAST_LINES:]
            said = str(error) if isinstance(error, MGTError) else f"{type(error).__name__}: {reason(error, 300)}"
            return FAILED, {"error": said, "traceback": lines}


def release(device: torch.device) -> None:
    """Give back what is held no more: the frames of what failed, what goes in circles, what the allocator keeps."""
    gc.collect()
    if device.type == "cuda":
        try:
            torch.cuda.empty_cache()
        except RuntimeError:  # a device that is lost
            pass


def answers(device: torch.device) -> bool:
    try:
        return torch.ones(1, device=device).item() == 1
    except RuntimeError:
        return False
