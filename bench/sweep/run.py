"""A sweep from its spec to its summaries: what is missing is made, here or on Ray."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from mgt_core.errors import MGTError
from mgt_core.loading.layouts import find_bundle

from ..files import PAUSE
from .marks import mark_of_all, weights_mark
from .on_ray import run_on_ray
from .spec import Job, Spec
from .store import Done, Store, failure
from .worker import Worker

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cluster:
    """Where pictures are made. address: of a Ray cluster ("auto", "local", "ray://host:port"), None for this process.
    workers: actors, as many as there is room for by default. gpus: of each."""

    address: str | None = None
    workers: int | None = None
    gpus: float = 0


def sweep(
    spec: Spec,
    folder: Path,
    ray: str | None = None,
    workers: int | None = None,
    gpus: float = 0,
    on_done: Done | None = None,
) -> list[dict]:
    """Make what is missing in `folder`; all rows, in the order of the jobs, a failed one with its error.

    ray, workers, gpus: as Cluster has them. on_done: told of every finished job.
    """
    jobs, store, rows = list(spec.jobs()), store_of(spec, folder), {}
    try:
        make(jobs, store, rows, Cluster(ray, workers, gpus), on_done)
    finally:
        ordered = [rows[job.name] for job in jobs if job.name in rows]
        store.summary(ordered)
    return ordered


def make(
    jobs: list[Job], store: Store, rows: dict[str, dict], cluster: Cluster = Cluster(), on_done: Done | None = None
) -> None:
    """Make those of the jobs whose pictures are missing. rows: by name of the job, filled as they come, so that what
    is there is known when a run is stopped."""
    rows |= {job.name: row for job in jobs if (row := store.finished(job))}
    missing = [job for job in jobs if job.name not in rows]
    log.info("%d of %d pictures are there already", len(jobs) - len(missing), len(jobs))

    def done(job: Job, row: dict) -> None:
        rows[job.name] = row
        log.info("%d of %d: %s %s", len(rows), len(jobs), job.name, row["error"] or f"{row['seconds']} s")
        if on_done:
            on_done(job, row)

    if missing and cluster.address:
        run_on_ray(missing, store, done, cluster.address, cluster.workers, cluster.gpus)
    else:
        run_here(missing, store, done)


def store_of(spec: Spec, folder: Path) -> Store:
    """Raises MGTError for a model that there is not, and for a folder with pictures of other weights."""
    sources = {"model": find_bundle(spec.model)}
    sources |= {part: find_bundle(path, part) for part, path in spec.parts.items()}
    store = Store(folder)
    store.of_weights(spec.model, spec.parts, weights_mark(sources), lambda: mark_of_all(sources))
    return store


def run_here(jobs: list[Job], store: Store, done: Done) -> None:
    """One job after the other in this process. What another process is making is left to it and looked for later, so
    that several processes share the jobs; one whose process died is made here."""
    worker, waiting, told = Worker(), jobs, False
    while waiting:
        others = []
        for job in waiting:
            with store.claimed(job) as mine:
                row = store.finished(job) or (made(worker, job, store) if mine else None)
            if row:
                done(job, row)
            else:
                others.append(job)
        if len(others) == len(waiting):
            if not told:
                log.info("waiting for %d pictures of another process", len(others))
            told = True
            time.sleep(PAUSE)
        waiting = others


def made(worker: Worker, job: Job, store: Store) -> dict:
    """The row of a picture, which is kept, or of what went wrong."""
    try:
        return store.keep(job, worker.make(job), 1)
    except MGTError as error:
        return failure(job, 1, str(error))
