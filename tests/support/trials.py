"""Many trials of one kind, each made from its seed alone, in a process that is watched: what a fuzzer is.

A trial is a function `trial(seed, folder)` of a module of tests/fuzz: it makes something broken from the seed in an
empty folder, hands it to the code, and returns a word for what came of it ("loaded", "refused"). What it raises is a
fault, and so are a hang, a process that dies, too much memory, and files written outside of the folder. The module
says how many trials are made in every run of the tests (SHORT), and which words must come (OUTCOMES); what takes long
only once, such as imports, its `get_ready()` does before the first one.

    MGT_FUZZ=5000 MGT_FUZZ_SEED=7 ./mgt test tests/fuzz       the long form: so many trials of each, from this seed on
    PYTHONPATH=.:tests python -m support.trials fuzz.checkpoints 17       one trial, here, with its traceback
"""

import contextlib
import importlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from .pack import ROOT

SECONDS = 5.0  # of processor time that a trial may take
PATIENCE = 12  # times as many on the clock, since the machine may be busy
MEMORY = 1.5e9  # bytes that the process may hold at any time
WRITES = {  # where in an event a path stands, and the number of the open folder that it is relative to
    "os.mkdir": ((0, 2),),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((1, 3),),
    "os.symlink": ((1, 2),),
}
IGNORED = ("/dev/", "/proc/")


def seeds(short: int) -> range:
    """Those to try: `short` of them unless MGT_FUZZ says how many, from MGT_FUZZ_SEED on."""
    first = int(os.environ.get("MGT_FUZZ_SEED", 0))
    return range(first, first + int(os.environ.get("MGT_FUZZ", short)))


def is_sentence(text: str) -> bool:
    """Whether a message is what a person should get: one line of text, not a page."""
    return bool(text.strip()) and len(text) < 500 and text.isprintable()


def refused(error: Exception) -> str:
    """The word for a refusal. Raises AssertionError where it is not said in a sentence."""
    assert is_sentence(str(error)), f"no sentence: {str(error)[:600]!r}"
    return "refused"


@dataclass
class Report:
    """What came of trials. outcomes: how often each. faults: by seed. slowest: seconds of processor time. memory: most
    bytes held."""

    outcomes: Counter = field(default_factory=Counter)
    faults: dict[int, str] = field(default_factory=dict)
    slowest: float = 0.0
    memory: float = 0.0

    def __str__(self) -> str:
        told = ", ".join(f"{count} {name}" for name, count in self.outcomes.most_common())
        first = "".join(f"\n  seed {seed}: {fault}" for seed, fault in list(self.faults.items())[:12])
        return f"{told}; slowest {self.slowest:.2f} s, {self.memory / 1e9:.2f} GB; {len(self.faults)} faults{first}"


def run(target: str, wanted: range) -> Report:
    """The trials of module `target`, in processes that are started anew when one hangs or dies."""
    report, waiting, worker = Report(), list(reversed(wanted)), None
    try:
        while waiting:
            worker = worker or Watched(target)
            seed = waiting.pop()
            told = worker.trial(seed)
            if told is None:
                worker.end()
                worker, told = None, {"fault": f"the process {worker.fate}"}
            report.slowest = max(report.slowest, told.get("seconds", 0))
            report.memory = max(report.memory, told.get("memory", 0))
            report.outcomes[told.get("outcome", "fault")] += 1
            if "fault" in told:
                report.faults[seed] = told["fault"]
    finally:
        if worker:
            worker.end()
    sys.stdout.write(f"{target}: {report}\n")
    return report


def on_one_thread() -> dict[str, str]:
    """The environment of a process that can be copied: it computes on the CPU, in one thread."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    own = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "MGT_DEVICE": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    return {**os.environ, **own, "PYTHONDONTWRITEBYTECODE": "1"}


class Watched:
    """A process that makes trials, one at a time."""

    def __init__(self, target: str):
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "support.trials", target],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, env=on_one_thread(), cwd=ROOT, text=True,
        )  # fmt: skip
        self.fate = "died"
        self.ready = selectors.DefaultSelector()
        self.ready.register(self.process.stdout, selectors.EVENT_READ)
        assert self.answer(120) == {}, self.error()

    def answer(self, seconds: float) -> dict | None:
        if not self.ready.select(seconds):
            self.fate = f"did not answer in {seconds:.0f} s"
            return None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(10)
            self.fate = f"died with status {self.process.returncode} ({self.error()[-200:]!r})"
        return json.loads(line) if line else None

    def error(self) -> str:
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")[-2000:]

    def trial(self, seed: int) -> dict | None:
        self.process.stdin.write(f"{seed}\n")
        self.process.stdin.flush()
        return self.answer(SECONDS * PATIENCE)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.ready.close()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            with contextlib.suppress(OSError):
                stream.close()


def serve(target: str) -> None:
    """In the process that is watched: a seed a line, and what came of it."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    trial = made_ready(target)
    guard = Guard()
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(attempt(trial, int(line), guard)), file=answers, flush=True)


def made_ready(target: str):
    """The function `trial` of a module, after its `get_ready`, if it has one."""
    module = importlib.import_module(target)
    getattr(module, "get_ready", lambda: None)()
    return module.trial


def attempt(trial, seed: int, guard: "Guard") -> dict:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as around:
        folder = Path(around).resolve() / "outside" / "around" / "inside"
        folder.mkdir(parents=True)
        forget_peak()
        started = time.process_time()
        with guard.watching(folder):
            try:
                told = {"outcome": trial(seed, folder)}
            except BaseException as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                told = {
                    "fault": f"{type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}:{where.lineno})"
                }
        told["seconds"], told["memory"] = time.process_time() - started, peak()
        beside = [entry.name for above in list(folder.parents)[:3] for entry in above.iterdir()]
        if beside != ["inside", "around", "outside"]:
            guard.outside.append(f"there are {beside}")
        if guard.outside:
            told["fault"] = f"wrote outside: {guard.outside[0]}"
        elif told["seconds"] > SECONDS:
            told["fault"] = f"took {told['seconds']:.1f} s"
        elif told["memory"] > MEMORY:
            told["fault"] = f"held {told['memory'] / 1e9:.1f} GB"
        restore(folder)
        return told


class Guard:
    """Sees what Python's own functions write outside of a folder."""

    def __init__(self):
        self.folder, self.outside = None, []
        sys.addaudithook(self.hook)

    @contextlib.contextmanager
    def watching(self, folder: Path):
        self.folder, self.outside = folder, []
        try:
            yield
        finally:
            self.folder = None

    def hook(self, event: str, arguments: tuple) -> None:
        if self.folder is None:
            return
        if event == "open" and isinstance(arguments[0], (str, bytes)) and writes(arguments[1], arguments[2]):
            self.check(arguments[0])
        for place, base in WRITES.get(event, ()):
            if isinstance(arguments[place], (str, bytes)):
                self.check(arguments[place], arguments[base])

    def check(self, path: str | bytes, base: int = -1) -> None:
        around = os.path.realpath(f"/proc/self/fd/{base}") if base >= 0 else ""
        path = os.path.realpath(os.path.join(around, os.fsdecode(path)))
        if not path.startswith((f"{self.folder}{os.sep}", *IGNORED)) and path != str(self.folder):
            self.outside.append(path)


def writes(mode: str | None, flags: int) -> bool:
    if mode is not None:
        return any(letter in mode for letter in "wax+")
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def restore(folder: Path) -> None:
    """Folders that a trial left unreadable, so that they can be removed."""
    for path, folders, _ in os.walk(folder):
        for name in folders:
            with contextlib.suppress(OSError):
                os.chmod(os.path.join(path, name), 0o700)


def forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Most bytes that this process held since `forget_peak`, where the system tells."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def main(arguments: list[str]) -> None:
    if len(arguments) == 1:
        return serve(arguments[0])
    with tempfile.TemporaryDirectory() as folder:
        print(made_ready(arguments[0])(int(arguments[1]), Path(folder)))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
