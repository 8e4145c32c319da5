"""The original pipeline's own loop on the same weights, in its own process, taking turns with ours."""

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import mgt_core

from ..speed.bundle import write_bundle
from ..speed.reference import Reference, logits_difference
from ..speed.rows import EXACT, ROWS
from ..speed.runs import Timing, run
from .rows import GRAPHS, DeviceRow
from .session import Session
from .tries import LeftOut, Tries

NEEDED = 60.0  # seconds: the weights go through files here, 6 GB of them


def original(session: Session, tries: Tries) -> None:
    needs = 0.0 if session.tiny or session.reference is None else NEEDED
    tries("original pipeline", partial(beside, session), needs=needs, limit=240.0)


def beside(session: Session) -> dict:
    """Medians of whole runs and of sampling alone, theirs over ours, and how far the logits are apart."""
    if session.reference is None:
        raise LeftOut("no checkout was given (--reference DIR --python PY)")
    session.forget()
    batch = session.batches[0]
    with tempfile.TemporaryDirectory() as folder, Reference(session.reference, session.python) as theirs:
        bundle = write_bundle(Path(folder) / session.sizes.name, session.sizes)
        pipe = mgt_core.load(bundle, session.dtype, session.device)
        theirs.load(bundle, session.dtype, session.device)
        found = {f"logits_{name}": v for name, v in logits_difference(theirs, pipe, session.settings.size).items()}
        pipes = {EXACT: pipe}
        graphs = DeviceRow((GRAPHS,))
        if not graphs.unknown():
            pipes["graphs"] = replace(pipe, model=graphs.attach(pipe.model))
        timings: dict[str, list[Timing]] = {name: [] for name in ("original", *pipes)}
        for seed in range(1 + session.repeats):
            timings["original"].append(theirs.run(session.settings, batch, seed))
            for name, own in pipes.items():
                timings[name].append(run(own, ROWS[EXACT], session.settings, batch, seed))
    for name, all_of in timings.items():
        later = all_of[1:]
        found[f"{name}_seconds"] = median(timing.total for timing in later)
        found[f"{name}_sample_seconds"] = median(timing.sample for timing in later)
    for name in pipes:
        found[f"{name}_speed"] = found["original_seconds"] / found[f"{name}_seconds"]
        found[f"{name}_sample_speed"] = found["original_sample_seconds"] / found[f"{name}_sample_seconds"]
    return found
