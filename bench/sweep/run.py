"""A sweep from its spec to its summaries: what is missing is made, here or on Ray."""

import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from mgt_core.errors import MGTError, finite_number, reason, whole_number
from mgt_core.files import PAUSE
from mgt_core.loading.layouts import find_bundle
from mgt_core.settings import hold

from .marks import weights_mark
from .on_ray import run_on_ray
from .spec import LARGEST_BATCH, Job, Spec, grouped
from .store import Done, Store
from .worker import Worker

try:
    import resource
except ImportError:  # Windows, which has no such limits
    resource = None

log = logging.getLogger(__name__)

LARGEST_CLUSTER = 10_000  # actors, or GPUs of one; more are a slip of the hand


@dataclass(frozen=True)
class Cluster:
    """Where pictures are made. address: of a Ray cluster ("auto", "local", "ray://host:port"), None for this process.
    workers: actors, as many as there is room for by default. gpus: of each, one by default where the cluster has some.
    batch: pictures of one setting that are made together, at most."""

    address: str | None = None
    workers: int | None = None
    gpus: float | None = None
    batch: int = 1

    def __post_init__(self):
        hold(self, batch=whole_number("the batch of the sweep", self.batch, 1, LARGEST_BATCH))
        if self.workers is not None:
            hold(self, workers=whole_number("workers of the sweep", self.workers, 1, LARGEST_CLUSTER))
        if self.gpus is not None:
            hold(self, gpus=finite_number("gpus of a worker of the sweep", self.gpus, 0, LARGEST_CLUSTER))


def sweep(
    spec: Spec,
    folder: Path,
    ray: str | None = None,
    workers: int | None = None,
    gpus: float | None = None,
    on_done: Done | None = None,
    batch: int | None = None,
) -> list[dict]:
    """Make what is missing in `folder`; all rows, in the order of the jobs, a failed one with its error.

    ray, workers, gpus, batch: as Cluster has them, the batch that of the spec by default. on_done: told of every
    finished job. A job that failed is tried again when this is called anew.
    """
    cluster = Cluster(ray, workers, gpus, spec.batch if batch is None else batch)
    jobs, store, rows = list(spec.jobs()), store_of(spec, folder), {}

    try:
        make(jobs, store, rows, cluster, on_done)
    except BaseException:
        with suppress(Exception):  # such as a full disk, which is told already
            sum_up(jobs, store, rows)
        raise
    return sum_up(jobs, store, rows)


def sum_up(jobs: list[Job], store: Store, rows: Mapping[str, dict]) -> list[dict]:
    """The rows that there are, in the order of the jobs, with what was kept and not told when a run was stopped."""
    found = [row for job in jobs if (row := rows.get(job.name) or store.finished(job))]
    store.summary(found)
    return found


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

    groups = grouped(missing, cluster.batch if cluster.address else min(cluster.batch, claimable()))
    if groups and cluster.address:
        run_on_ray(groups, store, done, cluster.address, cluster.workers, cluster.gpus)
    else:
        run_here(groups, store, done)


def store_of(spec: Spec, folder: Path) -> Store:
    """Raises MGTError for a model that there is not, and for a folder with pictures of other weights."""
    try:
        sources = {"model": find_bundle(spec.model)}
        sources |= {part: find_bundle(path, part) for part, path in spec.parts.items()}
        mark = weights_mark(sources)
    except (OSError, RecursionError) as error:  # names too long, files that may not be read, folders without end
        raise MGTError(f"the sweep's model {spec.model!r} or a part of it cannot be read ({reason(error)})") from None
    store = Store(folder)
    store.of_weights(spec.model, spec.parts, mark)
    return store


def claimable() -> int:
    """Pictures that this process may claim together, each by an open file: half as many as the system lets it have, of
    which making them takes some."""
    if resource is None:
        return LARGEST_BATCH
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return LARGEST_BATCH if most == resource.RLIM_INFINITY else max(1, most // 2)


def run_here(groups: list[tuple[Job, ...]], store: Store, done: Done) -> None:
    """One group after the other in this process. What another process is making is left to it and looked for later, so
    that several processes share the jobs; one whose process died is made here."""
    worker, waiting, told = Worker(), groups, False
    if groups:
        log.info("%s", worker.where())
    while waiting:
        others = []
        for group in waiting:
            if left := made(worker, group, store, done):
                others.append(left)
        if others == waiting:
            if not told:
                log.info("waiting for %d pictures of another process", sum(map(len, others)))
            told = True
            time.sleep(PAUSE)
        waiting = others


def made(worker: Worker, group: tuple[Job, ...], store: Store, done: Done) -> tuple[Job, ...]:
    """Make those of the group that no other process has made or is making; the jobs that one is."""
    with ExitStack() as claims:
        mine = [job for job in group if claims.enter_context(store.claimed(job))]
        rows = {job.name: row for job in group if (row := store.finished(job))}
        missing = [job for job in mine if job.name not in rows]
        for job, result in zip(missing, worker.results(*missing) if missing else (), strict=True):
            rows[job.name] = store.row(job, result, 1)
    for job in group:
        if job.name in rows:
            done(job, rows[job.name])
    return tuple(job for job in group if job.name not in rows)
