"""Makes the picture of a job, with the model that it needs held from the one before."""

import io
import os
import socket
import time
from dataclasses import dataclass

import torch

import mgt_core
from mgt_core.presets import attached
from mgt_core.samplers.temperature import temperature_range
from mgt_core.views.pictures import to_pil

from .spec import DTYPES, SAMPLE, Job, patches


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
