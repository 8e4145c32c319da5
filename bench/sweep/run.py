"""A sweep from its spec to its summaries: what is missing is made, here or on Ray."""

import logging
from pathlib import Path

from mgt_core.errors import MGTError
from mgt_core.loading.layouts import find_bundle

from .on_ray import run_on_ray
from .spec import Job, Spec
from .store import Done, Store, failure
from .worker import Worker

log = logging.getLogger(__name__)


def sweep(
    spec: Spec,
    folder: Path,
    ray: str | None = None,
    workers: int | None = None,
    gpus: float = 0,
    on_done: Done | None = None,
) -> list[dict]:
    """Make what is missing in `folder`; all rows, in the order of the jobs, a failed one with its error.

    ray: address of a cluster ("auto", "local", "ray://host:port"), None for this process. workers: actors, as
    many as the cluster has room for by default. gpus: of each. on_done: told of every finished job.
    """
    find_bundle(spec.model)
    jobs, store = list(spec.jobs()), Store(folder)
    rows = {job.name: row for job in jobs if (row := store.finished(job))}
    missing = [job for job in jobs if job.name not in rows]
    log.info("%d of %d pictures are there already", len(rows), len(jobs))

    def done(job: Job, row: dict) -> None:
        rows[job.name] = row
        log.info("%d of %d: %s %s", len(rows), len(jobs), job.name, row["error"] or f"{row['seconds']} s")
        if on_done:
            on_done(job, row)

    try:
        if missing and ray:
            run_on_ray(missing, store, done, ray, workers, gpus)
        else:
            run_here(missing, store, done)
    finally:
        ordered = [rows[job.name] for job in jobs if job.name in rows]
        store.summary(ordered)
    return ordered


def run_here(jobs: list[Job], store: Store, done: Done) -> None:
    """One job after the other in this process."""
    worker = Worker()
    for job in jobs:
        try:
            row = store.keep(job, worker.make(job), 1)
        except MGTError as error:
            row = failure(job, 1, str(error))
        done(job, row)
