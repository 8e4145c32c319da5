"""Makes the pictures of jobs, with the model that they need held from those before."""

import gc
import io
import logging
import os
import socket
import time
from dataclasses import dataclass
from functools import lru_cache

import torch

import mgt_core
from mgt_core.errors import MGTError, reason, shown_text
from mgt_core.placement import pick_device
from mgt_core.presets import attached
from mgt_core.views.pictures import to_pil

from .settings import arguments, patches, scheme_of
from .spec import DTYPES, Job

log = logging.getLogger(__name__)

TEXTS = 64  # encoded prompts that are held; jobs of a prompt lie side by side


@dataclass(frozen=True)
class Picture:
    """A finished job: PNG and what is to be known of it."""

    png: bytes
    figures: dict


class Worker:
    """Holds the model that it was last asked for, as it is and quantized, and its prompts; makes pictures."""

    def __init__(self, device: str | None = None):
        self.device, self.held, self.packed, self.encode = device, (None, None), {}, None

    def where(self) -> str:
        """Who this is, and which device it uses, in words."""
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        device = device_name(pick_device(self.device))
        which = f", of which it sees {visible}" if visible and torch.cuda.is_available() else ""
        return f"process {os.getpid()} on {socket.gethostname()} makes pictures on {device}{which}"

    def pipeline(self, job: Job) -> mgt_core.Pipeline:
        key, scheme = (job.model, job.dtype, *sorted(job.parts.items())), scheme_of(job.settings_name, job.settings)
        if self.held[0] != key:
            self.held, self.packed, self.encode = (None, None), {}, None  # before the next one takes its memory
            pipe = mgt_core.load(job.model, DTYPES.get(job.dtype), self.device, **job.parts)
            if pipe.text is None:
                raise MGTError(f"{pipe.name} takes classes and no text; a sweep is of prompts")
            self.held, self.encode = (key, pipe), lru_cache(TEXTS)(pipe.text.encode)
        if scheme not in self.packed:
            self.packed[scheme] = mgt_core.quantize_pipeline(self.held[1], scheme)
        return self.packed[scheme]

    def results(self, *jobs: Job) -> list[Picture | str]:
        """Of every job its picture, or why there is none. What cannot be made together is made by halves, so that a
        job goes without for its own fault alone."""
        try:
            return self.make(*jobs)
        except MGTError as error:
            why = str(error)
        except Exception as error:  # out of memory, or whatever else ends a run; the other jobs may do
            why = shown_text(f"{type(error).__name__}: {reason(error)}")
            log.debug("%s", jobs[0].name, exc_info=True)
        # Here the error is gone, and with its frames what the run had allocated.
        gc.collect()
        torch.cuda.empty_cache()
        if len(jobs) == 1:
            return [why]
        log.warning("%d pictures were not made together (%s); each half by itself", len(jobs), why)
        half = len(jobs) // 2
        return self.results(*jobs[:half]) + self.results(*jobs[half:])

    def make(self, *jobs: Job) -> list[Picture]:
        """Of jobs that differ in prompt and seed alone, in one run. Raises MGTError for what their model cannot do."""
        job, pipe = jobs[0], self.pipeline(jobs[0])
        started, steps = time.perf_counter(), []
        state = mgt_core.sample(
            attached(pipe.model, patches(job.settings_name, job.settings)),
            mgt_core.empty_tokens(pipe, *(job.size or pipe.size), batch=len(jobs)),
            mgt_core.Condition.cat([self.encode(each.prompt) for each in jobs]),
            self.encode(job.negative),
            seed=[each.seed for each in jobs],
            callback=steps.append,
            **arguments(job.settings_name, job.settings),
        )
        # One by one, or rounding would depend on who else is in the batch.
        images = [to_pil(pipe.codec.decode(tokens)[0]) for tokens in state.tokens.split(1)]
        figures = {
            "seconds": round((time.perf_counter() - started) / len(jobs), 3),
            "steps": steps[-1].total,
            "calls": steps[-1].calls,
            "passes": steps[-1].passes,
            "batch": len(jobs),
            "device": device_name(next(pipe.model.network.parameters()).device),
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }
        return [Picture(png_of(image), figures) for image in images]


def png_of(image) -> bytes:
    png = io.BytesIO()
    image.save(png, "PNG")
    return png.getvalue()


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
