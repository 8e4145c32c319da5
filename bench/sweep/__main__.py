"""Pictures of every prompt with every setting and seed, on one machine or many.

    python -m bench.sweep SPEC.json --out DIR [--ray ADDRESS] [--workers N] [--gpus G]

SPEC.json, of which only prompts must be there:

    {"model": "demo", "dtype": "float32", "prompts": ["a red heart"], "negative": "", "seeds": [0, 1],
     "size": [64, 64], "settings": {"plain": {"steps": 8}, "merged": {"steps": 8, "token_merging": {"ratio": 0.5}}}}

Settings are arguments of `mgt_core.sample`, and attachments by the name of the model's method without its
`with_` (guidance, token_merging, ...). Every finished picture is kept in DIR with what made it beside it, so a
rerun makes only what is missing; results.csv, results.json and contact_sheet.png sum up what is there.
"""

import argparse
import csv
import hashlib
import io
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image

import mgt_core
from mgt_core.errors import MGTError, finite_number, join_some, whole_number
from mgt_core.loading.bundle import FLOAT_DTYPES, find_bundle
from mgt_core.presets import PATCHES, Patch, attached, patch_from
from mgt_core.registry import SAMPLERS, SCHEDULES
from mgt_core.samplers.base import temperature_range
from mgt_core.views.pictures import from_pil, labelled_grid, to_pil

log = logging.getLogger(__name__)

DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in FLOAT_DTYPES}
SAMPLE = ("sampler", "schedule", "steps", "cfg", "temperature")
ATTEMPTS = 3  # of one job, when its worker dies
SHEET_ROWS = 40
SHEET_SIDE = 256


@dataclass(frozen=True)
class Spec:
    """A sweep. settings: by name. size: (height, width) in pixels, the model's own by default."""

    prompts: list[str]
    settings: dict[str, dict] = field(default_factory=lambda: {"default": {}})
    seeds: list[int] = field(default_factory=lambda: [0])
    model: str = "demo"
    dtype: str | None = None
    negative: str = ""
    size: list[int] | None = None

    def __post_init__(self):
        if not isinstance(self.prompts, list) or not self.prompts or not all(isinstance(p, str) for p in self.prompts):
            raise MGTError(f"the sweep's prompts are {self.prompts!r}; expected a list of one or more texts")
        if not isinstance(self.seeds, list) or not self.seeds:
            raise MGTError(f"the sweep's seeds are {self.seeds!r}; expected a list of one or more whole numbers")
        for seed in self.seeds:
            whole_number("a seed of the sweep", seed, 0, 2**64 - 1)
        if not isinstance(self.negative, str):
            raise MGTError(f"the sweep's negative prompt is {self.negative!r}; expected a text")
        if self.dtype is not None and self.dtype not in DTYPES:
            raise MGTError(f"the sweep's dtype is {self.dtype!r}; accepted are {', '.join(DTYPES)}")
        if not isinstance(self.settings, dict) or not self.settings:
            raise MGTError(f"the sweep's settings are {self.settings!r}; expected settings by name")
        for name, values in self.settings.items():
            check_settings(name, values)
        if self.size is not None:
            if not isinstance(self.size, list) or len(self.size) != 2:
                raise MGTError(f"the sweep's size is {self.size!r}; expected [height, width] in pixels")
            for side in self.size:
                whole_number("the sweep's size", side, 1, 16384)

    @classmethod
    def read(cls, file: Path) -> "Spec":
        """Raises MGTError for a file that is missing or holds something else."""
        try:
            values = json.loads(file.read_text("utf-8"))
        except OSError:
            raise MGTError(f"the sweep {file} cannot be read; give a JSON file") from None
        except ValueError as error:
            raise MGTError(f"the sweep {file} is not valid JSON ({error})") from None
        known = list(cls.__dataclass_fields__)
        if not isinstance(values, dict) or "prompts" not in values:
            raise MGTError(f"the sweep {file} has no prompts; expected a JSON object with {', '.join(known)}")
        if unknown := [name for name in values if name not in known]:
            raise MGTError(f"the sweep {file} has {join_some(unknown)}; accepted are {', '.join(known)}")
        return cls(**values)

    def jobs(self) -> Iterator["Job"]:
        """Seeds of a prompt lie side by side, settings last: neighbours in the contact sheet."""
        for prompt in dict.fromkeys(self.prompts):
            for seed in dict.fromkeys(self.seeds):
                for name, values in self.settings.items():
                    yield Job(self.model, self.dtype, prompt, self.negative, seed, self.size, name, values)


def check_settings(name: str, values: dict) -> None:
    """Raises MGTError for settings that no run could use, before any work."""
    accepted = (*SAMPLE, *PATCHES)
    if not name or not isinstance(values, dict):
        raise MGTError(f"the settings {name!r} are {values!r}; expected values of {', '.join(accepted)}")
    if unknown := [key for key in values if key not in accepted]:
        raise MGTError(f"the settings {name!r} have {join_some(unknown)}; accepted are {', '.join(accepted)}")
    for key, registry in (("sampler", SAMPLERS), ("schedule", SCHEDULES)):
        if key in values:
            registry.get(values[key])
    whole_number(f"steps of the settings {name!r}", values.get("steps", 1), 1, 100_000)
    finite_number(f"cfg of the settings {name!r}", values.get("cfg", 1), 0, 1000)
    temperature_range(values.get("temperature", 1.0))
    patches(name, values)


def patches(name: str, values: dict) -> tuple[Patch, ...]:
    """What the settings `name` attach. Raises MGTError for values that it does not take."""
    try:
        return tuple(patch_from(key, values[key]) for key in values if key in PATCHES)
    except (MGTError, TypeError) as error:
        raise MGTError(f"the settings {name!r}: {error}") from None


@dataclass(frozen=True)
class Job:
    """One picture."""

    model: str
    dtype: str | None
    prompt: str
    negative: str
    seed: int
    size: list[int] | None
    settings_name: str
    settings: dict

    @cached_property
    def name(self) -> str:
        """Of its files: to be recognized by people, and unlike that of any other job."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]
        words = "".join(c if c.isalnum() else "-" for c in f"{self.settings_name}_{self.prompt}"[:48])
        return f"{words}_{self.seed}_{digest}"


@dataclass(frozen=True)
class Picture:
    """A finished job: PNG and what is to be known of it."""

    png: bytes
    figures: dict


class Worker:
    """Holds the model that it was last asked for; makes pictures."""

    def __init__(self, device: str | None = None):
        self.device, self.held = device, (None, None)

    def pipeline(self, job: Job) -> mgt_core.Pipeline:
        key = job.model, job.dtype
        if self.held[0] != key:
            self.held = key, mgt_core.load(job.model, DTYPES.get(job.dtype), self.device)
        return self.held[1]

    def make(self, job: Job) -> Picture:
        """Raises MGTError for a job that its model cannot do."""
        pipe = self.pipeline(job)
        started, steps = time.perf_counter(), []
        model = attached(pipe.model, patches(job.settings_name, job.settings))
        settings = {name: v for name, v in {**pipe.model.defaults, **job.settings}.items() if name in SAMPLE}
        if "temperature" in settings:
            settings["temperature"] = temperature_range(settings["temperature"])
        state = mgt_core.sample(
            model,
            mgt_core.empty_tokens(pipe, *(job.size or pipe.size)),
            pipe.text.encode(job.prompt),
            pipe.text.encode(job.negative),
            seed=job.seed,
            callback=steps.append,
            **settings,
        )
        png = io.BytesIO()
        to_pil(pipe.codec.decode(state)[0]).save(png, "PNG")
        device = next(pipe.model.network.parameters()).device
        gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
        return Picture(
            png.getvalue(),
            {
                "seconds": round(time.perf_counter() - started, 3),
                "calls": steps[-1].calls,
                "passes": steps[-1].passes,
                "device": gpu or device.type,
                "host": socket.gethostname(),
                "pid": os.getpid(),
            },
        )


Done = Callable[[Job, dict], None]


class Store:
    """The folder of results. A picture counts as finished when its sidecar is there, which is written last."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "images").mkdir(parents=True, exist_ok=True)

    def picture(self, job: Job) -> Path:
        return self.folder / "images" / f"{job.name}.png"

    def sidecar(self, job: Job) -> Path:
        return self.picture(job).with_suffix(".json")

    def finished(self, job: Job) -> dict | None:
        """The row of a job whose picture is there."""
        if self.picture(job).is_file() and self.sidecar(job).is_file():
            return json.loads(self.sidecar(job).read_text("utf-8"))
        return None

    def keep(self, job: Job, made: Picture, attempts: int) -> dict:
        row = {"file": f"images/{job.name}.png", **asdict(job), **made.figures, "attempts": attempts, "error": ""}
        replace_file(self.picture(job), made.png)
        replace_file(self.sidecar(job), json.dumps(row, indent=1, ensure_ascii=False).encode())
        return row

    def summary(self, rows: list[dict]) -> None:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({n: json.dumps(v) if isinstance(v, (dict, list)) else v for n, v in row.items()})
        replace_file(self.folder / "results.csv", text.getvalue().encode())
        replace_file(self.folder / "results.json", json.dumps(rows, indent=1, ensure_ascii=False).encode())
        if sheet := contact_sheet(self.folder, rows):
            png = io.BytesIO()
            sheet.save(png, "PNG")
            replace_file(self.folder / "contact_sheet.png", png.getvalue())


def replace_file(path: Path, content: bytes) -> None:
    """Whole or not at all, whenever the process ends."""
    partial = path.with_name(f".{path.name}.part")
    partial.write_bytes(content)
    os.replace(partial, path)


def contact_sheet(folder: Path, rows: list[dict]) -> Image.Image | None:
    """A column a setting, a row a prompt and seed, as many as SHEET_ROWS."""
    made = [row for row in rows if not row["error"]]
    columns = len({row["settings_name"] for row in rows})
    if not made:
        return None
    pictures, labels = [], []
    for row in made[: SHEET_ROWS * columns]:
        with Image.open(folder / row["file"]) as picture:
            picture.thumbnail((SHEET_SIDE, SHEET_SIDE))
            pictures.append(from_pil(picture))
        labels.append(f"{row['settings_name']} {row['seed']} {row['prompt']}")
    return to_pil(labelled_grid(pictures, labels, columns)[0])


def failure(job: Job, attempts: int, error: str) -> dict:
    return {"file": "", **asdict(job), "attempts": attempts, "error": error}


def run_here(jobs: list[Job], store: Store, done: Done) -> None:
    """One job after the other in this process."""
    worker = Worker()
    for job in jobs:
        try:
            row = store.keep(job, worker.make(job), 1)
        except MGTError as error:
            row = failure(job, 1, str(error))
        done(job, row)


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
            here = {"env_vars": {"PYTHONPATH": str(Path(__file__).resolve().parent.parent.parent)}}
            ray.init(address, runtime_env=here, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise MGTError(f"no Ray cluster answers at {address!r} ({str(error).splitlines()[0]})") from None


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


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sweep", description=__doc__.splitlines()[0])
    parser.add_argument("spec", type=Path, metavar="SPEC.json")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--ray", metavar="ADDRESS", help='a Ray cluster: "auto", "ray://host:port", or "local"')
    parser.add_argument("--workers", type=int, help="actors on Ray (default: as many as there is room for)")
    parser.add_argument("--gpus", type=float, default=0, help="GPUs of each actor (default 0)")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        rows = sweep(Spec.read(options.spec), options.out, options.ray, options.workers, options.gpus)
    except MGTError as error:
        sys.exit(f"sweep: {error}")
    if failed := [row for row in rows if row["error"]]:
        sys.exit(f"sweep: {len(failed)} of {len(rows)} pictures failed, first: {failed[0]['error']}")


if __name__ == "__main__":
    main()
