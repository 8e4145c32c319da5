"""A process killed at any moment of its work, and what it leaves: again and again, at other moments.

A subject is a module of tests/fuzz with `prepare(folder)`, called once in an empty folder; `act(folder)`, the work that
is killed, on a copy of that folder; and `check(folder, finished)`, which looks at what is there afterwards, goes on as
a person would, and raises where something was lost. finished: whether `act` came to its end before it was killed. The
module says how often it is killed in every run of the tests (KILLS).

    MGT_KILLS=200 ./mgt test tests/fuzz -k kill        the long form: so many kills of each subject
    PYTHONPATH=.:tests python -m support.kills fuzz.kill_saving 200      the same of one subject
"""

import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from itertools import cycle, zip_longest
from pathlib import Path

from tqdm import tqdm

from .pack import ROOT
from .trials import on_one_thread

EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link")


def kills(short: int) -> int:
    """How many times a subject is killed: `short` unless MGT_KILLS says it."""
    return int(os.environ.get("MGT_KILLS", short))


def run(subject: str, count: int, seed: int = 0) -> dict:
    """What `count` kills of a subject came to: {"killed", "finished", "faults": [...]}. In a process of its own, which
    has one thread and can be copied."""
    command = [sys.executable, "-m", "support.kills", subject, str(count), str(seed)]
    patience = 120 + 60 * count  # seconds, many times what it takes
    done = subprocess.run(command, capture_output=True, text=True, env=on_one_thread(), cwd=ROOT, timeout=patience)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def kill_again_and_again(name: str, count: int, seed: int) -> dict:
    # The lock of tqdm's own is shared by copies of a process, and one that is killed does not give it back.
    tqdm.set_lock(threading.RLock())
    tqdm.monitor_interval = 0  # nor is a second thread to be copied
    subject = importlib.import_module(name)
    draws, told = random.Random(seed), {"killed": 0, "finished": 0, "faults": []}
    with tempfile.TemporaryDirectory() as place:
        first = Path(place) / "first"
        first.mkdir()
        subject.prepare(first)
        kinds, seconds = measured(subject.act, copied(first, Path(place) / "measured"))
        at_events = chosen(kinds, (count + 1) // 2)
        for number in range(count):
            folder = copied(first, Path(place) / f"{number}")
            at = draws.uniform(0, seconds) if number % 2 else None  # in between: what torch itself writes
            event = None if number % 2 else at_events[number // 2]
            finished = in_a_copy(lambda to=folder: subject.act(to), event, at)
            told["finished" if finished else "killed"] += 1
            try:
                subject.check(folder, finished)
            except Exception as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                moment = f"file event {event} of {len(kinds)}" if event else f"{at:.2f} of {seconds:.2f} s"
                told["faults"].append(f"{moment}: {type(error).__name__}: {str(error)[:300]} (line {where.lineno})")
            shutil.rmtree(folder)
    return told


def chosen(kinds: list[str], count: int) -> list[int]:
    """Numbers of `count` file events to be killed at: every second one gives a file or folder its name, as far as there
    are such; the others are spread over all. From the last to the first of either."""
    naming = [number for number, kind in enumerate(kinds, 1) if kind == "os.rename"]
    every = range(1, len(kinds) + 1)
    few, most = spread(naming or every, (count + 1) // 2), spread(every, count // 2)
    return [number for pair in zip_longest(few, most) for number in pair if number]


def spread(numbers: Sequence[int], count: int) -> list[int]:
    """So many of them, the last one first; all of them over and over where there are fewer."""
    if count > len(numbers):
        return [number for _, number in zip(range(count), cycle(reversed(numbers)))]
    return [numbers[len(numbers) - 1 - i * len(numbers) // count] for i in range(count)]


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to, symlinks=True))


def measured(act: Callable[[Path], None], folder: Path) -> tuple[list[str], float]:
    """File events, by their kinds, and seconds of the work when nobody stops it."""
    reading, writing = os.pipe()

    def counted() -> None:
        counter = Events(None)
        started = time.monotonic()
        act(folder)
        os.write(writing, json.dumps([counter.kinds, time.monotonic() - started]).encode())

    assert in_a_copy(counted), "the work fails when nobody stops it"
    os.close(writing)
    with os.fdopen(reading) as told:
        kinds, seconds = json.load(told)
    shutil.rmtree(folder)
    return kinds, seconds


def in_a_copy(work: Callable[[], None], event: int | None = None, seconds: float | None = None) -> bool:
    """`work` in a copy of this process, killed at a file event or after some time. Whether it came to its end."""
    sys.stdout.flush()
    process = os.fork()
    if not process:
        code = 1
        with contextlib.suppress(BaseException):
            Events(event)
            try:
                work()
                code = 0
            except BaseException:
                traceback.print_exc()
        os._exit(code)
    if seconds is not None:
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the work failed by itself"
    return not os.WIFSIGNALED(status)


class Events:
    """Notes what changes files, and kills this process before the one of a number."""

    def __init__(self, last: int | None):
        self.kinds, self.last = [], last
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple) -> None:
        if event not in EVENTS or (event == "open" and not is_writing(arguments)):
            return
        self.kinds.append(event)
        if len(self.kinds) == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


def is_writing(arguments: tuple) -> bool:
    _, mode, flags = arguments
    return any(letter in mode for letter in "wax+") if mode else bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


if __name__ == "__main__":
    name, count, *rest = sys.argv[1:]
    print(json.dumps(kill_again_and_again(name, int(count), int(*rest or [0]))))  # noqa: T201
