"""Makes the picture of a job, with the model that it needs held from the one before."""

import io
import os
import socket
import time
from dataclasses import dataclass

import torch

import mgt_core
from mgt_core.presets import attached
from mgt_core.views.pictures import to_pil

from .settings import arguments, patches, scheme_of
from .spec import DTYPES, Job


@dataclass(frozen=True)
class Picture:
    """A finished job: PNG and what is to be known of it."""

    png: bytes
    figures: dict


class Worker:
    """Holds the model that it was last asked for, as it is and quantized; makes pictures."""

    def __init__(self, device: str | None = None):
        self.device, self.held, self.packed = device, (None, None), {}

    def pipeline(self, job: Job) -> mgt_core.Pipeline:
        key, scheme = (job.model, job.dtype, *sorted(job.parts.items())), scheme_of(job.settings_name, job.settings)
        if self.held[0] != key:
            self.held, self.packed = (
                (key, mgt_core.load(job.model, DTYPES.get(job.dtype), self.device, **job.parts)),
                {},
            )
        if scheme not in self.packed:
            self.packed[scheme] = mgt_core.quantize_pipeline(self.held[1], scheme)
        return self.packed[scheme]

    def make(self, job: Job) -> Picture:
        """Raises MGTError for a job that its model cannot do."""
        pipe = self.pipeline(job)
        started, steps = time.perf_counter(), []
        model = attached(pipe.model, patches(job.settings_name, job.settings))
        state = mgt_core.sample(
            model,
            mgt_core.empty_tokens(pipe, *(job.size or pipe.size)),
            pipe.text.encode(job.prompt),
            pipe.text.encode(job.negative),
            seed=job.seed,
            callback=steps.append,
            **arguments(job.settings_name, job.settings),
        )
        png = io.BytesIO()
        to_pil(pipe.codec.decode(state)[0]).save(png, "PNG")
        device = next(pipe.model.network.parameters()).device
        gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
        return Picture(
            png.getvalue(),
            {
                "seconds": round(time.perf_counter() - started, 3),
                "steps": steps[-1].total,
                "calls": steps[-1].calls,
                "passes": steps[-1].passes,
                "device": gpu or device.type,
                "host": socket.gethostname(),
                "pid": os.getpid(),
            },
        )
