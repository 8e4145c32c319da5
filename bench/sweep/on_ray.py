"""The jobs of a sweep on a Ray cluster."""

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from mgt_core.errors import MGTError, reason

from .spec import Job
from .store import Done, Store
from .worker import Worker

log = logging.getLogger(__name__)

ATTEMPTS = 3  # of one job, when its worker dies
ROOT = Path(__file__).resolve().parents[2]


def run_on_ray(
    groups: list[tuple[Job, ...]], store: Store, done: Done, address: str, workers: int | None, gpus: float | None
) -> None:
    """Groups of jobs over Ray actors, one group at a time each. The jobs of an actor that died go to others one by one,
    ATTEMPTS times. gpus: of each actor, one by default where the cluster has some."""
    try:
        import ray
    except ImportError:
        raise MGTError("--ray needs the package ray; install it (pip install ray), or leave --ray out") from None
    start_ray(ray, address, workers)
    waiting, busy, greetings = list(reversed(groups)), {}, {}
    attempts = {job.name: 0 for group in groups for job in group}

    def started():
        worker = remote.remote()
        greetings[worker.where.remote()] = worker
        return worker

    def give(worker) -> None:
        if waiting:
            group = waiting.pop()
            for job in group:
                attempts[job.name] += 1
            busy[worker.results.remote(*group)] = (worker, group)

    def again(group: tuple[Job, ...]) -> None:
        for job in reversed(group):
            if attempts[job.name] < ATTEMPTS:
                waiting.append((job,))
            else:
                done(job, store.row(job, f"its worker died {ATTEMPTS} times", ATTEMPTS))

    try:
        gpus, workers = share(ray.cluster_resources(), gpus, workers)
        remote = ray.remote(Worker).options(num_cpus=1, num_gpus=gpus)
        log.info("%d workers with %g GPUs each", min(workers, len(groups)), gpus)
        for _ in range(min(workers, len(groups))):
            give(started())
        while busy:
            (ready,), _ = ray.wait([*greetings, *busy])
            if ready in greetings:
                del greetings[ready]
                with suppress(ray.exceptions.RayError):  # told with its group
                    log.info("%s", ray.get(ready))
                continue
            worker, group = busy.pop(ready)
            try:
                results = ray.get(ready)
            except ray.exceptions.RayError as error:
                log.warning("a worker died with %s (%s)", group[0].name, type(error).__name__)
                ray.kill(worker)
                again(group)
                give(started())
            else:
                give(worker)
                for job, result in zip(group, results, strict=True):
                    done(job, store.row(job, result, attempts[job.name]))
    finally:
        ray.shutdown()


def share(resources: Mapping[str, float], gpus: float | None, workers: int | None) -> tuple[float, int]:
    """GPUs of each worker, and workers, of a cluster with such resources, where they are left open."""
    there, cores = resources.get("GPU", 0), resources.get("CPU", 1)
    if gpus is None:  # as many workers as were asked for share what there is
        gpus = min(1, there / (workers or 1))
    room = max(1, int(min(there / gpus, cores) if gpus else cores))
    return gpus, min(workers or room, room)


def start_ray(ray, address: str, workers: int | None) -> None:
    """Join the cluster at `address`, or start one on this machine for "local", with room for `workers`."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"log_to_driver": False, "logging_level": logging.WARNING}
    try:
        if address == "local":
            ray.init("local", num_cpus=workers, include_dashboard=False, object_store_memory=2**28, **quiet)
        else:
            # Where this folder is shared, or lies at the same place, it need not be installed on the others.
            here = {"env_vars": {"PYTHONPATH": str(ROOT)}}
            ray.init(address, runtime_env=here, **quiet)
    except Exception as error:  # Ray's own, those of the network, and of an address that is none
        raise MGTError(f"no Ray cluster answers at {address!r} ({reason(error)})") from None
