"""torch.compile as a patch of a model."""

import logging
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..backbones.base import Backbone
from ..backbones.hooks import NO_HOOKS, Hooks
from ..errors import MGTError, reason
from ..registry import PATCHES
from ..settings import choice
from .base import Call, Features, Patch, RunPatch

log = logging.getLogger(__name__)

MODES = ("default", "reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune")
BACKENDS = ("inductor", "aot_eager", "eager")


class CompiledFeatures:
    """`Backbone.features` of one network, compiled; the weights are the network's own.

    Sizes, batches and devices may change: torch checks what it has compiled for and compiles anew, and
    CUDA graphs are recorded anew. Calls with hooks inside the blocks run as they are.
    """

    def __init__(self, network: Backbone, settings: "Compile"):
        self.settings, self.plain, self.possible = settings, network.features, True

    @cached_property
    def compiled(self) -> Features:
        mode = self.settings.mode if self.settings.backend == "inductor" else None
        return torch.compile(self.plain, backend=self.settings.backend, mode=mode)

    def __call__(self, tokens: Tensor, timestep: Tensor, prepared: Any, hooks: Hooks = NO_HOOKS) -> Tensor:
        if hooks is not NO_HOOKS and hooks != NO_HOOKS or not self.possible:
            return self.plain(tokens, timestep, prepared, hooks)
        try:
            torch.compiler.cudagraph_mark_step_begin()
            # A CUDA graph writes its next result where this one lies.
            return self.compiled(tokens, timestep, prepared).clone()
        except (MGTError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            result = self.plain(tokens, timestep, prepared)  # raises by itself when compilation is not to blame
            self.possible = False
            log.warning("the network cannot be compiled here (%s); it runs as it is", reason(error))
            return result


@PATCHES.register("compile")
@dataclass(frozen=True)
class Compile(Patch):
    """mode: of inductor: default; reduce-overhead, CUDA graphs beside it; the max-autotune ones, which try
    out more kernels and take longer to compile. backend: inductor generates code; the others generate none
    and serve to find faults."""

    slot = "compile"
    title = "compilation"
    place = "network"
    neutral = {"backend": "eager"}

    mode: str = choice("default", MODES, "compile mode")
    backend: str = choice("inductor", BACKENDS, "compile backend")
    _made: dict[Backbone, CompiledFeatures] = field(init=False, repr=False, compare=False, default_factory=dict)

    def features(self, network: Backbone) -> CompiledFeatures:
        """Those of `network`, the same from run to run."""
        if network not in self._made:
            self._made[network] = CompiledFeatures(network, self)
        return self._made[network]

    def begin(self, network: Backbone) -> RunPatch:
        return Compiled(self.features(network))


class Compiled(RunPatch):
    """During one run."""

    def __init__(self, features: CompiledFeatures):
        self.features = features

    def around(self, features: Features, call: Call) -> Features:
        return self.features
