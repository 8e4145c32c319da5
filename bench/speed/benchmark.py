"""One benchmark from warming up to figures: rows that take turns, the parts of the exact one, distances."""

import argparse
import sys
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch

import mgt_core

from ..hardware import describe
from .reference import Reference, logits_difference
from .report import flat, headline, part_figures, roofline_figures, row_figures
from .roofline import measure_roofline
from .row_distance import measure_distance
from .rows import EXACT, REFERENCE, ROWS
from .runs import NEGATIVE, Clock, Settings, Timing, prompts, run

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Measured:
    """Timings by row, those of the exact row with its parts, and seconds of a guided forward of all cells."""

    rows: dict[str, list[Timing]]
    profiled: list[Timing]
    forwards: list[float]


class Bench:
    """One benchmark: the pipelines it needs, by dtype, and the reference if there is one."""

    def __init__(self, options: argparse.Namespace, bundle: Path, reference: Reference | None):
        self.options, self.reference = options, reference
        self.settings = Settings(options.size, options.steps, options.cfg)
        self.load = cache(lambda dtype: mgt_core.load(bundle, DTYPES[dtype], options.device))
        self.load_built_in = cache(lambda dtype: mgt_core.load("demo", DTYPES[dtype], options.device))
        self.pipe = self.load(options.dtype)
        self.skipped = {}
        for name in options.rows:
            if name == REFERENCE:
                continue
            why = ROWS[name].missing(self.pipe.model)
            if ROWS[name].dtype == options.dtype:
                why = f"the exact row is in {options.dtype} already" if not ROWS[name].parts else "the same in its row"
            if why:
                self.skipped[name] = why
        self.rows = [name for name in options.rows if name not in self.skipped]
        if reference is not None:
            reference.load(bundle, DTYPES[options.dtype], options.device)

    def run(self, name: str, batch: int, repeat: int, settings: Settings | None = None, inside: bool = False) -> Timing:
        settings = settings or self.settings
        if name == REFERENCE:
            return self.reference.run(settings, batch, repeat)
        row = ROWS[name]
        return run(self.load(row.dtype or self.options.dtype), row, settings, batch, repeat, inside)

    def guided_forward(self, dtype: str) -> None:
        """Logits of every cell for a pair of conditions."""
        pipe, size = self.load(dtype), (self.settings.size, self.settings.size)
        state = mgt_core.empty_tokens(pipe, *size, batch=2)
        pipe.model.logits(state.tokens, pipe.text.encode([NEGATIVE, prompts(1)[0]], size=size), 7)

    def measure(self) -> dict:
        options, figures = self.options, {}
        say("counting and timing matrix products")
        roofline = measure_roofline(partial(self.guided_forward, options.dtype), DTYPES[options.dtype], options.device)
        if self.reference is not None:
            figures |= flat("reference_logits", logits_difference(self.reference, self.pipe, options.size))
        self.warm_up()
        rows, first = {}, options.batch[0]
        for batch in options.batch:
            measured = self.measure_batch(batch, parts=batch == first)
            rows |= {
                f"{n}@{batch}": row_figures(n, runs, measured.rows[EXACT], batch) for n, runs in measured.rows.items()
            }
            if batch == first:
                figures |= roofline_figures(roofline, min(measured.forwards))
                figures |= part_figures(measured.profiled, options.steps)
                figures |= headline({name: rows[f"{name}@{batch}"] for name in measured.rows}, options.dtype)
        for key, row in rows.items():
            figures |= flat(key, row)
        distance = self.distance()
        for name, row in distance.get("rows", {}).items():
            change = row["object_accuracy"] - distance["rows"][EXACT]["object_accuracy"]
            figures |= flat(name, row | {"object_accuracy_change": change})
        return {
            "hardware": describe(options.device),
            "model": {
                "name": "tiny" if options.tiny else "full",
                "parameters": sum(p.numel() for p in self.pipe.model.network.parameters()),
                "weight_bytes": weight_bytes(self.pipe),
            },
            "settings": {
                **asdict(self.settings),
                "dtype": options.dtype,
                "repeats": options.repeats,
                "batch": options.batch,
            },
            "figures": figures,
            "rows": rows,
            "skipped": self.skipped,
            "products": roofline.products,
            "distance": distance,
        }

    def measure_batch(self, batch: int, parts: bool) -> Measured:
        """All rows of one batch size, taking turns. parts: also look inside the exact run."""
        on_cpu = self.options.device.type == "cpu"
        names = self.rows_of(batch)
        measured = Measured({name: [] for name in names}, [], [])
        for repeat in range(self.options.repeats):
            for name in names:
                # Clocks inside the network cost a GPU its queue, so there they get a run of their own.
                inside = parts and on_cpu and name == EXACT
                timing = self.run(name, batch, repeat, inside=inside)
                measured.rows[name].append(timing)
                if inside:
                    measured.profiled.append(timing)
                say(f"batch {batch}, repeat {repeat + 1}: {name} {timing.total:.3f} s")
            if parts:
                clock = Clock(self.options.device)
                self.guided_forward(self.options.dtype)
                measured.forwards.append(clock.lap())
                if not on_cpu:
                    measured.profiled.append(self.run(EXACT, batch, repeat, inside=True))
        return measured

    def rows_of(self, batch: int) -> list[str]:
        first = batch == self.options.batch[0]
        return [name for name in self.rows if first or name == REFERENCE or ROWS[name].throughput]

    def warm_up(self) -> None:
        """On a CPU one forward in each dtype; on a GPU a short run of every row, which may compile."""
        if self.options.device.type == "cpu":
            for dtype in {ROWS[name].dtype or self.options.dtype for name in self.rows if name != REFERENCE}:
                self.guided_forward(dtype)
            return
        short = replace(self.settings, steps=min(self.settings.steps, 8))
        for batch in self.options.batch:
            for name in self.rows_of(batch):
                self.run(name, batch, 0, short)

    def distance(self) -> dict:
        if not self.options.prompts:
            return {}
        say(f"distance on the built-in model, {self.options.prompts} prompts")
        rows = [ROWS[name] for name in self.rows if name != REFERENCE]
        return measure_distance(
            self.load_built_in, rows, self.options.prompts, self.options.dtype, self.options.judged_steps
        )


def weight_bytes(pipe: mgt_core.Pipeline) -> int:
    parts = (pipe.model.network, pipe.text.network, pipe.codec.network)
    return sum(p.numel() * p.element_size() for part in parts for p in part.parameters())
