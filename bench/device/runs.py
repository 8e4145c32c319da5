"""Whole runs, a row at a time: seconds, peak memory, what a step costs, and its share of what the machine can do."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from statistics import median

import torch

import mgt_core
from mgt_core.quantization.layers import stored_bytes

from ..speed.rows import EXACT, ROWS
from ..speed.runs import run
from . import counts
from .fused import installed, without_kitchen
from .names import STEP
from .rows import GRAPHS, DeviceRow, device_rows
from .session import Session
from .tries import LeftOut, Tries, release

TINY_ROWS = 8  # that a tiny run has


def runs(session: Session, tries: Tries) -> None:
    rows, others = device_rows()
    if session.tiny:
        rows, others = rows[:TINY_ROWS], []
    first, *larger = session.batches
    for row in rows:
        one_row(session, tries, row, first)
    for batch in larger:
        for row in rows:
            if row.large:
                one_row(session, tries, row, batch)
    for row in others:
        one_row(session, tries, row, first)


def one_row(session: Session, tries: Tries, row: DeviceRow, batch: int) -> None:
    name, made = f"{row.name}@{batch}", {}

    def with_row(measure: Callable[..., dict]) -> dict:
        """All tries of a row look at the same model, so that what it has recorded is recorded once."""
        with nullcontext() if row.kitchen else without_kitchen():
            if not made:
                made["pipe"] = pipeline_of(session, row)
            return measure(session, row, made["pipe"], batch)

    timed = tries(name, partial(with_row, timing), **row.limit)
    if batch != session.batches[0] or not timed:
        return
    for what, measure in (COSTS if session.gpu else PROCESSOR).items():
        tries(f"{STEP}{name}: {what}", partial(with_row, measure))
    if GRAPHS in row.parts:
        tries(f"{STEP}{name}: tokens", partial(with_row, agreement))


def pipeline_of(session: Session, row: DeviceRow) -> mgt_core.Pipeline:
    """With the row's parts on its model. Raises LeftOut where this version, machine or model has none of them."""
    if unknown := row.unknown():
        raise LeftOut(f"this version has no patch {' or '.join(unknown)}")
    if not row.kitchen and installed() is None:
        raise LeftOut("comfy-kitchen is not installed, so that every row is without it")
    pipe = session.pipeline(row.scheme)
    try:
        return replace(pipe, model=row.attach(pipe.model))
    except mgt_core.MGTError as why:
        raise LeftOut(str(why)) from None


def timing(session: Session, row: DeviceRow, pipe: mgt_core.Pipeline, batch: int) -> dict:
    """Seconds of whole runs, and the peak of all of them beside what was there before."""
    release(session.device)
    before = torch.cuda.memory_allocated(session.device) if session.gpu else 0
    found, peaks = [], []
    for seed in range(1 + session.repeats):
        found.append(run(pipe, ROWS[EXACT], session.settings, batch, seed))
        peaks.append(torch.cuda.max_memory_allocated(session.device) - before if session.gpu else found[-1].peak)
    first, *later = found
    return {
        "row": asdict(row) | {"exact": row.exact, "approximate": row.approximate},
        "batch": batch,
        "steps": session.settings.steps,
        "first_seconds": first.total,
        "seconds": median(timing.total for timing in later),
        "sample_seconds": median(timing.sample for timing in later),
        "sample_seconds_all": [timing.sample for timing in later],
        "text_seconds": median(timing.text for timing in later),
        "decode_seconds": median(timing.decode for timing in later),
        "calls": later[0].calls,
        "passes": later[0].passes,
        "peak_bytes": most(peaks),
        "weight_bytes": stored_bytes(pipe.model.network),
    }


def most(peaks: list[int | None]) -> int | None:
    return max((peak for peak in peaks if peak is not None), default=None)


def launches(session: Session, row: DeviceRow, pipe: mgt_core.Pipeline, batch: int) -> dict:
    return counts.launches(counts.sampling(pipe, session.settings, batch), counts.period(row))


def host_time(session: Session, row: DeviceRow, pipe: mgt_core.Pipeline, batch: int) -> dict:
    sample = counts.sampling(pipe, session.settings, batch)
    return counts.host_time(sample, counts.period(row), session.device)


def operations(session: Session, row: DeviceRow, pipe: mgt_core.Pipeline, batch: int) -> dict:
    return counts.operations(counts.sampling(pipe, session.settings, batch), counts.period(row))


def arithmetic(session: Session, row: DeviceRow, pipe: mgt_core.Pipeline, batch: int) -> dict:
    """Counted where every product is torch's own, and every step is taken by itself."""
    plain = replace(row, parts=tuple(part for part in row.parts if part not in replays()))
    with without_kitchen():
        counted = replace(session.pipe, model=plain.attach(session.pipe.model))
        return counts.arithmetic(counts.sampling(counted, session.settings, batch), counts.period(row))


def agreement(session: Session, row: DeviceRow, pipe: mgt_core.Pipeline, batch: int) -> dict:
    """Share of tokens that are those of the same row without graphs."""
    plain = pipeline_of(session, replace(row, parts=row.plain))
    samples = (counts.sampling(each, session.settings, batch) for each in (pipe, plain))
    ours, theirs = (sample(min(session.settings.steps, 16)).tokens for sample in samples)
    return {"tokens_as_without_graphs": float((ours == theirs).float().mean())}


def replays() -> set[str]:
    """Patches that run what they have made of the network."""
    return {name for name in mgt_core.PATCHES if mgt_core.PATCHES.get(name).place == "network"} | {GRAPHS}


PROCESSOR = {"operations": operations, "arithmetic": arithmetic}
COSTS = {"kernels": launches, "host": host_time, "arithmetic": arithmetic}
