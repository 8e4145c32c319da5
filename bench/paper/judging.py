"""Judges from the side of the command: which can work, and their scores by way of a process of each."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mgt_core.errors import MGTError

from .judges.base import lacking, unasked, unfound, weights_of
from .prompts import Prompt
from .score import LACKING

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Bench:
    """Where judges find their weights, and the Python of those that have one of their own."""

    root: Path
    pythons: Mapping[str, str] = field(default_factory=dict)

    def python(self, name: str) -> str:
        return self.pythons.get(name, sys.executable)

    def process(self, name: str, *more: str, **options) -> subprocess.CompletedProcess:
        """bench.paper.score for a judge. Raises MGTError where its Python cannot be started."""
        own = [self.python(name), "-m", "bench.paper.score", "--judge", name, "--judge-dir", str(self.root), *more]
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
        try:
            return subprocess.run(own, env=env, text=True, stderr=subprocess.PIPE, **options)
        except OSError:
            raise MGTError(f"the Python of the judge {name}, {self.python(name)}, cannot be started") from None

    def lacking(self, name: str, prompts: Sequence[Prompt]) -> str | None:
        """What a judge lacks, in a sentence; None where it can work."""
        if name not in self.pythons:
            return lacking(name, self.root, prompts)
        if sentence := unasked(name, prompts):
            return sentence
        done = self.process(name, "--check")
        if done.returncode in (0, LACKING):
            # The other Python may find files where this one, which keeps the scores by them, does not look.
            return last_line(done.stderr) if done.returncode else unfound(name, self.root)
        return f"the Python of the judge {name}, {self.python(name)}, cannot run it: {last_line(done.stderr)}"

    def score(self, name: str, work: Path) -> str | None:
        """Have it score the pictures that `work` lists; what went wrong, in a sentence, or None."""
        done = self.process(name, "--work", str(work))
        if not done.returncode:
            return None
        log = work / "scores" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        log.write_text(done.stderr, "utf-8")
        return f"the judge {name} failed: {last_line(done.stderr)} (all it said is in {log})"

    def weights(self, name: str) -> str:
        return weights_of(name, self.root)


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
