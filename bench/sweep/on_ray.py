"""The jobs of a sweep on a Ray cluster."""

import logging
import os
from pathlib import Path

from mgt_core.errors import MGTError

from .spec import Job
from .store import Done, Store, failure
from .worker import Worker

log = logging.getLogger(__name__)

ATTEMPTS = 3  # of one job, when its worker dies
ROOT = Path(__file__).resolve().parents[2]


def run_on_ray(jobs: list[Job], store: Store, done: Done, address: str, workers: int | None, gpus: float) -> None:
    """Jobs over Ray actors, one job at a time each. A job whose actor died goes to another, ATTEMPTS times."""
    try:
        import ray
    except ImportError:
        raise MGTError("--ray needs the package ray; install it (pip install ray), or leave --ray out") from None
    start_ray(ray, address, workers)
    workers = workers or max(1, int(ray.cluster_resources().get("GPU" if gpus else "CPU", 1) / (gpus or 1)))
    remote = ray.remote(Worker).options(num_cpus=1, num_gpus=gpus)
    waiting, busy, attempts = list(reversed(jobs)), {}, dict.fromkeys((job.name for job in jobs), 0)

    def give(worker) -> None:
        if waiting:
            job = waiting.pop()
            attempts[job.name] += 1
            busy[worker.make.remote(job)] = (worker, job)

    try:
        for _ in range(min(workers, len(jobs))):
            give(remote.remote())
        while busy:
            (ready,), _ = ray.wait(list(busy))
            worker, job = busy.pop(ready)
            count = attempts[job.name]
            try:
                made = ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                if not isinstance(error.cause, MGTError):
                    raise error.cause from None
                give(worker)
                done(job, failure(job, count, str(error.cause)))
            except ray.exceptions.RayError as error:
                log.warning("a worker died with %s (%s)", job.name, type(error).__name__)
                if count < ATTEMPTS:
                    waiting.append(job)
                else:
                    done(job, failure(job, count, f"its worker died {count} times"))
                give(remote.remote())
            else:
                give(worker)
                done(job, store.keep(job, made, count))
    finally:
        ray.shutdown()


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
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise MGTError(f"no Ray cluster answers at {address!r} ({str(error).splitlines()[0]})") from None
