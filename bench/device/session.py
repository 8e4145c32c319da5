"""What the parts share: where and how large, and the pipelines, each made when it is first asked for."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch

import mgt_core
from mgt_core.placement import pick_dtype
from mgt_core.quantization.pipeline import calibration_conditions
from mgt_core.quantization.quantize import apply, quantize
from mgt_core.quantization.schemes import scheme_from

from ..speed.bundle import FULL, TINY, Sizes
from ..speed.runs import Settings, prompts
from .tries import release
from .weights import random_pipeline

CALIBRATION = mgt_core.CalibrationRun(steps=4, states=2)  # of random weights: which layers take int8, and some scales


@dataclass
class Session:
    """tiny: everything as small as it goes, to see that it runs. reference, python: a checkout of the original pipeline
    and its interpreter, where there are any."""

    device: torch.device
    tiny: bool
    reference: Path | None = None
    python: str | None = None
    _quantized: dict[str, mgt_core.Pipeline] = field(default_factory=dict)

    @property
    def gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def dtype(self) -> torch.dtype:
        return pick_dtype(None, self.device)

    @property
    def sizes(self) -> Sizes:
        return TINY if self.tiny else FULL

    @property
    def settings(self) -> Settings:
        return Settings(self.sizes.pixels, 4 if self.tiny else 64, 9.0)

    @property
    def batches(self) -> tuple[int, ...]:
        """The first is that of every row, the others of some."""
        return (1, 2) if self.tiny else (1, 4)

    @property
    def repeats(self) -> int:
        """Beside the first run, which may compile or record."""
        return 1 if self.tiny else 3

    @cached_property
    def pipe(self) -> mgt_core.Pipeline:
        return random_pipeline(self.sizes, self.dtype, self.device)

    def pipeline(self, scheme: str | None) -> mgt_core.Pipeline:
        """The same with its transformer quantized, one scheme at a time."""
        if scheme is None:
            return self.pipe
        if scheme not in self._quantized:
            self._quantized.clear()
            release(self.device)
            model = quantized(self.pipe.model, self.pipe.text, scheme, self.settings.size)
            self._quantized[scheme] = replace(self.pipe, model=model)
        return self._quantized[scheme]

    def forget(self) -> None:
        """Let go of all weights."""
        self._quantized.clear()
        self.__dict__.pop("pipe", None)
        release(self.device)


def quantized(model: mgt_core.MGTModel, text: mgt_core.TextEncoder | None, scheme: str, side: int) -> mgt_core.MGTModel:
    """Calibrated, where the scheme takes that, in a few steps of pictures of so many pixels a side."""
    wanted = scheme_from(scheme)
    if not wanted.needs_calibration:
        return apply(model, wanted)
    run = replace(CALIBRATION, grid=model.grid_for(side, side))
    return quantize(model, wanted, *calibration_conditions(model, text, prompts(1)), run).model
